"""How long does a call take? Each call is timed by itself, in short rounds in random order.

The reasons, each measured in notebook 03:
- Other programs interrupt a busy machine every few milliseconds. Most single calls escape that; a
  block of a hundred calls never does. So each call's time is kept, and percentiles are reported,
  never a mean.
- A machine drifts over minutes. Candidates that take turns drift together, and their ratio stays
  right.
- Candidates that alternate after every call would find a cold cache. So a round is some dozens of
  calls of one candidate, and its first call is discarded.
- CPU time next to wall time shows whether other programs used the machine.

This module needs only numpy and the standard library: it runs the same on a laptop and on a Pi.
"""

import gc
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

CONTENDED = 0.1  # a thread that was off the CPU for more of its time than this was disturbed
SMALLEST_ROUNDS = 6  # resampling fewer rounds than this gives intervals that promise too much
MAX_WINDOW_NS = 1e8  # a warm-up window of long calls is cut to about 0.1 s
STABLE_WINDOWS = 3  # consecutive windows without improvement that end the warm-up

SMALLEST_PIECES = 6

# 97.5 % points of Student's t distribution with 2 to 29 degrees of freedom
# fmt: off
STUDENT_T = (
    4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201,
    2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080,
    2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045,
)
# fmt: on


@dataclass(frozen=True)
class WarmUp:
    """`calls` made, nanoseconds of the first, and whether the times stopped falling (`steady`)."""

    calls: int
    first_call_ns: int
    steady: bool


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Ratio(Interval):
    """How many times faster the candidate is than the baseline; above 1 means faster."""

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Latency:
    """The raw times of one candidate in nanoseconds, int64.

    `samples_ns` and `cpu_ns` [rounds, calls] are each call's time by the wall clock and by the
    thread's CPU clock. `round_ns` [rounds, 2] has the same two for the whole round, which includes
    all that happens between the calls.
    """

    samples_ns: np.ndarray
    cpu_ns: np.ndarray
    round_ns: np.ndarray
    warm_up: WarmUp
    threads: int = 1

    def __str__(self) -> str:
        p50, p90 = (f"{self.percentile(q) / 1e3:,.1f}" for q in (50, 90))
        rounds, calls = self.samples_ns.shape
        unit = "thread" if self.threads == 1 else "threads"
        measured = f"{rounds} rounds of {calls} calls, {self.threads} {unit}"
        return "; ".join([f"p50 {p50} µs, p90 {p90} µs ({measured})", *self.warnings])

    def percentile(self, q: float) -> float:
        """The q-th percentile in nanoseconds: a time that some call really took."""
        return percentile(self.samples_ns, q)

    def interval(self, q: float = 50) -> Interval | None:
        """The percentile with an interval *within this session*, by bootstrap over rounds.

        None if there are fewer than six rounds, or so few calls that the smallest and the largest
        enclose the percentile with less than 95 % probability, 1 - q**n - (1 - q)**n.

        It shows how steady this run was. Another session differs by more: see between_pieces.
        """
        if len(self.samples_ns) < SMALLEST_ROUNDS:
            return None
        share = q / 100
        n = self.samples_ns.size
        if 1 - share**n - (1 - share) ** n < 0.95:
            return None
        low, high = _bootstrap([self.samples_ns], lambda wall: percentile(wall, q))
        return Interval(self.percentile(q), low, high)

    @property
    def contention(self) -> float | None:
        """The share of the rounds' time in which the calling thread was not running.

        None with several threads, which hide it. Whole rounds count, because a system often takes
        the processor away between two calls, where the CPU clock is read. The calls then look
        undisturbed, and nearly are, although the machine is shared.
        """
        if self.threads > 1:
            return None
        wall, cpu = self.round_ns.sum(axis=0)
        return max(0.0, float(1 - cpu / wall))

    @property
    def warnings(self) -> list[str]:
        """What a reader must know before believing these times."""
        found = []
        contention = self.contention
        if contention is not None and contention > CONTENDED:
            found.append(
                f"contended: this thread waited {contention:.0%} of the time; stop other programs"
            )
        if not self.warm_up.steady:
            found.append("still getting faster at the end of the warm-up: measure again")
        interval = self.interval(50)
        if interval is None:
            found.append(
                "too few rounds or calls for an interval: "
                f"measure at least {SMALLEST_ROUNDS} rounds"
            )
        elif interval.high - interval.low > 0.1 * interval.value:
            found.append("unsteady: p50 differs by more than 10 % between rounds")
        return found


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
    ends when three windows in a row do not improve on it by `tolerance` and `min_duration_s` has
    passed, or at the latest after `max_duration_s`. A window is `window` calls, or fewer if they
    are long: about a tenth of a second, at least one call.
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
            # best_ns stays, so a slow decline over many windows still counts as improvement
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

    All are int64. Before the calls, `discard` calls refill the cache; only the round includes them.
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
            # reading the CPU clock takes half a microsecond: outside the wall clock's reads
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


