"""Measure how long a call takes: each call separately, in short rounds in random order.

The reasons, each measured in notebook 03:
- Other programs interrupt a busy machine every few milliseconds. Most single calls are not
  affected, but every block of a hundred calls is. So the time of each call is kept, and percentiles
  are reported, not means.
- A machine drifts over minutes. Candidates that take turns drift together, and their ratio stays
  correct.
- Candidates that alternate after every call would start with a cold cache. So a round has dozens of
  calls of one candidate, and its first call is discarded.
- CPU time, compared with wall time, shows whether other programs used the machine.

This module needs only numpy and the standard library, so it also runs on a Pi.
"""

import gc
import math
import random
import time
from collections.abc import Callable

import numpy as np

from helpers.intervals import Interval, Ratio, percentile
from helpers.latency import (
    CONTENDED,
    SMALLEST_ROUNDS,
    Latency,
    WarmUp,
    mean_across_repeats,
    speedup,
    speedup_across_repeats,
)

__all__ = [
    "CONTENDED",
    "SMALLEST_ROUNDS",
    "Interval",
    "Latency",
    "Ratio",
    "WarmUp",
    "benchmark",
    "mean_across_repeats",
    "percentile",
    "speedup",
    "speedup_across_repeats",
    "time_calls",
    "warm_up",
]


MAX_WINDOW_NS = 1e8  # a warm-up window takes at most about 0.1 s
STABLE_WINDOWS = 3  # consecutive windows without improvement that end the warm-up


def warm_up(
    function: Callable[[], object],
    *,
    min_duration_s: float = 0.2,
    max_duration_s: float = 10.0,
    window: int = 10,
    tolerance: float = 0.02,
) -> WarmUp:
    """Call `function` until it stops getting faster.

    The median time of each window of calls is compared with the best median so far. The warm-up
    ends when three consecutive windows do not improve on it by the fraction `tolerance` and
    `min_duration_s` has passed, or after `max_duration_s`. A window has `window` calls, or fewer if
    they would take longer than 0.1 s, but at least one.
    """
    start_ns = time.perf_counter_ns()
    first_call_ns = int(time_calls(function, 1, discard=0)[0][0])
    window = max(1, min(window, int(MAX_WINDOW_NS / max(first_call_ns, 1))))
    calls = 1
    best_ns = math.inf
    stable_windows = 0
    while True:
        median_ns = float(np.median(time_calls(function, window, discard=0)[0]))
        calls += window
        if median_ns > best_ns * (1 - tolerance):
            # best_ns stays, so a slow decline over many windows is still an improvement
            stable_windows += 1
        else:
            best_ns = median_ns
            stable_windows = 0
        elapsed_s = (time.perf_counter_ns() - start_ns) / 1e9
        is_steady = stable_windows >= STABLE_WINDOWS
        if (is_steady and elapsed_s >= min_duration_s) or elapsed_s >= max_duration_s:
            return WarmUp(calls, first_call_ns, is_steady)


def time_calls(
    function: Callable[[], object], calls: int, discard: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One round: wall and CPU nanoseconds of each of `calls` calls, and both of the whole round.

    The three arrays are int64, of length `calls`, `calls` and 2. Before the timed calls, `discard`
    calls refill the cache; only the time of the round includes them.
    """
    wall = np.empty(calls, np.int64)
    cpu = np.empty(calls, np.int64)
    clock = time.perf_counter_ns
    cpu_clock = time.thread_time_ns
    collecting = gc.isenabled()
    gc.disable()
    try:
        round_cpu = cpu_clock()
        round_start = clock()
        for _ in range(discard):
            function()
        for i in range(calls):
            # reading the CPU clock takes half a microsecond, so do it outside the wall time
            cpu_start = cpu_clock()
            start = clock()
            function()
            wall[i] = clock() - start
            cpu[i] = cpu_clock() - cpu_start
        whole = np.array([clock() - round_start, cpu_clock() - round_cpu], np.int64)
    finally:
        if collecting:
            gc.enable()
    return wall, cpu, whole


class _InProcess:
    """A candidate that runs in this process; workers.Worker runs a model in its own process."""

    threads = 1

    def __init__(self, function: Callable[[], object]) -> None:
        self.function = function

    def warm_up(self) -> WarmUp:
        return warm_up(self.function)

    def time_calls(self, calls: int, discard: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return time_calls(self.function, calls, discard)


def benchmark(
    candidates: dict,
    *,
    rounds: int = 30,
    min_round_s: float = 0.02,
    min_calls: int = 10,
    discard: int = 1,
    seed: int = 0,
) -> dict[str, Latency]:
    """Time every candidate for `rounds` rounds, in a new random order in every round.

    `candidates` is {name: function without arguments, or workers.Worker}; the result has the same
    names. A round lasts at least `min_round_s` and has at least `min_calls` calls. `discard` more
    calls before them are not recorded. `seed` sets the orders. ValueError for wrong arguments.
    """
    if not candidates:
        raise ValueError("nothing to time: give at least one {name: function}")
    are_whole = all(isinstance(n, (int, np.integer)) for n in (rounds, min_calls, discard))
    if not are_whole or rounds < 1 or min_calls < 1 or discard < 0:
        raise ValueError(
            "rounds and min_calls must be at least 1, discard at least 0, all of them whole numbers"
        )
    if not 0 <= min_round_s < math.inf:
        raise ValueError(f"min_round_s must be a time in seconds, not {min_round_s}")
    sources = {
        name: candidate if hasattr(candidate, "time_calls") else _InProcess(candidate)
        for name, candidate in candidates.items()
    }
    warm = {name: source.warm_up() for name, source in sources.items()}
    calls = {}
    for name, source in sources.items():
        typical_ns = float(np.median(source.time_calls(5, discard=1)[0]))
        calls[name] = max(min_calls, math.ceil(min_round_s * 1e9 / max(typical_ns, 1.0)))
    taken: dict[str, list] = {name: [] for name in sources}
    order = random.Random(seed)
    for _ in range(rounds):
        for name in order.sample(list(sources), len(sources)):
            taken[name].append(sources[name].time_calls(calls[name], discard))
    latencies = {}
    for name, rounds_taken in taken.items():
        wall, cpu, whole = map(np.stack, zip(*rounds_taken))
        latencies[name] = Latency(wall, cpu, whole, warm[name], sources[name].threads)
    return latencies
