"""helpers.results: what a record holds, which ones count, and files that survive power cuts.

They also survive kills and full disks.
"""

import dataclasses
import errno
import hashlib
import json
import os
import re
import subprocess
import sys
import time
import uuid
import warnings
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas
import pytest

from helpers import records, results
from helpers.timing import Interval, Latency, WarmUp

HOST = {"board": "Raspberry Pi 5 Model B Rev 1.0", "machine_id": "01234567"}


def conditions(throttled="0x0"):
    return {
        "at": "2026-01-02T03:04:05.000+00:00",
        "governor": "ondemand",
        "temp_c": 50.1,
        "throttled": throttled,
    }


def latency(contention=0.0, p50_us=140, rounds=6, calls=10, threads=1):
    wall = np.random.default_rng(0).integers(990, 1010, (rounds, calls)) * p50_us
    cpu = (wall * (1 - contention)).astype(np.int64)
    round_ns = np.stack([wall.sum(1), cpu.sum(1)], 1)
    return Latency(wall, cpu, round_ns, WarmUp(50, 9_000_000, True), threads)


ORDINARY = latency()


def made(latency=ORDINARY, throttled=("0x0", "0x0"), **change):
    given = {
        "model": {"name": "mnist_cnn.onnx", "sha256": "ab", "bytes": 4_800_000, "macs": 11_992_448},
        "runtime": {"name": "onnxruntime", "version": "1.31.1"},
        "before": conditions(throttled[0]),
        "after": conditions(throttled[1]),
        "host": HOST,
    }
    return results.record(latency, **{**given, **change})


def write(path, *records):
    for record in records:
        results.append_result(path, record)
    return path


def test_a_record_holds_every_field():
    got = made(
        peak_rss={"load": 63 * 2**20},
        quality={"metric": "accuracy", "value": 0.991, "n": 1000},
        method={"seed": 0, "discard": 1},
    )
    assert " ".join(got) == (
        "schema_version run_id session_id started_at host conditions model runtime scenario batch "
        "stages method latency_ns cpu_ns contention samples_ns peak_rss_kb quality energy valid "
        "void_reasons throttled_by warnings"
    )
    assert " ".join(got["latency_ns"]) == "n min p50 p90 p99 mean p50_ci ci_kind p50_between"
    assert got["started_at"] == "2026-01-02T03:04:05.000+00:00"
    assert got["model"] == {
        "name": "mnist_cnn.onnx",
        "sha256": "ab",
        "bytes": 4_800_000,
        "parameters": None,
        "macs": 11_992_448,
        "input_shape": None,
        "precision": None,
    }
    assert got["runtime"] == {
        "name": "onnxruntime",
        "version": "1.31.1",
        "threads": 1,
        "options": None,
    }
    method = got["method"]
    assert (method["rounds"], method["calls_per_round"], method["warmup_calls"]) == (6, 10, 50)
    assert got["peak_rss_kb"] == {"load": 63 * 1024}
    assert (got["quality"]["n"], got["energy"]["method"]) == (1000, None)
    assert (got["valid"], got["void_reasons"], got["warnings"]) == (True, [], [])
    assert json.loads(json.dumps(got, allow_nan=False)) == got


def test_records_are_written_as_ever_to_the_byte(tmp_path, monkeypatch):
    """tests/records.jsonl was written before a record was a dataclass. Schema 3 stays as it is."""
    monkeypatch.setattr("uuid.uuid4", lambda: uuid.UUID(int=7))
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.2.0")
    all_names = {
        "model": {
            "precision": "int8",
            "name": "mnist_cnn.onnx",
            "sha256": "ab",
            "bytes": np.int64(4_800_000),
            "parameters": 1_199_882,
            "macs": 11_992_448,
            "input_shape": (1, 1, 28, 28),
        },
        "runtime": {"options": {"arena": True}, "name": "ncnn", "version": "1", "threads": 4},
        "scenario": "Offline",
        "batch": 10,
        "stages": ("preprocess", "inference"),
        "method": {"overhead_ns": 60.5, "seed": 0, "discard": 1},
        "between": Interval(141.0, 139.0, 143.0),
        "peak_rss": {"import": 31 * 2**20, "load": 63 * 2**20 + 512},
        "quality": {
            "sha256": "cd",
            "metric": "accuracy",
            "value": np.float32(0.75),
            "n": 1000,
            "ci": (0.7, 0.8),
            "dataset": "MNIST",
        },
        "energy": {"joules_per_inference": 0.004, "method": "power meter"},
    }
    path = write(
        tmp_path / "now.jsonl",
        made(session_id="one"),
        made(latency(threads=2), session_id="one", **all_names),
        made(latency(contention=0.5, rounds=1), ("0x0", "0x80000"), session_id="two"),
    )
    assert path.read_bytes() == (Path(__file__).parent / "records.jsonl").read_bytes()


