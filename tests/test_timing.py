"""The timing rules: what is counted, in which order, with which intervals.

No test asserts a speed of the machine. Where times decide what is to happen, the clock is one that
the test moves, so a busy machine changes nothing.
"""

import time

import numpy as np
import pytest

from helpers import intervals, timing
from helpers.timing import Latency, WarmUp


def latency(samples, cpu=None, threads=1, steady=True) -> Latency:
    samples = np.asarray(samples, np.int64)
    cpu = samples if cpu is None else np.asarray(cpu, np.int64)
    round_ns = np.stack([samples.sum(1), cpu.sum(1)], 1)
    return Latency(samples, cpu, round_ns, WarmUp(10, 5, steady), threads)


class Clock:
    """Takes the place of the module `time` in helpers.timing: it moves only when a test says so."""

    def __init__(self) -> None:
        self.wall_ns = 0
        self.cpu_ns = 0

    def perf_counter_ns(self) -> int:
        return self.wall_ns

    def thread_time_ns(self) -> int:
        return self.cpu_ns

    def compute(self, seconds: float) -> None:
        self.wall_ns += round(seconds * 1e9)
        self.cpu_ns += round(seconds * 1e9)

    def wait(self, seconds: float) -> None:
        self.wall_ns += round(seconds * 1e9)

    def following(self, seconds):
        """A function whose calls take these times in turn."""
        remaining = iter(seconds)
        return lambda: self.compute(next(remaining))


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    return clock


def test_rounds_are_whole_shuffled_and_discard_their_first_call():
    order = []
    candidates = {name: (lambda name=name: order.append(name)) for name in "abc"}
    measured = timing.benchmark(
        candidates, rounds=20, min_round_s=0, min_calls=4, discard=2, seed=1
    )
    shapes = {name: one.samples_ns.shape for name, one in measured.items()}
    assert shapes == dict.fromkeys("abc", (20, 4))
    tail = order[-20 * 3 * 6 :]
    blocks = [tail[i : i + 6] for i in range(0, len(tail), 6)]
    assert all(len(set(block)) == 1 for block in blocks), "a round belongs to one candidate"
    turns = ["".join(block[0] for block in blocks[i : i + 3]) for i in range(0, 60, 3)]
    assert all(sorted(turn) == ["a", "b", "c"] for turn in turns), "each candidate once per turn"
    assert len(set(turns)) > 3, "in an order that changes"


def test_the_order_depends_on_the_seed_alone():
    def turns(seed):
        order = []
        candidates = {name: (lambda name=name: order.append(name)) for name in "ab"}
        timing.benchmark(candidates, rounds=12, min_round_s=0, min_calls=1, discard=0, seed=seed)
        return "".join(order[-24:])

    assert turns(0) == turns(0) != turns(1)


@pytest.mark.parametrize("min_calls, calls", [(3, 20), (30, 30)])
def test_a_round_lasts_as_long_as_asked(clock, min_calls, calls):
    millisecond = {"a": lambda: clock.compute(0.001)}
    measured = timing.benchmark(millisecond, rounds=2, min_round_s=0.02, min_calls=min_calls)["a"]
    assert measured.samples_ns.tolist() == [[1_000_000] * calls] * 2
    assert measured.warm_up.first_call_ns == 1_000_000
    # the discarded call counts in the round
    assert measured.round_ns.tolist() == [[(calls + 1) * 1_000_000] * 2] * 2


def test_the_real_clock_of_a_call_that_sleeps():
    measured = timing.benchmark(
        {"a": lambda: time.sleep(0.002)}, rounds=3, min_round_s=0, min_calls=5
    )["a"]
    assert measured.samples_ns.shape == (3, 5) and (measured.samples_ns >= 2_000_000).all()
    assert (measured.round_ns[:, 0] > measured.samples_ns.sum(1)).all()
    assert measured.contention > 0.5, "asleep is not on the CPU"


def test_cpu_time_tells_waiting_from_computing(clock):
    def call():
        clock.compute(0.001)
        clock.wait(0.009)

    waiting = timing.benchmark({"a": call}, rounds=3, min_round_s=0, min_calls=5)["a"]
    assert waiting.contention == pytest.approx(0.9)
    assert any("contended" in text for text in waiting.warnings)
    assert waiting.round_ns.tolist() == [[60_000_000, 6_000_000]] * 3
    assert latency(np.full((3, 5), 100), np.full((3, 5), 99)).contention == pytest.approx(0.01)
    # clocks differ a little
    assert latency(np.full((3, 5), 100), np.full((3, 5), 120)).contention == 0
    assert latency(np.full((3, 5), 100), np.full((3, 5), 10), threads=2).contention is None


