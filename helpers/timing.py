"""How long does a call take? Every call is timed by itself, in short rounds, candidates in random order.

Why so, each point measured in notebook 03:
- Other programs interrupt a busy machine every few milliseconds. Most single calls escape that, a block of a
  hundred calls never does: so we keep each call's time and report percentiles, never a mean.
- A machine drifts over minutes. Candidates that take turns drift together, and their ratio stays right.
- Call after call in turn would measure a cold cache; a round is some dozens of calls of one candidate, and its
  first call is thrown away.
- CPU time beside wall time tells whether somebody else was using the machine.

Only numpy and the standard library: it runs the same on a laptop and on a Pi.
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
STUDENT_T = (
    4.303,
    3.182,
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
    2.201,
    2.179,
    2.160,
    2.145,
    2.131,
    2.120,
    2.110,
    2.101,
    2.093,
    2.086,
    2.080,
    2.074,
    2.069,
    2.064,
    2.060,
    2.056,
    2.052,
    2.048,
    2.045,
)  # 97.5 %, df 2-29


@dataclass(frozen=True)
class WarmUp:
    """`calls` made, nanoseconds of the first, and whether the time had stopped falling (`steady`)."""

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

    `samples_ns` and `cpu_ns` [rounds, calls] are each call's time by the wall clock and by the thread's CPU clock,
    `round_ns` [rounds, 2] the same two for the whole round, all that happens between the calls included.
    """

    samples_ns: np.ndarray
    cpu_ns: np.ndarray
    round_ns: np.ndarray
    warm_up: WarmUp
    threads: int = 1

    def percentile(self, q: float) -> float:
        """The q-th percentile in nanoseconds: a time that some call really took."""
        return percentile(self.samples_ns, q)

    def interval(self, q: float = 50) -> Interval | None:
        """The percentile with an interval *within this session* (bootstrap over rounds); None where the data are too few.

        Too few are less than six rounds, and so few calls that the largest and the smallest of them enclose the
        percentile with less than 95 % probability, 1 - q**n - (1 - q)**n.

        It says how steady this run was. Another session differs by more: see between_pieces.
        """
        share, n = q / 100, self.samples_ns.size
        if len(self.samples_ns) < SMALLEST_ROUNDS or 1 - share**n - (1 - share) ** n < 0.95:
            return None
        return Interval(
            self.percentile(q), *_bootstrap([self.samples_ns], lambda wall: percentile(wall, q))
        )

    @property
    def contention(self) -> float | None:
        """The share of the rounds in which the calling thread was not running; None with several threads, which hide it.

        Of whole rounds, because a system that takes the processor away likes to do so between two calls, where the
        CPU clock is read: the calls look undisturbed, and nearly are, while the machine is in fact shared.
        """
        wall, cpu = self.round_ns.sum(axis=0)
        return None if self.threads > 1 else max(0.0, float(1 - cpu / wall))

    @property
    def warnings(self) -> list[str]:
        """What a reader must know before believing these times."""
        found = []
        if self.contention is not None and self.contention > CONTENDED:
            found.append(
                f"contended: this thread waited {self.contention:.0%} of the time; stop other programs"
            )
        if not self.warm_up.steady:
            found.append("still getting faster at the end of the warm-up: measure again")
        interval = self.interval(50)
        if interval is None:
            found.append(
                f"too few rounds or calls for an interval: measure at least {SMALLEST_ROUNDS} rounds"
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
    """Call `function` until the median of a window of calls has stopped falling, three windows in a row.

    A window is `window` calls, or fewer where they are long (a tenth of a second, at least one call).
    """
    start, reference, flat = time.perf_counter_ns(), math.inf, 0
    first_ns = int(time_calls(function, 1, discard=0)[0][0])
    calls, window = 1, max(1, min(window, int(1e8 / max(first_ns, 1))))
    while True:
        middle = float(np.median(time_calls(function, window, discard=0)[0]))
        calls += window
        if middle > reference * (1 - tolerance):
            flat += 1  # against the same reference each time, so that a slow decline is seen
        else:
            flat, reference = 0, middle
        elapsed_s = (time.perf_counter_ns() - start) / 1e9
        if (flat >= 3 and elapsed_s >= min_duration_s) or elapsed_s >= max_duration_s:
            return WarmUp(calls, first_ns, flat >= 3)


def time_calls(
    function: Callable[[], object], calls: int, discard: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One round: wall and CPU nanoseconds of each of `calls` calls, and of the round (two numbers), all int64.

    Before them, `discard` calls refill the cache; they count in the round only.
    """
    wall, cpu = np.empty(calls, np.int64), np.empty(calls, np.int64)
    clock, cpu_clock = time.perf_counter_ns, time.thread_time_ns
    collecting = gc.isenabled()
    gc.disable()
    try:
        round_cpu, round_start = cpu_clock(), clock()
        for _ in range(discard):
            function()
        for i in range(calls):
            cpu_start = (
                cpu_clock()
            )  # the CPU clock takes half a microsecond to read: outside the wall clock's reads
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
    """A callable of this process as a candidate. workers.Worker is the same for a model in a process of its own."""

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
    """Time every candidate, `rounds` rounds each, in an order that is drawn anew for every round.

    A candidate is a function without arguments, or a workers.Worker. A round lasts at least `min_round_s` and
    `min_calls` calls; its first `discard` calls do not count.
    """
    if not candidates:
        raise ValueError("nothing to time: give at least one {name: function}")
    whole = all(isinstance(n, (int, np.integer)) for n in (rounds, min_calls, discard))
    if not whole or rounds < 1 or min_calls < 1 or discard < 0:
        raise ValueError(
            "rounds and min_calls must be at least 1, discard at least 0, all of them whole numbers"
        )
    if not 0 <= min_round_s < math.inf:
        raise ValueError(f"min_round_s must be a time in seconds, not {min_round_s}")
    sources = {name: c if hasattr(c, "time_calls") else _Here(c) for name, c in candidates.items()}
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
    return {
        name: Latency(*map(np.stack, zip(*rounds_taken)), warm[name], sources[name].threads)
        for name, rounds_taken in taken.items()
    }


def speedup(baseline: Latency, candidate: Latency, q: float = 50) -> Ratio:
    """How many times faster `candidate` is than `baseline` of the same benchmark, at the q-th percentile.

    The interval comes from resampling the rounds, the same ones for both: what drifted for both cancels out.
    """
    if len(baseline.samples_ns) != len(candidate.samples_ns):
        raise ValueError(
            "speedup compares two candidates of one benchmark: they have different numbers of rounds"
        )
    if len(baseline.samples_ns) < SMALLEST_ROUNDS:
        raise ValueError(
            f"a ratio needs at least {SMALLEST_ROUNDS} rounds for its interval, not {len(baseline.samples_ns)}"
        )
    pair = [baseline.samples_ns, candidate.samples_ns]
    return Ratio(
        baseline.percentile(q) / candidate.percentile(q),
        *_bootstrap(pair, lambda a, b: percentile(a, q) / percentile(b, q)),
    )


def between_pieces(pieces: Sequence[Latency], q: float = 50) -> Interval:
    """The mean percentile of pieces measured with pauses between, in nanoseconds, and its interval by Student's t.

    At least six pieces, seconds apart or better minutes. Wider than the interval of one piece, which knows nothing
    of how the machine drifts, and so the one to print beside a latency that stands alone.
    """
    if not 6 <= len(pieces) <= len(STUDENT_T) + 2:
        raise ValueError(
            f"between_pieces needs 6 to {len(STUDENT_T) + 2} pieces spread over time, not {len(pieces)}"
        )
    values = np.array([piece.percentile(q) for piece in pieces])
    half = STUDENT_T[len(values) - 3] * values.std(ddof=1) / math.sqrt(len(values))
    return Interval(float(values.mean()), float(values.mean() - half), float(values.mean() + half))


def percentile(samples: np.ndarray, q: float) -> float:
    """The q-th percentile of all entries by MLPerf LoadGen's rule: of n sorted values, the one at index n * q / 100.

    ValueError for no entries, and for a q outside 0 to 100.
    """
    if not 0 <= q <= 100 or not np.size(samples):
        raise ValueError(f"there is no {q}th percentile of {np.size(samples)} values")
    ordered = np.sort(samples, axis=None)
    return float(ordered[min(len(ordered) - 1, int(len(ordered) * q / 100))])


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