@pytest.mark.parametrize(
    "part",
    [
        records.Record,
        records.Model,
        records.Runtime,
        records.Method,
        records.LatencyFacts,
        records.Quality,
        records.Energy,
    ],
)
def test_the_docstring_of_a_part_describes_each_of_its_fields(part):
    described = re.findall(r"^    (\w+) {2,}\S", part.__doc__, re.MULTILINE)
    assert described == [field.name for field in dataclasses.fields(part)]


def test_the_figures_of_a_record_follow_from_its_raw_times():
    timed = latency()
    got = made(timed)
    assert got["samples_ns"] == timed.samples_ns.tolist()
    assert got["latency_ns"]["p50"] == timed.percentile(50)
    assert (got["latency_ns"]["n"], got["latency_ns"]["min"]) == (60, timed.samples_ns.min())
    assert got["latency_ns"]["p50_ci"] == [timed.interval(50).low, timed.interval(50).high]
    assert got["latency_ns"]["ci_kind"] == "within session"
    assert got["latency_ns"]["mean"] == pytest.approx(timed.samples_ns.mean())
    assert got["cpu_ns"]["p50"] in timed.cpu_ns
    assert got["cpu_ns"]["p50"] == pytest.approx(np.median(timed.cpu_ns), rel=0.01)


def test_the_interval_mean_across_repeats_is_named_so():
    got = made(between=Interval(141.0, 139.0, 143.0))["latency_ns"]
    assert got["p50_between"] == {"value": 141.0, "low": 139.0, "high": 143.0}
    low, high = got["p50_ci"]
    assert got["ci_kind"] == "within session"
    assert low <= got["p50"] <= high, "of the same calls"
    few = made(latency(rounds=1, calls=5))["latency_ns"]
    assert (few["p50_ci"], few["ci_kind"]) == (None, None)


def test_several_threads_have_no_contention_and_count():
    got = made(latency(contention=0.5, threads=2))
    assert (got["contention"], got["valid"], got["runtime"]["threads"]) == (None, True, 2)


@pytest.mark.parametrize(
    "timed, throttled, reason",
    [
        (
            latency(contention=0.11),
            ("0x0", "0x0"),
            "other programs used the processor: the thread waited 11% of the time",
        ),
        (latency(), ("0x0", "0x50005"), "the Pi reported: under-voltage"),
        (
            latency(),
            ("0x0", "0x80000"),
            "the Pi reported: soft temperature limit at some time during the measurement",
        ),
        (latency(), ("0x4", "0x0"), "the Pi reported: throttled"),
    ],
)
def test_what_does_not_count_says_why(timed, throttled, reason):
    got = made(timed, throttled)
    assert not got["valid"] and reason in got["void_reasons"]


@pytest.mark.parametrize(
    "timed, throttled",
    [
        (latency(contention=0.09), ("0x0", "0x0")),
        (latency(), ("0x50000", "0x50000")),
        (latency(), (None, None)),
    ],
)
def test_what_counts(timed, throttled):
    assert made(timed, throttled)["valid"]


