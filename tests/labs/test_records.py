"""Submitted records: a measured one passes; what was edited, invented, void or cut is named."""

import datetime
import json
import time
import tracemalloc

import numpy as np
import pytest

from helpers import device, results, timing
from helpers.timing import Latency, WarmUp
from labs.grading.checks import plausible, record_fields
from labs.grading.checks.records import problems

BEFORE = "2025-01-02T03:04:05.000+00:00"
HOST = {
    "board": None,
    "cpu": None,
    "cores": 4,
    "ram_mb": 8000,
    "os": "Debian",
    "kernel": "6",
    "arch": "aarch64",
    "python": "3.11.2",
    "features": None,
    "machine_id": "0123abcd",
}
UNKNOWN = ("governor", "freq_khz", "freq_max_khz", "temp_c", "load_avg", "affinity")
STATE = dict.fromkeys(UNKNOWN) | {"throttled": "0x0"}


def times(seed: int = 0) -> np.ndarray:
    """Samples in nanoseconds: 6 rounds of 20 calls of about 1.5 ms."""
    return np.random.default_rng(seed).gamma(400, 3750, (6, 20)).astype(np.int64)


def record(samples=None, seconds=30.0, **change) -> dict:
    """A record of `samples`, by default of 6 rounds of 20 calls of about 1.5 ms."""
    if samples is None:
        samples = times()
    round_ns = np.stack([samples.sum(1)] * 2, 1)
    latency = Latency(samples, samples.copy(), round_ns, WarmUp(50, 9_000_000, True), 1)
    after = datetime.datetime.fromisoformat(BEFORE) + datetime.timedelta(seconds=seconds)
    made = results.record(
        latency,
        model={"name": "m.onnx", "sha256": "ab" * 32},
        runtime={"name": "ONNX Runtime", "version": "1"},
        before=STATE | {"at": BEFORE},
        after=STATE | {"at": after.isoformat(timespec="milliseconds")},
        host=dict(HOST),
    )
    for path, value in change.items():
        part = made
        *parents, last = path.split("__")
        for parent in parents:
            part = part[parent]
        part[last] = value
    return made


def found(tmp_path, *records, tail="") -> list[str]:
    path = tmp_path / "records.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in records) + tail)
    return problems(path)


def test_a_measurement_passes(tmp_path):
    calls = {"sum": lambda: sum(range(3000)), "sort": lambda: sorted(range(3000))}
    before = device.conditions()
    measured = timing.benchmark(calls, rounds=6, seed=0)
    after = device.conditions()
    for name, latency in measured.items():
        made = results.record(
            latency,
            model={"name": name, "sha256": "ab" * 32},
            runtime={"name": "Python", "version": "3"},
            before=before,
            after=after,
        )
        named = found(tmp_path, made)
        # a busy machine voids it, rightly
        assert [problem for problem in named if "it is invalid" not in problem] == []
    assert found(tmp_path, record(), record(times(seed=1))) == []


