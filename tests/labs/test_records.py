"""Handed-in records: a measured one passes, and what was edited, invented, void or cut off is named."""

import datetime
import json

import numpy as np
import pytest

from helpers import device, results, timing
from helpers.timing import Latency, WarmUp
from labs.grading.records import problems

BEFORE = "2026-01-02T03:04:05.000+00:00"


def record(samples=None, seconds=30.0, **change) -> dict:
    """A record of 6 rounds of 20 calls of about 1.5 ms."""
    if samples is None:
        samples = np.random.default_rng(0).gamma(400, 3750, (6, 20)).astype(np.int64)
    latency = Latency(samples, samples.copy(), np.stack([samples.sum(1)] * 2, 1), WarmUp(50, 9_000_000, True), 1)
    after = (datetime.datetime.fromisoformat(BEFORE) + datetime.timedelta(seconds=seconds)).isoformat(timespec="milliseconds")
    made = results.record(latency, model={"name": "m.onnx", "sha256": "ab"}, runtime={"name": "ONNX Runtime", "version": "1"},
                          before={"at": BEFORE, "throttled": "0x0"}, after={"at": after, "throttled": "0x0"}, host={"machine_id": "0123"})
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
    calls = timing.benchmark({"sum": lambda: sum(range(3000)), "sort": lambda: sorted(range(3000))}, rounds=6, seed=0)
    for name, latency in calls.items():
        before = device.conditions()
        made = results.record(
            latency, model={"name": name, "sha256": "ab"}, runtime={"name": "Python", "version": "3"},
            before=before | {"at": BEFORE}, after=before)
        assert [p for p in found(tmp_path, made) if "it does not count" not in p] == []  # a busy machine voids it, rightly
    assert found(tmp_path, record(), record(np.random.default_rng(1).gamma(400, 3750, (6, 20)).astype(np.int64))) == []


SORTED = np.sort(np.random.default_rng(0).gamma(400, 3750, 120)).astype(np.int64).reshape(6, 20)


@pytest.mark.parametrize("change, said", [
    ({"latency_ns__p50": 900_000}, "p50 does not follow"), ({"latency_ns__p90": None}, "p90 does not follow"),
    ({"latency_ns__mean": "fast"}, "mean does not follow"), ({"latency_ns__n": 10_000}, "it states 10000 calls"),
    ({"method__rounds": 100}, "in 100 rounds"), ({"samples_ns": []}, "samples_ns is not a table"), ({"samples_ns": None}, "samples_ns is not a table"),
    ({"samples_ns": [[1, 2], [3]]}, "samples_ns is not a table"), ({"samples_ns": [["1"] * 60]}, "samples_ns is not a table"),
    ({"samples_ns": [[-5] * 60]}, "samples_ns is not a table"), ({"samples_ns": [[True] * 60]}, "samples_ns is not a table"),
    ({"conditions__after": {}}, "the conditions before and after the measurement are missing"), ({"host__machine_id": ""}, "host.machine_id is missing"),
    ({"runtime__version": None}, "runtime.version is missing"), ({"valid": False}, "it does not count: it says so"),
    ({"contention": 0.5}, "other programs used the processor"), ({"void_reasons": ["too warm"]}, "too warm"),
    ({"conditions__before__throttled": "0x4"}, "the Pi reported"), ({"conditions__before__throttled": "warm"}, "flags are no number"),
    ({"seconds": 0.05}, "the times are invented"), ({"samples": np.full((6, 20), 1_500_123)}, "only 1 different times"),
    ({"samples": np.random.default_rng(0).integers(1000, 2000, (6, 20)) * 1000}, "whole microseconds"),
    ({"samples": np.tile(np.random.default_rng(0).integers(10**6, 2 * 10**6, 20), (6, 1))}, "repeat in the same order"),
    ({"samples": (10**6 + np.arange(120) * 777).reshape(6, 20)}, "rise by equal steps"),
    ({"samples": np.random.default_rng(0).integers(10**6, 2 * 10**6, (2, 5))}, "10 calls are too few"),
])
def test_what_is_wrong_is_named(tmp_path, change, said):
    named = found(tmp_path, record(**change))
    assert named and any(said in problem for problem in named), named


def test_real_times_that_rise_are_not_called_invented(tmp_path):
    assert found(tmp_path, record(SORTED)) == []


def test_files_that_hold_no_records(tmp_path):
    assert found(tmp_path) == ["records.jsonl holds no record"]
    assert "no record of a measurement" in found(tmp_path, {"a": 1})[0] and str(tmp_path) not in found(tmp_path, {"a": 1})[0]
    assert "cannot be read" in found(tmp_path, tail="[" * 100_000 + "\n")[0] or "no JSON" in found(tmp_path, tail="[" * 100_000 + "\n")[0]
    assert "newer workbook" in found(tmp_path, record(schema_version=99))[0]
    assert found(tmp_path, record(), tail='{"cut": ') == ["1 line(s) of it are no JSON"]
    same = record()
    assert found(tmp_path, same, same) == ["two records have the same run_id", "two records have the same samples_ns"]
    assert "two records have the same samples_ns" in found(tmp_path, same, record(run_id="other"))
    (tmp_path / "large.jsonl").write_bytes(bytes(21 << 20))
    assert problems(tmp_path / "large.jsonl") == ["large.jsonl has more than 20 MB"]