def test_names_that_a_record_does_not_have_are_refused():
    with pytest.raises(ValueError, match="model has no colour, size; it has name, sha256"):
        made(model={"name": "x", "size": 3, "colour": "red"})
    with pytest.raises(ValueError, match="^runtime has no os; it has name, version, threads, opt"):
        made(runtime={"name": "ncnn", "os": "Linux"})
    # what comes from the measurement cannot be given
    said = "^method has no first_call_ns, rounds; it has discard, seed, overhead_ns$"
    with pytest.raises(ValueError, match=said):
        made(method={"rounds": 3, "first_call_ns": 1, "seed": 0})
    said = "^quality has no f1; it has metric, value, n, ci, dataset, sha256$"
    with pytest.raises(ValueError, match=said):
        made(quality={"f1": 1})
    with pytest.raises(ValueError, match="^energy has no watts; it has joules_per_inference, meth"):
        made(energy={"watts": 1})


def test_model_facts(tmp_path):
    (tmp_path / "a.param").write_bytes(b"abc")
    (tmp_path / "a.bin").write_bytes(b"de")
    got = results.model_facts(tmp_path / "a.param", tmp_path / "a.bin")
    assert got == {"name": "a.param", "bytes": 5, "sha256": hashlib.sha256(b"abcde").hexdigest()}
    assert made(model={**got, "precision": "int8"})["model"]["bytes"] == 5


def test_a_record_comes_back_as_it_went(tmp_path):
    path = write(tmp_path / "deep" / "pi.jsonl", made(), made(stages=("preprocess", "inference")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = results.read_results(path)
    assert len(frame) == 2 and frame.attrs["skipped_lines"] == 0
    assert frame["latency_ns.p50"][0] == latency().percentile(50)
    assert frame["samples_ns"][0] == latency().samples_ns.tolist()
    assert frame["stages"][1] == ["preprocess", "inference"]
    assert frame["conditions.before.temp_c"][0] == 50.1 and frame["host.board"][0] == HOST["board"]
    assert frame["session_id"][0] == frame["session_id"][1]
    assert frame["run_id"][0] != frame["run_id"][1]
    assert frame["valid"].dtype == bool


def test_numpy_numbers_are_taken(tmp_path):
    given = {
        "schema_version": 1,
        "a": np.float32(0.5),
        "b": np.int64(2**40),
        "c": np.bool_(True),
        "d": np.arange(3),
        "e": (1, 2),
    }
    got = json.loads(write(tmp_path / "x.jsonl", given).read_text())
    assert got == {
        "schema_version": 1,
        "a": 0.5,
        "b": 2**40,
        "c": True,
        "d": [0, 1, 2],
        "e": [1, 2],
    }


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), np.float32("nan"), np.array([0.0, -np.inf])]
)
def test_nan_is_refused_by_name_and_nothing_is_written(tmp_path, value):
    said = r"quality\.value.* is -?(nan|inf); a record holds finite numbers"
    with pytest.raises(ValueError, match=said):
        results.append_result(tmp_path / "x.jsonl", {"quality": {"value": value}})
    with pytest.raises(TypeError, match="files.0. is a PosixPath|files.0. is a WindowsPath"):
        results.append_result(tmp_path / "x.jsonl", {"files": [Path("a")]})
    assert not (tmp_path / "x.jsonl").exists()


WRITER = """
import sys
from helpers import results
path, done, count, locks = sys.argv[1:]
if locks == "without locks":
    results.fcntl = None
with open(done, "w") as finished:
    for i in range(int(count)):
        run = f"{done}-{i}"
        record = {"schema_version": 1, "run_id": run, "samples_ns": list(range(140000, 140370))}
        results.append_result(path, record)
        finished.write(run + "\\n")  # only after the record is on the disk
        finished.flush()
"""


def four_writers(path, count, locks):
    """Four processes that write at once, and the files that list what they have finished."""
    done = [path.with_name(f"done{i}") for i in range(4)]
    start = [sys.executable, "-c", WRITER, str(path)]
    writers = [subprocess.Popen([*start, str(name), str(count), locks]) for name in done]
    return writers, done


def finished_runs(done: list[Path]) -> list[str]:
    return [run for name in done for run in name.read_text().splitlines()]