@pytest.mark.parametrize(
    "samples, q", [([1, 2], -1), ([1, 2], 100.5), ([1, 2], float("nan")), ([], 50)]
)
def test_what_has_no_percentile(samples, q):
    with pytest.raises(ValueError, match="q must be from 0 to 100 .*, of at least one value"):
        timing.percentile(np.array(samples), q)


def test_percentiles_are_times_that_some_call_took():
    one = latency([[5, 1, 4], [2, 3, 100]])
    assert [one.percentile(q) for q in (0, 50, 90, 99, 100)] == [1, 4, 100, 100, 100]


def test_no_interval_from_too_few_calls():
    generator = np.random.default_rng(0)
    many = latency(generator.integers(100, 120, (20, 30)))
    assert many.interval(50).low <= many.percentile(50) <= many.interval(50).high
    assert latency(np.ones((7, 4))).interval(90) is None
    assert latency(np.ones((6, 5))).interval(90) is not None
    assert latency(np.ones((6, 49))).interval(99) is None
    assert latency(np.ones((6, 50))).interval(99) is not None
    assert latency(np.ones((6, 100))).interval(99.9) is None
    few = latency(generator.integers(100, 120, (5, 1000)))
    assert few.interval(50) is None and any("too few rounds" in text for text in few.warnings)
    with pytest.raises(ValueError, match="at least 6 rounds"):
        timing.speedup(few, few)


def test_the_ratio_and_its_interval():
    generator = np.random.default_rng(0)
    drift = np.linspace(1, 2, 40)[:, None]  # the machine becomes half as fast: for both
    slow = latency(1250 * drift * generator.normal(1, 0.01, (40, 50)))
    fast = latency(1000 * drift * generator.normal(1, 0.01, (40, 70)))
    ratio = timing.speedup(slow, fast)
    assert ratio.value == pytest.approx(1.25, abs=0.03) and ratio.low < 1.25 < ratio.high
    assert timing.speedup(fast, slow).value == pytest.approx(1 / ratio.value), "below 1: slower"
    same = timing.speedup(fast, fast)
    assert same.value == same.low == same.high == 1, "the rounds are shared, so drift cancels"
    assert str(timing.Ratio(1.5, 1.4, 1.6)) == "1.50 [1.40, 1.60]"
    with pytest.raises(ValueError, match="one benchmark"):
        timing.speedup(slow, latency(np.ones((3, 5))))


def test_intervals_cover_what_they_promise():
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        a, b = (latency(scale * generator.lognormal(0, 0.05, (30, 20))) for scale in (1000, 1100))
        ratio = timing.speedup(b, a)
        covered += ratio.low <= 1.1 <= ratio.high
    assert 85 <= covered <= 100


def test_mean_across_repeats_is_students_t():
    from scipy import stats

    values = [100, 103, 98, 101, 99, 104, 97]
    found = timing.mean_across_repeats([latency(np.full((6, 10), value)) for value in values])
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    expected = pytest.approx((np.mean(values), low, high), rel=1e-4)
    assert (found.value, found.low, found.high) == expected
    for n in (6, 12, 30):
        assert intervals.STUDENT_T[n - 3] == pytest.approx(stats.t.ppf(0.975, n - 1), abs=6e-4)
    with pytest.raises(ValueError, match="at least 6 measurements"):
        timing.mean_across_repeats([latency(np.ones((6, 10)))] * 5)


def test_a_ratio_over_repeated_races_is_students_t_of_its_logarithm():
    from scipy import stats

    slow, fast = [200, 212, 190, 205, 199, 220], [100, 103, 98, 101, 99, 104]
    races = [[latency(np.full((6, 10), value)) for value in values] for values in (slow, fast)]
    found = timing.speedup_across_repeats(*races)
    logarithms = np.log(np.array(slow) / fast)
    low, high = stats.t.interval(0.95, 5, logarithms.mean(), stats.sem(logarithms))
    expected = pytest.approx(np.exp([logarithms.mean(), low, high]), rel=1e-4)
    assert (found.value, found.low, found.high) == expected
    turned = timing.speedup_across_repeats(*reversed(races))
    assert turned.value == pytest.approx(1 / found.value) and turned.low < 1
    with pytest.raises(ValueError, match="at least 6 measurements"):
        timing.speedup_across_repeats(races[0][:5], races[1][:5])