class _Here:
    """A candidate that runs in this process; workers.Worker runs a model in its own process."""

    threads = 1

    def __init__(self, function: Callable[[], object]) -> None:
        self.function = function

    def warm_up(self) -> WarmUp:
        return warm_up(self.function)

    def time_calls(self, calls: int, discard: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return time_calls(self.function, calls, discard)


def _source(candidate):
    if hasattr(candidate, "time_calls"):
        return candidate
    return _Here(candidate)


def benchmark(
    candidates: dict,
    *,
    rounds: int = 30,
    min_round_s: float = 0.02,
    min_calls: int = 10,
    discard: int = 1,
    seed: int = 0,
) -> dict[str, Latency]:
    """Time every candidate, `rounds` rounds each, in an order that is drawn again for every round.

    A candidate is a function without arguments, or a workers.Worker. A round lasts at least
    `min_round_s` and `min_calls` calls; `discard` further calls before them are not recorded.
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
    sources = {name: _source(candidate) for name, candidate in candidates.items()}
    warm = {name: source.warm_up() for name, source in sources.items()}
    calls = {}
    for name, source in sources.items():
        typical_ns = float(np.median(source.time_calls(5, discard=1)[0]))
        calls[name] = max(min_calls, math.ceil(min_round_s * 1e9 / max(typical_ns, 1.0)))
    taken = {name: [] for name in sources}
    order = random.Random(seed)
    for _ in range(rounds):
        for name in order.sample(list(sources), len(sources)):
            taken[name].append(sources[name].time_calls(calls[name], discard))
    latencies = {}
    for name, rounds_taken in taken.items():
        wall, cpu, whole = map(np.stack, zip(*rounds_taken))
        latencies[name] = Latency(wall, cpu, whole, warm[name], sources[name].threads)
    return latencies


def speedup(baseline: Latency, candidate: Latency, q: float = 50) -> Ratio:
    """How many times faster `candidate` is than `baseline`, at the q-th percentile.

    Both are of the same benchmark. The interval comes from resampling the rounds, the same ones
    for both: a drift of both cancels out.
    """
    rounds = len(baseline.samples_ns)
    if rounds != len(candidate.samples_ns):
        raise ValueError(
            "speedup compares two candidates of one benchmark: "
            "they have different numbers of rounds"
        )
    if rounds < SMALLEST_ROUNDS:
        raise ValueError(
            f"a ratio needs at least {SMALLEST_ROUNDS} rounds for its interval, not {rounds}"
        )
    value = baseline.percentile(q) / candidate.percentile(q)
    pair = [baseline.samples_ns, candidate.samples_ns]
    low, high = _bootstrap(pair, lambda a, b: percentile(a, q) / percentile(b, q))
    return Ratio(value, low, high)


def between_pieces(pieces: Sequence[Latency], q: float = 50) -> Interval:
    """The mean percentile of pieces measured with pauses between, and its interval by Student's t.

    Both are in nanoseconds. Give at least six pieces, seconds or better minutes apart. The interval
    of one piece does not include how the machine drifts; this one does and is wider. Print it next
    to a latency that stands alone.
    """
    if len(pieces) < SMALLEST_PIECES:
        raise ValueError(
            f"between_pieces needs at least {SMALLEST_PIECES} pieces spread over time, "
            f"not {len(pieces)}"
        )
    values = np.array([piece.percentile(q) for piece in pieces])
    mean = values.mean()
    half = _student_t(len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return Interval(float(mean), float(mean - half), float(mean + half))


def _student_t(freedom: int) -> float:
    """The 97.5 % point for so many degrees of freedom, at least 2; wrong by less than 0.001.

    Beyond the table by the first terms of Abramowitz and Stegun, Handbook of Mathematical
    Functions, 26.7.5.
    """
    if freedom < len(STUDENT_T) + 2:
        return STUDENT_T[freedom - 2]
    z = 1.959964
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def percentile(samples: np.ndarray, q: float) -> float:
    """The q-th percentile of all entries, by the rule of MLPerf's LoadGen.

    Of n sorted values it is the one at index n * q / 100, rounded down. ValueError for no entries,
    and for a q outside 0 to 100.

    >>> percentile(np.array([30, 10, 20, 40]), 50)
    30.0
    """
    if not 0 <= q <= 100 or not np.size(samples):
        raise ValueError(f"there is no {q}th percentile of {np.size(samples)} values")
    ordered = np.sort(samples, axis=None)
    index = int(len(ordered) * q / 100)
    return float(ordered[min(len(ordered) - 1, index)])


def _bootstrap(
    arrays: list[np.ndarray], statistic: Callable, resamples: int = 400
) -> tuple[float, float]:
    generator = np.random.default_rng(0)
    rounds = len(arrays[0])
    values = [
        statistic(*(array[chosen] for array in arrays))
        for chosen in generator.integers(0, rounds, (resamples, rounds))
    ]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
