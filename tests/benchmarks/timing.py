"""How good is helpers.timing? Compares it with MLPerf's load generator and with known ratios.

    python tests/benchmarks/timing.py [repetitions]

MnistNet in ONNX Runtime, one thread. It prints its results and asserts nothing. Quiet machines
give small numbers, shared ones need the same rules to hold.
"""

import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from helpers import convert, timing
from helpers.models import MnistNet, torchvision_model
from helpers.runtimes import open_model

REPETITIONS = int(sys.argv[1]) if len(sys.argv) > 1 else 10


def network(model: torch.nn.Module, *shape: int):
    """A call of the network in ONNX Runtime on one random image."""
    with tempfile.TemporaryDirectory() as folder:
        path = convert.to_onnx(model, torch.zeros(1, *shape), Path(folder, "net.onnx"))
        opened = open_model(path)
    image = np.random.default_rng(0).standard_normal((1, *shape), np.float32)
    return lambda: opened.run(image)


def loadgen_p50(call, seconds: float = 1.0) -> float:
    """MLPerf LoadGen, SingleStream: the p50 latency in nanoseconds that it reports."""
    import mlperf_loadgen as loadgen

    def issue(samples) -> None:
        for sample in samples:
            call()
            loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(sample.id, 0, 0)])

    settings = loadgen.TestSettings()
    settings.scenario = loadgen.TestScenario.SingleStream
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = int(seconds * 1000)
    settings.min_query_count = 100
    with tempfile.TemporaryDirectory() as folder:
        output = loadgen.LogOutputSettings()
        output.outdir = folder
        output.copy_summary_to_stdout = False
        log = loadgen.LogSettings()
        log.log_output = output
        log.enable_trace = False
        system = loadgen.ConstructSUT(issue, lambda: None)
        library = loadgen.ConstructQSL(1, 1, lambda samples: None, lambda samples: None)
        loadgen.StartTestWithLogSettings(system, library, settings, log)
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(system)
        summary = Path(folder, "mlperf_log_summary.txt").read_text()
    return next(
        float(line.split(":")[1])
        for line in summary.splitlines()
        if line.startswith("50.00 percentile latency (ns)")
    )


@contextlib.contextmanager
def busy_core(core: int, mine: int):
    """A process that keeps `core` busy while this one stays on core `mine`."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {mine})
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        os.sched_setaffinity(process.pid, {core})
        time.sleep(0.2)
        yield
    finally:
        process.kill()
        process.wait()
        os.sched_setaffinity(0, allowed)


def p50(call, seed: int = 0) -> float:
    return timing.benchmark({"a": call}, rounds=30, seed=seed)["a"].percentile(50)


def variation(values: list[float]) -> float:
    return float(100 * np.std(values, ddof=1) / np.mean(values))


def against_loadgen(call) -> None:
    order = random.Random(0)
    ours = []
    theirs = []
    for _ in range(REPETITIONS):
        for found, measure in order.sample([(ours, p50), (theirs, loadgen_p50)], 2):
            found.append(measure(call))
    our_us = np.median(ours) / 1e3
    their_us = np.median(theirs) / 1e3
    print(
        f"p50: ours {our_us:.1f} us (variation {variation(ours):.1f} %), "
        f"LoadGen {their_us:.1f} us ({variation(theirs):.1f} %), "
        f"ours / LoadGen {our_us / their_us:.3f}, n = {REPETITIONS}"
    )


def when_disturbed(call) -> None:
    mine, other = sorted(os.sched_getaffinity(0))[:2]
    for name, core in (("the other core busy", other), ("the same core busy", mine)):
        with busy_core(core, mine):
            runs = [
                timing.benchmark({"a": call}, rounds=30, seed=seed)["a"]
                for seed in range(REPETITIONS)
            ]
        p50_variation = variation([run.percentile(50) for run in runs])
        loop_variation = variation([run.round_ns[:, 0].sum() for run in runs])
        flagged = sum(any("contended" in text for text in run.warnings) for run in runs)
        print(
            f"{name}: variation of p50 {p50_variation:.1f} %, "
            f"of the loop's time {loop_variation:.1f} %, "
            f"flagged as contended {flagged} of {len(runs)}"
        )


def overhead() -> None:
    timing.warm_up(lambda: None)
    wall, *_ = timing.time_calls(lambda: None, 100_000, discard=100)
    middle, high = np.percentile(wall, [50, 99])
    print(f"inside the timed window: p50 {middle:.0f} ns, p99 {high:.0f} ns")


def known_ratios(call) -> None:
    def times(n: int):
        def candidate() -> None:
            for _ in range(n):
                call()

        return candidate

    errors = []
    covered = 0
    total = 0
    for repetition in range(15):
        for truth, n in ((1.0, 4), (1.25, 5)):
            run = timing.benchmark(
                {"four": times(4), "n": times(n)}, rounds=30, min_round_s=0, seed=repetition
            )
            ratio = timing.speedup(run["n"], run["four"])
            errors.append((truth, 100 * abs(ratio.value / truth - 1)))
            covered += ratio.low <= truth <= ratio.high
            total += 1
    for truth in (1.0, 1.25):
        mine = [error for t, error in errors if t == truth]
        print(
            f"true ratio {truth:.2f}: median error {np.median(mine):.2f} %, "
            f"worst of {len(mine)} {max(mine):.2f} %"
        )
    print(f"the interval covered the truth {covered} of {total} times")


def beside_a_large_network(call) -> None:
    large = network(torchvision_model("mobilenet_v2"), 3, 224, 224)
    alone = []
    beside = []
    for seed in range(max(3, REPETITIONS // 2)):
        alone.append(p50(call, seed))
        run = timing.benchmark({"a": call, "large": large}, rounds=10, seed=seed)
        beside.append(run["a"].percentile(50))
    change = 100 * (np.median(beside) / np.median(alone) - 1)
    print(f"p50 in rounds beside MobileNetV2 against alone: {change:+.1f} %")


if __name__ == "__main__":
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    torch.manual_seed(0)
    mnist_net = network(MnistNet().eval(), 1, 28, 28)
    overhead()
    against_loadgen(mnist_net)
    known_ratios(mnist_net)
    beside_a_large_network(mnist_net)
    if hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) > 1:
        when_disturbed(mnist_net)
