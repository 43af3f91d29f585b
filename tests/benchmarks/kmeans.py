"""Notebook 04b's k-means against the exact optimum, on the 1,179,648 weights of MnistNet's fc1.

It prints its results and asserts nothing.

    python tests/benchmarks/kmeans.py [K ...]    default 4 16; 256 takes several minutes

The exact optimum is the notebook's own recurrence with a cut allowed between any two weights.
For each K every method's inertia is given relative to it, with the ratio of scikit-learn's CPU
time to the method's.
"""

import sys
import time
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from notebook_code import definitions

from helpers.training import trained


def exact_inertia(book, weights: np.ndarray, k: int) -> float:
    """The least inertia with k clusters. Keeps no cuts: their table would need k x 9.4 MB."""
    points = book.sort_once(weights)
    C = book.interval_inertia(points, np.arange(len(points.S)))
    D = C(0, np.arange(len(points.S)))
    for _ in range(k - 1):
        D, _ = book.bracketed(D, C)
    return D[-1]


def main(ks: list[int]) -> None:
    book = definitions("04b_codebooks_to_the_last_byte")
    weights = trained("mnist_cnn").fc1.weight.detach().numpy().ravel()
    print(f"MnistNet fc1, {weights.size:,} weights, 1 thread, median of 3 runs")
    for k in ks:
        begin = time.process_time()
        optimum = exact_inertia(book, weights, k)
        print(f"k = {k}: exact optimum {optimum:.8g} in {time.process_time() - begin:.0f} CPU s")
        results = book.race(weights, k, rounds=3)
        for row in results.to_dict("records"):
            excess = row["inertia"] / optimum - 1
            cpu_ms = row["CPU s"] * 1000
            ratio = results["CPU s"][0] / row["CPU s"]
            print(
                f"  {row['method']:30} inertia {excess:+9.1e} relative to it, "
                f"{cpu_ms:8.1f} CPU ms, scikit-learn / this {ratio:6.1f}",
                flush=True,
            )


if __name__ == "__main__":
    with threadpool_limits(1):
        main([int(k) for k in sys.argv[1:]] or [4, 16])
