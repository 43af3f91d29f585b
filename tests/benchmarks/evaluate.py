"""Can the table of `workbook evaluate` be trusted, and how long does it take?

    python tests/benchmarks/evaluate.py [repetitions]

MnistNet with random weights, one thread. It prints its results and asserts nothing:
1. from a cold start to the table in all runtimes, with and without the converted files
2. two identical files: how often the interval of their ratio contains 1
3. ratios of `evaluate` next to those of a loop written by hand
"""

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from workbook.evaluate import race, rows
from workbook.evaluate.candidates import Candidate
from workbook.evaluate.examples import Examples
from workbook.evaluate.runtimes import runtime_of

REPETITIONS = int(sys.argv[1]) if len(sys.argv) > 1 else 20
NETWORK = """
import sys, torch
from helpers import convert
from helpers.models import MnistNet
torch.manual_seed(0)
convert.to_pt2(MnistNet().eval(), torch.zeros(1, 1, 28, 28), sys.argv[1])
"""


def cold_start(folder: Path, build: Path) -> None:
    command = [sys.executable, "-m", "workbook", "evaluate", folder / "net.pt2"]
    start = time.monotonic()
    process = subprocess.Popen(
        [*command, folder / "data.npz", "--json"],
        env=os.environ | {"WORKBOOK_BUILD": str(build)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stderr.readline()
    first_s = time.monotonic() - start
    out, _ = process.communicate()
    states = [(row["runtime"], row["state"]) for row in json.loads(out)]
    works = [name for name, state in states if state == "works"]
    print(
        f"  {time.monotonic() - start:.1f} s, first line after {first_s:.2f} s; works in "
        f"{len(works)} of {len(states)} runtimes: {', '.join(works)}"
    )


def ratios_of(files: list[Path], examples: Examples, store: Path) -> list[rows.Row]:
    candidates = [Candidate(str(runtime_of(file)), False, file) for file in files]
    raced = race.run(
        candidates,
        examples,
        task="classification",
        threads=1,
        rounds=20,
        store=store,
        say=lambda line: None,
    )
    return rows.with_ratios(raced)


BY_HAND = """
import json, sys, time
import numpy as np
from helpers.runtimes import open_model

model = open_model(sys.argv[1])
image = np.random.default_rng(0).standard_normal((1, 1, 28, 28), np.float32)
for line in sys.stdin:
    model.run(image)
    times = []
    for _ in range(int(line)):
        start = time.perf_counter_ns()
        model.run(image)
        times.append(time.perf_counter_ns() - start)
    print(json.dumps(times), flush=True)
"""


def by_hand(files: list[Path]) -> dict[str, float]:
    """p50 in ns by the simplest loop, one process a file, in random order.

    The geometric mean over six starts of the processes.
    """
    found = []
    for _ in range(6):
        taken: dict[str, list[int]] = {file.name: [] for file in files}
        with contextlib.ExitStack() as stack:
            processes = {
                file.name: stack.enter_context(
                    subprocess.Popen(
                        [sys.executable, "-c", BY_HAND, file],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        text=True,
                    )
                )
                for file in files
            }
            for number in range(11):
                for name in random.sample(list(processes), len(processes)):
                    process = processes[name]
                    process.stdin.write("150\n")
                    process.stdin.flush()
                    times = json.loads(process.stdout.readline())
                    if number:  # the first round warms up
                        taken[name] += times
            for process in processes.values():
                process.stdin.close()
        found.append([float(np.median(times)) for times in taken.values()])
    means = np.exp(np.log(found).mean(axis=0))
    return dict(zip([file.name for file in files], means))


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        subprocess.run([sys.executable, "-c", NETWORK, folder / "net.pt2"], check=True)
        x = np.random.default_rng(0).standard_normal((60, 1, 28, 28), np.float32)
        labels = np.zeros(len(x), np.int64)
        np.savez(folder / "data.npz", x_data=x, y_data=labels)
        examples = Examples(x, labels)
        build = folder / "build"
        print("from a cold start to the table, converting; then twice with the files present:")
        for _ in range(3):
            cold_start(folder, build)
        made = build / "evaluate"
        store = folder / "records.jsonl"

        twin = folder / "twin.onnx"
        shutil.copy(made / "net.onnx", twin)
        contained = 0
        for _ in range(REPETITIONS):
            found = ratios_of([made / "net.onnx", twin], examples, store)
            other = next(row for row in found if row.ratio != 1 or row.ties)
            contained += bool(other.ties)
            print(f"  {other.ratio:.4f} [{other.ratio_low:.4f}, {other.ratio_high:.4f}]")
        print(f"two identical files: the interval contains 1 in {contained} of {REPETITIONS}")

        files = [made / name for name in ("net.onnx", "net.tflite", "net.mnn")]
        print("ratio to ONNX Runtime's time: evaluate, by hand, the two divided")
        for _ in range(3):
            rivals = {row.file: row.ratio for row in ratios_of(files, examples, store)}
            hand = by_hand(files)
            for name in ("net.tflite", "net.mnn"):
                ours = rivals[name] / rivals["net.onnx"]
                theirs = hand["net.onnx"] / hand[name]
                print(f"  {name:12} {ours:.4f} {theirs:.4f} {ours / theirs:.4f}")


if __name__ == "__main__":
    main()