SORTED = np.sort(np.random.default_rng(0).gamma(400, 3750, 120)).astype(np.int64).reshape(6, 20)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"latency_ns__p50": 900_000}, "p50 does not follow"),
        ({"latency_ns__p90": None}, "p90 does not follow"),
        ({"latency_ns__mean": "fast"}, "mean does not follow"),
        ({"latency_ns__n": 10_000}, "it states 10000 calls"),
        ({"method__rounds": 100}, "in 100 rounds"),
        ({"samples_ns": []}, "samples_ns is not a table"),
        ({"samples_ns": None}, "samples_ns is not a table"),
        ({"samples_ns": [[1, 2], [3]]}, "samples_ns is not a table"),
        ({"samples_ns": [["1"] * 60]}, "samples_ns is not a table"),
        ({"samples_ns": [[-5] * 60]}, "samples_ns is not a table"),
        ({"samples_ns": [[True] * 60]}, "samples_ns is not a table"),
        ({"conditions__after": {}}, "the conditions before and after the measurement are missing"),
        ({"host__machine_id": ""}, "host.machine_id is missing"),
        ({"runtime__version": None}, "runtime.version is missing"),
        ({"valid": False}, "it is invalid: it is marked so"),
        ({"contention": 0.5}, "other programs used the processor"),
        ({"void_reasons": ["too warm"]}, "too warm"),
        ({"conditions__before__throttled": "0x4"}, "the Pi reported"),
        ({"conditions__before__throttled": "warm"}, "flags are not a number"),
        ({"seconds": 0.05}, "the times are invented"),
        ({"samples": np.full((6, 20), 1_500_123)}, "only 1 different times"),
        (
            {"samples": np.random.default_rng(0).integers(1000, 2000, (6, 20)) * 1000},
            "whole microseconds",
        ),
        (
            {"samples": np.tile(np.random.default_rng(0).integers(10**6, 2 * 10**6, 20), (6, 1))},
            "repeat in the same order",
        ),
        ({"samples": (10**6 + np.arange(120) * 777).reshape(6, 20)}, "rise by equal steps"),
        (
            {"samples": np.random.default_rng(0).integers(10**6, 2 * 10**6, (2, 5))},
            "10 calls are too few",
        ),
        ({"samples_ns": [[1e6 + 0.5] * 20] * 6}, "in whole nanoseconds"),
        ({"samples_ns": [["1" * 10**5] + [1] * 19] * 6}, "in whole nanoseconds"),
        ({"model__sha256": "ab"}, "model.sha256 is missing"),
        ({"run_id": "first"}, "run_id is missing"),
        ({"session_id": None}, "session_id is missing"),
        ({"host__kernel": None}, "host.kernel is missing"),
        ({"method__first_call_ns": None}, "first_call_ns is missing"),
        ({"method__warmup_calls": 0}, "warmup_calls is missing"),
        ({"stages": None}, "stages is missing"),
        ({"host": {}}, "host.board is missing"),
        ({"conditions__before": {"at": BEFORE}}, "before.load_avg is missing"),
        ({"cpu_ns": {}}, "cpu_ns.p50 is missing"),
        ({"cpu_ns__p50": 9_000_000}, "processor time"),
        ({"cpu_ns__p50": 1000}, "processor time"),
        ({"contention": None}, "contention of its one thread"),
        ({"latency_ns__p50_ci": None}, "p50_ci is missing"),
        ({"latency_ns__p50_ci": [1_000_000, 2_000_000]}, "p50_ci does not follow"),
        ({"started_at": "2025-01-01T00:00:00.000+00:00"}, "started at another time"),
        ({"seconds": 86_400}, "86400 s passed"),
        ({"conditions__after__at": "2999-01-01T00:00:00.000+00:00"}, "in the future"),
        ({"conditions__after__at": "2025-01-02T03:04:35"}, "conditions before and after"),
        ({"conditions__after__at": BEFORE}, "the times are invented"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, change, said):
    named = found(tmp_path, record(**change))
    assert named and any(said in problem for problem in named), named


@pytest.mark.parametrize("hours", [-1, 216])
def test_a_clock_that_was_set_during_the_run_is_no_lie(tmp_path, hours):
    """Only the clock that runs forward says how long the run took."""
    set_to = datetime.datetime.fromisoformat(BEFORE) + datetime.timedelta(hours=hours)
    change = {
        "conditions__after__at": set_to.isoformat(timespec="milliseconds"),
        "conditions__before__monotonic_ns": 5_000_000_000,
    }
    assert found(tmp_path, record(**change, conditions__after__monotonic_ns=35_000_000_000)) == []
    said = found(tmp_path, record(**change, conditions__after__monotonic_ns=5_010_000_000))
    assert len(said) == 1 and "the times are invented" in said[0]


def test_real_times_that_rise_are_not_called_invented(tmp_path):
    assert found(tmp_path, record(SORTED)) == []