def test_four_writers_that_are_killed_lose_nothing_that_was_finished(tmp_path):
    path = tmp_path / "pi.jsonl"
    writers, done = four_writers(path, 10**6, "with locks")

    def all_are_at_work():
        return all(name.exists() and name.stat().st_size > 2000 for name in done)

    try:
        deadline = time.monotonic() + 60
        while not all_are_at_work():
            assert time.monotonic() < deadline and all(writer.poll() is None for writer in writers)
            time.sleep(0.02)
    finally:
        for writer in writers:
            writer.kill()
        for writer in writers:
            writer.wait()
    finished = finished_runs(done)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = results.read_results(path)
    print(
        f"{len(frame)} records, {len(finished)} reported as finished, "
        f"{frame.attrs['skipped_lines']} pieces"
    )
    assert len(finished) > 50
    assert set(finished) <= set(frame["run_id"])
    assert frame["run_id"].is_unique
    # one that was killed inside its write may leave a piece or a record that it did not report
    assert frame.attrs["skipped_lines"] + len(frame) - len(finished) <= 4


@pytest.mark.parametrize("locks", ["with locks", "without locks"])  # Windows has none
def test_four_writers_at_once_do_not_disturb_each_other(tmp_path, locks):
    path = tmp_path / "pi.jsonl"
    writers, done = four_writers(path, 50, locks)
    assert [writer.wait(timeout=60) for writer in writers] == [0] * 4
    frame = results.read_results(path)
    assert sorted(frame["run_id"]) == sorted(finished_runs(done))
    assert (len(frame), frame.attrs["skipped_lines"]) == (200, 0)


def test_a_record_is_on_the_disk_before_append_result_returns(tmp_path, monkeypatch):
    path = tmp_path / "pi.jsonl"
    sizes = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: sizes.append(os.fstat(descriptor).st_size))
    write(path, made())
    assert sizes == [path.stat().st_size] and sizes[0] > 0


def test_a_torn_last_line_is_read_past_and_repaired_by_the_next_record(tmp_path):
    path = write(tmp_path / "pi.jsonl", made(), made())
    path.write_bytes(path.read_bytes()[:-700])
    with pytest.warns(UserWarning, match=r"skipped 1 unfinished line\(s\): pi.jsonl line 2"):
        assert len(results.read_results(path)) == 1
    write(path, made())
    with pytest.warns(UserWarning) as said:
        frame = results.read_results(path)
    assert (len(said), len(frame), frame.attrs["skipped_lines"]) == (1, 2, 1)


def test_a_last_line_that_lacks_only_its_end_is_whole(tmp_path):
    path = write(tmp_path / "pi.jsonl", made())
    path.write_bytes(path.read_bytes()[:-1])
    assert len(results.read_results(write(path, made()))) == 2


def test_a_full_disk_is_said_and_the_next_record_stays_whole(tmp_path, monkeypatch):
    path = write(tmp_path / "pi.jsonl", made())
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, line: real(descriptor, line[:500]))
    with pytest.raises(OSError, match="not saved in pi.jsonl: is the disk full. .only 500 of"):
        results.append_result(path, made())
    monkeypatch.undo()
    write(path, made())
    with pytest.warns(UserWarning, match="skipped 1"):
        assert len(results.read_results(path)) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_limit_on_the_size_of_files_is_a_full_disk(tmp_path):
    code = (
        "import resource, sys\nfrom helpers import results\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "for i in range(3):\n"
        "    try: results.append_result(sys.argv[1], {'schema_version': 1, 'text': 'x' * 700})\n"
        "    except OSError as error: print(error)\n"
    )
    path = tmp_path / "pi.jsonl"
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()  # a short write, then none at all
    assert "is the disk full? (only 269 of 731 bytes were taken)" in first
    assert "(File too large)" in second
    with pytest.warns(UserWarning, match="skipped 1"):
        assert len(results.read_results(write(path, made()))) == 2