@pytest.mark.parametrize("n", [30, 31, 60, 400])
def test_any_number_of_repeats_has_an_interval(n):
    from scipy import stats

    values = np.random.default_rng(n).integers(90, 110, n)
    found = timing.mean_across_repeats([latency(np.full((6, 10), value)) for value in values])
    low, high = stats.t.interval(0.95, n - 1, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-4)


def test_a_latency_prints_what_a_reader_wants_to_know():
    calls = np.full((6, 20), 1_500_000)
    calm = latency(calls, np.full((6, 20), 1_490_000))
    assert str(calm) == "p50 1,500.0 µs, p90 1,500.0 µs (6 rounds of 20 calls, 1 thread)"
    contended = latency(calls, calls // 2)
    assert str(contended).endswith(
        "; contended: this thread waited 50% of the time; stop other programs"
    )


def test_warm_up_waits_until_the_time_stops_falling(clock):
    # the first call is of 20 ms, so a window has 5 calls
    seconds = [0.02] + [0.004] * 10 + [0.002] * 10 + [0.001] * 10_000
    warm = timing.warm_up(clock.following(seconds), window=10, min_duration_s=0.05)
    # three windows of 1 ms do not improve on the first
    assert warm == WarmUp(calls=1 + 10 + 10 + 4 * 5, first_call_ns=20_000_000, steady=True)


def test_warm_up_lasts_as_long_as_asked(clock):
    warm = timing.warm_up(lambda: clock.compute(0.001), window=10, min_duration_s=0.2)
    assert warm == WarmUp(calls=201, first_call_ns=1_000_000, steady=True)


def test_warm_up_gives_up_after_its_longest_duration(clock):
    falling = np.geomspace(0.05, 0.001, 40)
    warm = timing.warm_up(clock.following(falling), window=3, max_duration_s=0.3, tolerance=0)
    assert not warm.steady
    assert clock.wall_ns >= 300_000_000


def test_a_slow_decline_is_not_taken_for_steadiness(clock):
    # each window is faster than the one before by 1.5 %, which is below the tolerance
    declining = 0.004 * 0.985 ** np.concatenate([[0], np.repeat(np.arange(1000), 10)])
    warm = timing.warm_up(clock.following(declining), window=10, min_duration_s=0, max_duration_s=1)
    assert warm.calls > 41 and not warm.steady


def test_long_calls_make_short_windows(clock):
    warm = timing.warm_up(lambda: clock.compute(0.15), window=10, max_duration_s=2)
    assert warm == WarmUp(calls=5, first_call_ns=150_000_000, steady=True)


def test_warm_up_of_a_call_that_is_shorter_than_the_step_of_the_clock():
    assert timing.warm_up(lambda: None).steady


def test_warnings_say_what_is_wrong():
    steady = latency(np.random.default_rng(0).integers(1000, 1010, (20, 30)))
    assert steady.warnings == []
    jumpy = latency(np.repeat([1000, 2000], 10)[:, None] + np.zeros((20, 30)))
    assert any("unsteady" in text for text in jumpy.warnings)
    assert any("warm-up" in text for text in latency(steady.samples_ns, steady=False).warnings)


def test_the_garbage_collector_rests_while_a_call_is_timed():
    import gc

    seen = []
    timing.time_calls(lambda: seen.append(gc.isenabled()), 3, discard=1)
    assert seen == [False] * 4 and gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        timing.time_calls(lambda: 1 / 0, 3, discard=0)
    assert gc.isenabled(), "also after an error"


@pytest.mark.parametrize("arguments", [{"rounds": 0}, {"min_calls": 0}, {"discard": -1}])
def test_impossible_settings(arguments):
    with pytest.raises(ValueError):
        timing.benchmark({"a": print}, **arguments)
    for wrong in (
        {"rounds": 2.5},
        {"min_calls": "10"},
        {"discard": None},
        {"min_round_s": float("nan")},
        {"min_round_s": -1},
    ):
        with pytest.raises(ValueError, match="whole numbers|time in seconds"):
            timing.benchmark({"a": lambda: None}, **{"rounds": 6, **wrong})
    with pytest.raises(ValueError, match="nothing to time"):
        timing.benchmark({})
