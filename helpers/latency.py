"""The result of a benchmark: raw times of a candidate, their percentiles, ratios and warnings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from helpers.intervals import Interval, Ratio, bootstrap, percentile, student_t

CONTENDED = 0.1  # a measurement is disturbed if its thread was descheduled for a larger share
SMALLEST_ROUNDS = 6  # resampling fewer rounds gives intervals that are too narrow
SMALLEST_REPEATS = 6


@dataclass(frozen=True)
class WarmUp:
    """The number of calls, the time of the first, and whether times stopped falling (`steady`)."""

    calls: int
    first_call_ns: int
    steady: bool


@dataclass(frozen=True)
class Latency:
    """The raw times of one candidate in nanoseconds, int64.

    `samples_ns` and `cpu_ns` [rounds, calls] are each call's time by the wall clock and by the
    thread's CPU clock. `round_ns` [rounds, 2] has the same two times for the whole round, which
    includes the time between calls.
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
        """The q-th percentile in nanoseconds: the measured time of one of the calls."""
        return percentile(self.samples_ns, q)

    def interval(self, q: float = 50) -> Interval | None:
        """The percentile with an interval *within this session*, by bootstrap over rounds.

        Both are in nanoseconds. None if there are fewer than six rounds, or so few calls that the
        smallest and the largest enclose the percentile with less than 95 % probability,
        1 - q**n - (1 - q)**n.

        The interval shows how steady this run was. Sessions differ by more: see
        mean_across_repeats.
        """
        if len(self.samples_ns) < SMALLEST_ROUNDS:
            return None
        share = q / 100
        n = self.samples_ns.size
        if 1 - share**n - (1 - share) ** n < 0.95:
            return None
        low, high = bootstrap([self.samples_ns], lambda wall: percentile(wall, q))
        return Interval(self.percentile(q), low, high)

    @property
    def contention(self) -> float | None:
        """The fraction of the rounds' time in which the calling thread was not running.

        None with several threads, because one thread's CPU clock does not show it. It is computed
        from whole rounds: a system often deschedules the thread between two calls, where the CPU
        clock is read. The times of the calls then hide that the machine is shared.
        """
        if self.threads > 1:
            return None
        wall, cpu = self.round_ns.sum(axis=0)
        return max(0.0, float(1 - cpu / wall))

    @property
    def warnings(self) -> list[str]:
        """Problems that make these times less reliable, in words."""
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


def speedup(baseline: Latency, candidate: Latency, q: float = 50) -> Ratio:
    """How many times faster `candidate` is than `baseline`, at the q-th percentile.

    Both must come from the same benchmark. The interval comes from resampling the same rounds of
    both, so that a drift of the machine cancels out. ValueError if the numbers of rounds differ, or
    if there are fewer than six rounds.
    """
    rounds = len(baseline.samples_ns)
    if rounds != len(candidate.samples_ns):
        raise ValueError(
            "speedup compares two candidates of one benchmark, but these have "
            f"{rounds} and {len(candidate.samples_ns)} rounds"
        )
    if rounds < SMALLEST_ROUNDS:
        raise ValueError(
            f"the interval of a ratio needs at least {SMALLEST_ROUNDS} rounds, not {rounds}"
        )
    value = baseline.percentile(q) / candidate.percentile(q)
    pair = [baseline.samples_ns, candidate.samples_ns]
    low, high = bootstrap(pair, lambda a, b: percentile(a, q) / percentile(b, q))
    return Ratio(value, low, high)


def mean_across_repeats(repeats: Sequence[Latency], q: float = 50) -> Interval:
    """The mean percentile of repeated measurements, and its interval by Student's t.

    Both are in nanoseconds. Take at least six measurements (else ValueError), seconds or better
    minutes apart. The interval of a single measurement does not include the drift of the machine.
    This one does, and is wider. Use it for a latency that is reported alone.
    """
    return _across_repeats(np.array([latency.percentile(q) for latency in repeats]))


def speedup_across_repeats(
    baseline: Sequence[Latency], candidate: Sequence[Latency], q: float = 50
) -> Ratio:
    """How many times faster `candidate` is than `baseline`, over repeated races of the two.

    Two processes that run the same file differ by a per cent or more for as long as they live, by
    where their memory is, which the rounds of one race cannot show. Start the processes of each
    race again, and take at least six races (else ValueError). The ratio is the geometric mean of
    the races' ratios, with Student's interval on their logarithms. The two of a race took turns, so
    that a drift of the machine cancels out.
    """
    slow, fast = (np.array([one.percentile(q) for one in times]) for times in (baseline, candidate))
    logarithm = _across_repeats(np.log(slow / fast))
    return Ratio(*np.exp([logarithm.value, logarithm.low, logarithm.high]).tolist())


def _across_repeats(values: np.ndarray) -> Interval:
    """The mean of a value of each measurement, and its interval by Student's t."""
    if len(values) < SMALLEST_REPEATS:
        raise ValueError(
            f"this needs at least {SMALLEST_REPEATS} measurements spread over time, "
            f"not {len(values)}"
        )
    mean = values.mean()
    half = student_t(len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return Interval(float(mean), float(mean - half), float(mean + half))