@pytest.mark.alone
def test_reading_three_thousand_records_takes_little_more_than_parsing_them(tmp_path):
    record = made(latency(rounds=6, calls=25))
    run_id = record["run_id"].encode()
    line = json.dumps(record).encode() + b"\n"
    path = tmp_path / "pi.jsonl"
    path.write_bytes(b"".join(line.replace(run_id, b"%032x" % n) for n in range(3000)))
    start = time.process_time()  # CPU time: what other programs take does not count
    frame = results.read_results(path)
    elapsed_s = time.process_time() - start
    start = time.process_time()
    for text in path.read_bytes().splitlines():
        json.loads(text)
    parsing_s = time.process_time() - start
    print(
        f"3,000 records of {len(line):,} bytes, {frame.shape[1]} columns: "
        f"{elapsed_s / parsing_s:.1f} times json.loads"
    )
    assert len(frame) == 3000 and len(line) > 2500
    assert elapsed_s < 20 * parsing_s


def test_folders_and_patterns(tmp_path):
    write(tmp_path / "b.jsonl", made())
    write(tmp_path / "a [1].jsonl", made(batch=4))
    (tmp_path / "notes.txt").write_text("not a record")
    assert results.read_results(tmp_path)["batch"].tolist() == [4, 1]
    assert results.read_results(str(tmp_path / "b*.jsonl"))["batch"].tolist() == [1]
    assert results.read_results(tmp_path / "a [1].jsonl")["batch"].tolist() == [4]
    (tmp_path / "empty").mkdir()
    for missing in (tmp_path / "empty", tmp_path / "c.jsonl", str(tmp_path / "c*")):
        with pytest.raises(FileNotFoundError, match="no results in"):
            results.read_results(missing)


def test_files_that_are_not_ours(tmp_path):
    (tmp_path / "new.jsonl").write_text(f'{{"schema_version": {results.SCHEMA_VERSION + 1}}}\n')
    said = "new.jsonl line 1 was written by a newer workbook .*update"
    with pytest.raises(ValueError, match=said):
        results.read_results(tmp_path / "new.jsonl")
    for text in ("[1, 2]\n", '{"a": 1}\n', '{"schema_version": "1"}\n'):
        (tmp_path / "other.jsonl").write_text(text)
        with pytest.raises(ValueError, match="no schema_version"):
            results.read_results(tmp_path / "other.jsonl")


def test_a_run_that_is_in_two_files_or_twice_in_one_counts_once(tmp_path):
    runs = [made(), made(latency(p50_us=100)), made()]
    write(tmp_path / "pi.jsonl", *runs)
    for copy in ("pi (copy).jsonl", "pi [1].jsonl"):
        (tmp_path / copy).write_bytes((tmp_path / "pi.jsonl").read_bytes())
    write(tmp_path / "pi.jsonl", runs[0])
    frame = results.read_results(tmp_path)
    assert sorted(frame["run_id"]) == sorted(run["run_id"] for run in runs)
    assert frame.attrs["repeated_records"] == 7
    twice = pandas.concat([frame, frame])
    assert len(results.rank(twice)) == 3 and results.rank(twice)["run_id"][0] == runs[1]["run_id"]
    assert results.summary(twice).equals(results.summary(frame))
    without = pandas.concat([frame.assign(run_id=None)] * 2)
    assert len(results.rank(without)) == 6, "records without a number are all different"


def test_folders_whose_names_have_brackets(tmp_path):
    folder = tmp_path / "results [old]"
    write(folder / "pi [1].jsonl", made())
    for path in (folder, folder / "pi [1].jsonl", folder / "*.jsonl", str(folder / "pi*")):
        assert len(results.read_results(path)) == 1


