"""The process of roofline.measure_roofline: it measures and prints the fields of Peak as JSON."""

import json
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from modelfiles.formats.onnx_product import product_model


def measure_peak(seconds: float) -> dict:
    """The fields of device.Peak, from seven measurements that take `seconds` each.

    numpy uses the number of threads that the environment of this process sets.
    """
    peak: dict = {"int8_ops_per_s": None}
    measured_with = {}
    with_numpy = f"numpy {np.__version__}"

    def keep_best(metric: str, operations: int, function: Callable[[], object], label: str) -> None:
        rate = operations / _shortest_s(function, seconds)
        if rate > (peak.get(metric) or 0):
            peak[metric] = rate
            measured_with[metric] = label

    for size in (512, 384):
        a, b = np.random.default_rng(0).random((2, size, size), np.float32)
        operations = 2 * size**3
        product = partial(np.dot, a, b, out=np.empty_like(a))
        keep_best("flops_per_s", operations, product, f"{with_numpy}, {size} x {size}")
        try:
            import onnxruntime
        except ImportError:
            continue
        label = f"onnxruntime {onnxruntime.__version__}, {size} x {size}"
        keep_best("flops_per_s", operations, _product_call("MatMul", a, b), label)
        a8 = (a * 256).astype(np.uint8)
        b8 = (b * 255 - 127).astype(np.int8)
        keep_best("int8_ops_per_s", operations, _product_call("MatMulInteger", a8, b8), label)
    source = np.ones(64 * 10**6, np.uint8)
    copy = partial(np.copyto, np.zeros(64 * 10**6, np.uint8), source)
    keep_best("bytes_per_s", 2 * source.nbytes, copy, f"{with_numpy}, copy of 64 MB")
    return peak | {"measured_with": measured_with}


def _shortest_s(call: Callable[[], object], seconds: float) -> float:
    for _ in range(3):
        call()
    shortest = float("inf")
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or shortest == float("inf"):
        start = time.perf_counter_ns()
        call()
        shortest = min(shortest, time.perf_counter_ns() - start)
    return shortest / 1e9


def _product_call(operator: str, a: np.ndarray, b: np.ndarray) -> Callable[[], object]:
    """A call that multiplies `a` by the constant `b` in ONNX Runtime, with one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        product_model(operator, a, b), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"a": a})


if __name__ == "__main__":
    print(json.dumps(measure_peak(float(sys.argv[1]))))