def test_files_that_hold_no_records(tmp_path):
    assert found(tmp_path) == ["records.jsonl contains no record"]
    assert "not a record of a measurement" in found(tmp_path, {"a": 1})[0]
    assert str(tmp_path) not in found(tmp_path, {"a": 1})[0]
    nested = found(tmp_path, tail="[" * 100_000 + "\n")[0]
    assert "cannot be read" in nested or "not JSON" in nested
    assert "newer workbook" in found(tmp_path, record(schema_version=99))[0]
    assert found(tmp_path, record(), tail='{"cut": ') == ["1 line(s) are not JSON"]
    same = record()
    assert found(tmp_path, same, same) == [
        "two records have the same run_id",
        "two records have the same samples_ns",
    ]
    assert "two records have the same samples_ns" in found(tmp_path, same, record(run_id="other"))
    (tmp_path / "large.jsonl").write_bytes(bytes(6 << 20))
    assert problems(tmp_path / "large.jsonl") == ["large.jsonl has more than 5 MB"]


def test_the_interval_is_that_of_the_workbook():
    samples = np.array(record()["samples_ns"])
    interval = Latency(samples, samples, samples[:, :2], WarmUp(1, 1, True)).interval(50)
    assert record_fields.bootstrap_p50(samples) == (interval.low, interval.high)


def test_candidates_of_one_run_share_its_time(tmp_path):
    others = [record(times(seed), seconds=0.4) for seed in range(3)]
    assert found(tmp_path, *others[:2]) == []
    assert "the times are invented" in found(tmp_path, *others)[0]


@pytest.mark.parametrize(
    "line, said",
    [
        (
            '{"schema_version": 1' + "".join(f', "k{i}": 1' for i in range(101)) + "}",
            "more entries",
        ),
        ('{"schema_version": 1, "n": 9223372036854775808}', "too large"),
        ('{"schema_version": 1, "n": ' + "9" * 5000 + "}", "too large"),
        ('{"schema_version": 1, "n": NaN}', "NaN or infinity"),
        ('{"schema_version": 1, "n": 1e999}', "NaN or infinity"),
        ('{"schema_version": 1, "a": ' + '{"b": ' * 8 + "1" + "}" * 9, "deeper"),
        ('{"schema_version": 1, "a": "' + "x" * 20_000 + '"}', "too long"),
        ('{"schema_version": 1, "' + "k" * 200 + '": 1}', "longer names"),
        ("[1, 2]", "not a record of a measurement"),
        (
            '{"schema_version": 1, "samples_ns": [[' + "1," * 250_000 + "1]]}",
            "more than 250,000 calls",
        ),
        ("\n" * 300, "more than 200 lines"),
    ],
)
def test_what_no_record_holds_is_refused_before_anything_is_made_of_it(tmp_path, line, said):
    assert said in found(tmp_path, tail=line)[0]


def test_thousands_of_lines_with_columns_of_their_own_take_neither_time_nor_memory(tmp_path):
    lines = "".join(f'{{"schema_version": 1, "k{i}": 1}}\n' for i in range(7000))
    tracemalloc.start()
    named = found(tmp_path, tail=lines)
    assert named == ["records.jsonl has more than 200 lines"]
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


@pytest.mark.alone
def test_many_calls_are_checked_in_seconds(tmp_path):
    samples = np.random.default_rng(0).gamma(400, 250, (30, 2000)).astype(np.int64)
    made = record(samples)
    start = time.process_time()
    assert found(tmp_path, made) == [] and time.process_time() - start < 4
    start = time.process_time()
    assert (
        plausible._repeats(samples.ravel()[:50_000], 2000) is False
        and time.process_time() - start < 0.5
    )


def test_rounds_longer_than_any_order_that_is_tried_must_not_repeat(tmp_path):
    samples = np.tile(np.random.default_rng(0).integers(10**5, 2 * 10**5, 5000), (6, 1))
    named = found(tmp_path, record(samples))
    assert any("repeat in the same order" in problem for problem in named)