@pytest.mark.skipif(results.fcntl is None, reason="Windows has no such locks")
@pytest.mark.parametrize(
    "number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EIO]
)
def test_a_file_system_without_locks(tmp_path, monkeypatch, number):
    def flock(descriptor, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(results.fcntl, "flock", flock)
    path = write(tmp_path / "pi.jsonl", made(), made())
    assert len(results.read_results(path)) == 2


def test_a_file_system_that_cannot_wait_for_its_disk(tmp_path, monkeypatch):
    def fail_with(number):
        def fsync(descriptor):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", fsync)

    for number in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        fail_with(number)
        results.append_result(tmp_path / "pi.jsonl", made())
    fail_with(errno.EIO)
    with pytest.raises(OSError, match="not saved in pi.jsonl"):
        results.append_result(tmp_path / "pi.jsonl", made())


@pytest.mark.parametrize(
    "step_s, warning",
    [
        (9 * 86400, r"set by \+777,600 s .* took 40.0 s"),
        (-3600, r"set by -3,600 s"),
        (-60, r"set by -60 s"),
        (0, None),
        (0.5, None),
    ],
)
def test_a_clock_that_was_set_is_told_apart(step_s, warning):
    before = {**conditions(), "monotonic_ns": 10**10}
    at = datetime.fromisoformat(before["at"]) + timedelta(seconds=40 + step_s)
    after = {
        **before,
        "at": at.isoformat(timespec="milliseconds"),
        "monotonic_ns": 10**10 + 40 * 10**9,
    }
    got = made(before=before, after=after)
    found = [text for text in got["warnings"] if "clock was set" in text]
    assert bool(found) == bool(warning) and (not warning or re.search(warning, found[0]))
    assert got["valid"], "the times of the calls do not depend on this clock"
    start, end = (got["conditions"][when]["monotonic_ns"] for when in ("before", "after"))
    assert end - start == 40 * 10**9


def test_records_of_the_first_version_are_read_and_ranked_with_new_ones(tmp_path):
    old = {**made(), "schema_version": 1}
    for state in old["conditions"].values():
        assert "monotonic_ns" not in state
    frame = results.read_results(write(tmp_path / "pi.jsonl", old, made()))
    assert frame["schema_version"].tolist() == [1, results.SCHEMA_VERSION]
    assert len(results.rank(frame)) == 2 and len(results.summary(frame)) == 1


@pytest.mark.parametrize(
    "throttled, names",
    [
        (("0x0", "0x0"), []),
        ((None, None), None),
        (("0x50000", "0x50000"), []),
        (("0x0", "0x6"), ["frequency capped", "throttled"]),
    ],
)
def test_a_record_names_what_throttled_it(throttled, names):
    got = made(throttled=throttled)
    assert got["throttled_by"] == names and got["valid"] == (not names)
    assert got["schema_version"] == 3


def older(record: dict, version: int) -> dict:
    """The record as `version` of the schema had it."""
    later = {"throttled_by"} if version < 3 else set()
    known = {name: value for name, value in record.items() if name not in later}
    return known | {"schema_version": version}


def test_throttled_rows_are_kept_and_marked_and_never_ranked(tmp_path):
    """Of every version of the schema; what is void for another reason is not kept."""
    free = made()
    throttled = made(throttled=("0x0", "0x6"))
    rows = [
        free,
        throttled,
        older(made(throttled=("0x0", "0x20000")), 1),
        older(made(throttled=(None, None)), 2),
    ]
    contended = latency(contention=0.5)
    void = [made(contended), made(contended, ("0x4", "0x4")), {**made(), "valid": False}]
    frame = results.read_results(write(tmp_path / "pi.jsonl", *rows, *void))
    kept = results.keep_throttled(frame)
    assert kept["run_id"].tolist() == [row["run_id"] for row in rows]
    assert kept["throttled"].tolist() == ["", "frequency capped, throttled", "frequency capped", ""]
    assert set(results.rank(kept)["run_id"]) == {free["run_id"], rows[3]["run_id"]}
    assert "throttled" not in frame and len(results.keep_throttled(frame.iloc[4:])) == 0


@pytest.mark.parametrize("version", [1, 2])
def test_older_records_are_read_as_before(tmp_path, version):
    """rank and summary say of them what they say of the same records in the present version."""
    records = [
        made(latency(p50_us=100), ("0x0", "0x0")),
        made(latency(p50_us=90), ("0x0", "0x4")),
        made(latency(p50_us=120), (None, None)),
    ]
    before = [older(record, version) for record in records]
    old = results.read_results(write(tmp_path / "old.jsonl", *before))
    new = results.read_results(write(tmp_path / "new.jsonl", *records))
    assert "throttled_by" not in old and old["schema_version"].eq(version).all()
    assert results.rank(old)["run_id"].tolist() == results.rank(new)["run_id"].tolist()
    assert results.rank(old).attrs["invalid"] == results.rank(new).attrs["invalid"]
    assert results.summary(old).equals(results.summary(new))


def test_rank_leaves_out_what_does_not_count(tmp_path):
    slow = made(latency(p50_us=200))
    fast = made(latency(p50_us=100))
    throttled = made(latency(p50_us=50), ("0x0", "0x1"))
    contended = made(latency(0.5, p50_us=40))
    said_valid = {**made(latency(p50_us=30), ("0x0", "0x2")), "valid": True, "void_reasons": []}
    said_void = {**made(latency(p50_us=20)), "valid": False}
    untimed = {**made(), "latency_ns": {**made()["latency_ns"], "p50": None}}
    void = [throttled, contended, said_valid, said_void, untimed]
    frame = results.read_results(write(tmp_path / "pi.jsonl", slow, *void, fast))
    ranked = results.rank(frame)
    assert ranked["run_id"].tolist() == [fast["run_id"], slow["run_id"]]
    assert [row["run_id"] for row in ranked.attrs["invalid"]] == [row["run_id"] for row in void]
    assert [row["reasons"] for row in ranked.attrs["invalid"]] == [
        ["the Pi reported: under-voltage"],
        ["other programs used the processor: the thread waited 50% of the time"],
        ["the Pi reported: frequency capped"],
        ["the record says that it is not valid"],
        ["it has no latency_ns.p50"],
    ]
    assert len(frame) == 7 and "invalid" not in frame.attrs
    assert results.rank(frame, by="latency_ns.mean")["run_id"][0] == fast["run_id"]


def test_rank_refuses_when_nothing_counts(tmp_path):
    void = [made(latency(0.5)), made(latency(), ("0x1", "0x1"))]
    frame = results.read_results(write(tmp_path / "pi.jsonl", *void))
    none_counts = r"no valid measurement \(0 of 2\): other programs .*; the Pi reported"
    with pytest.raises(ValueError, match=none_counts):
        results.rank(frame)
    no_column = "no column 'latency' to rank by; columns: schema_version"
    with pytest.raises(ValueError, match=no_column):
        results.rank(frame, by="latency")


def test_records_without_any_known_condition_can_be_ranked(tmp_path):
    laptop = made(latency(threads=2), (None, None))
    assert len(results.rank(results.read_results(write(tmp_path / "laptop.jsonl", laptop)))) == 1
    # null next to a number or a text
    mixed = results.read_results(write(tmp_path / "laptop.jsonl", made()))
    assert len(results.rank(mixed)) == 2


def test_the_summary_shows_the_latest_row_that_counts(tmp_path):
    rows = [
        made(latency(p50_us=150)),
        made(latency(p50_us=140)),
        made(latency(contention=0.5, p50_us=900)),
        made(latency(p50_us=5000)) | {"batch": 10},
    ]
    path = write(tmp_path / "pi.jsonl", *rows)
    table = results.summary(results.read_results(path))
    assert list(table["batch"]) == [1, 10] and list(table["valid"]) == ["yes", "yes"]
    assert table["p50 (µs)"].iloc[0] == pytest.approx(140, rel=0.02)


def test_the_summary_has_a_row_for_each_precision_of_a_file(tmp_path):
    """ncnn and MNN compute the same file in float32 or in half precision."""
    facts = made()["model"]
    both = [made(model=facts | {"precision": name}) for name in ("float32", "half precision")]
    table = results.summary(results.read_results(write(tmp_path / "pi.jsonl", *both)))
    assert sorted(table["precision"]) == ["float32", "half precision"]


def test_the_summary_of_void_rows_and_of_none(tmp_path):
    path = tmp_path / "pi.jsonl"
    results.append_result(path, made(latency(contention=0.5)))
    assert "waited" in results.summary(results.read_results(path))["valid"].iloc[0]
    (tmp_path / "torn.jsonl").write_text('{"schema_version": 1, "run_')
    with pytest.warns(UserWarning, match="unfinished"):
        assert results.summary(results.read_results(tmp_path / "torn.jsonl")).empty
