"""Records of measurements: one JSON object per line, raw times kept, with the reasons why one does not count.

A file is only ever appended to, by one write per record, so that a crash, a power cut or a second writer spoils
at most the line that was being written. `read_results` reads past such a line.
"""

import errno
import glob
import hashlib
import importlib.metadata
import json
import math
import os
import uuid
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from helpers import device, timing
from helpers.paths import show

try:
    import fcntl
except ImportError:  # Windows: there O_APPEND alone keeps two writers apart
    fcntl = None

SCHEMA_VERSION = 1
SESSION_ID = uuid.uuid4().hex[:12]  # one per process: what was measured in one session drifts together
FIELDS = {  # the parts of a record that the caller fills in
    "model": ("name", "sha256", "bytes", "parameters", "macs", "input_shape", "precision"),
    "runtime": ("name", "version", "threads", "options"),
    "method": ("discard", "seed", "overhead_ns"),
    "quality": ("metric", "value", "n", "ci", "dataset", "sha256"),
    "energy": ("joules_per_inference", "method"),
}


def model_facts(*files: Path | str) -> dict:
    """name, sha256 and bytes of a model file, or of the several files (ncnn's .param and .bin) that make one model."""
    contents = [Path(file).read_bytes() for file in files]
    return {"name": Path(files[0]).name, "sha256": hashlib.sha256(b"".join(contents)).hexdigest(),
            "bytes": sum(map(len, contents))}


def record(latency, *, model: dict, runtime: dict, before: dict, after: dict, scenario: str = "SingleStream",
           batch: int = 1, stages: Sequence[str] = ("inference",), method: dict | None = None, between=None,
           peak_rss: dict[str, int] | None = None, quality: dict | None = None, energy: dict | None = None,
           host: dict | None = None, session_id: str = SESSION_ID) -> dict:
    """The record of one candidate in one session, ready for append_result.

    latency: a timing.Latency. before, after: device.conditions() on both sides of the measurement.
    model, runtime, method, quality, energy: dicts with the names in FIELDS, what is not known left out.
    stages: what was timed, of "preprocess", "inference" and "postprocess". scenario: "SingleStream" (one image
    after another), "Offline" (batches), "Camera", "Sustained" (a slice of a long run) or "Metered" (while a power
    meter was read). peak_rss: bytes by mark, as device.peak_rss gives them.
    between: the timing.between_pieces of further pieces; `p50_ci` is the interval within the session of `latency`.

    `void_reasons` says why the measurement does not count: throttling, or contention above timing.CONTENDED.
    `valid` is True where there is no reason. ValueError for a name that FIELDS lacks.
    """
    given = {"model": model, "runtime": {"threads": latency.threads, **runtime}, "method": method or {},
             "quality": quality or {}, "energy": energy or {}}
    parts = {part: _only_known(part, values) for part, values in given.items()}
    interval = latency.interval(50)
    reasons = device.void_reasons(before, after) + _contention_reasons(latency.contention)
    samples, percentiles = np.asarray(latency.samples_ns), {f"p{q}": latency.percentile(q) for q in (50, 90, 99)}
    return _plain({
        "schema_version": SCHEMA_VERSION, "run_id": uuid.uuid4().hex, "session_id": session_id,
        "started_at": before["at"], "host": device.describe() if host is None else host,
        "conditions": {"before": before, "after": after}, "model": parts["model"], "runtime": parts["runtime"],
        "scenario": scenario, "batch": batch, "stages": list(stages),
        "method": {"helpers_version": _helpers_version(), "warmup_calls": latency.warm_up.calls,
                   "first_call_ns": latency.warm_up.first_call_ns, "rounds": samples.shape[0],
                   "calls_per_round": samples.shape[1], **parts["method"]},
        "latency_ns": {"n": samples.size, "min": samples.min(), **percentiles, "mean": samples.mean(),
                       "p50_ci": [interval.low, interval.high] if interval else None,
                       "ci_kind": "within session" if interval else None,
                       "p50_between": vars(between) if between else dict.fromkeys(("value", "low", "high"))},
        "cpu_ns": {"p50": timing.percentile(latency.cpu_ns, 50)},
        "contention": latency.contention, "samples_ns": samples,
        "peak_rss_kb": {mark: peak // 1024 for mark, peak in (peak_rss or {}).items()},
        "quality": parts["quality"], "energy": parts["energy"],
        "valid": not reasons, "void_reasons": reasons, "warnings": list(latency.warnings),
    })


def _only_known(part: str, values: dict) -> dict:
    if unknown := set(values) - set(FIELDS[part]):
        raise ValueError(f"{part} has no {', '.join(sorted(unknown))}; it has {', '.join(FIELDS[part])}")
    return {name: values.get(name) for name in FIELDS[part]}


def _contention_reasons(contention: float | None) -> list[str]:
    if contention is None or not contention > timing.CONTENDED:  # None: several threads, where nobody can tell
        return []
    return [f"other programs used the processor: the thread waited {contention:.0%} of the time"]


def _helpers_version() -> str | None:
    try:
        return importlib.metadata.version("helpers")
    except importlib.metadata.PackageNotFoundError:  # run from a copy that was not installed
        return None


def append_result(path: Path | str, record: dict) -> None:
    """Add `record` as one line to the file at `path`, and wait until the disk has it.

    numpy numbers and arrays are taken as they are. ValueError for NaN and infinity, which JSON has not, TypeError
    for other things that it has not; nothing is written then. OSError where the disk does not take the whole line.
    """
    line = json.dumps(_plain(record), allow_nan=False, separators=(",", ":")).encode() + b"\n"
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644)
    try:
        if fcntl:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # goes with the descriptor, also when the process is killed
        if (size := os.fstat(descriptor).st_size) > 0:
            os.lseek(descriptor, size - 1, os.SEEK_SET)
            if os.read(descriptor, 1) != b"\n":
                line = b"\n" + line  # the last writer did not finish: its piece must not spoil this record
        if (written := os.write(descriptor, line)) < len(line):
            raise OSError(errno.ENOSPC, f"only {written} of {len(line)} bytes were taken")
        os.fsync(descriptor)
    except OSError as error:
        message = f"the record was not saved in {show(path)}: is the disk full? ({error.strerror})"
        raise OSError(error.errno, message) from error
    finally:
        os.close(descriptor)


def _plain(value, name: str = ""):
    """`value` made of what JSON has; `name` says in an error which entry was meant."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(entry, f"{name}.{key}" if name else str(key)) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry, f"{name}[{i}]") for i, entry in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} is {value}; a record holds finite numbers, and None where something is not known")
    if value is not None and not isinstance(value, (str, int, float)):
        raise TypeError(f"{name} is a {type(value).__name__}, which a record cannot hold")
    return value


def read_results(path: Path | str):
    """All records of a file, of a folder (its *.jsonl) or of a pattern such as "build/results/*.jsonl", as a DataFrame.

    One row per record in the order of the files' names, columns such as "latency_ns.p50"; lists (samples_ns) stay
    lists. Lines that were not finished are left out with one warning, `attrs["skipped_lines"]` counts them.
    FileNotFoundError where there is no file, ValueError for records of a newer workbook and for other files.
    """
    import pandas

    path = Path(path)
    files = sorted(path.glob("*.jsonl") if path.is_dir() else map(Path, glob.glob(str(path))))
    if path.is_file():
        files = [path]  # a file's name may have brackets
    if not files:
        raise FileNotFoundError(f"there are no results in {show(path)}; the notebooks that measure write them")
    rows, skipped = [], []
    for file in files:
        for number, line in enumerate(file.read_bytes().split(b"\n"), 1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
            except ValueError:
                skipped.append(f"{file.name} line {number}")
                continue
            _check_version(entry, f"{show(file)} line {number}")
            rows.append(_flat(entry))
    if skipped:
        warnings.warn(f"left out {len(skipped)} unfinished line(s): {', '.join(skipped[:3])}", stacklevel=2)
    frame = pandas.DataFrame(rows)
    frame.attrs["skipped_lines"] = len(skipped)
    return frame


def _check_version(entry, where: str) -> None:
    version = entry.get("schema_version") if isinstance(entry, dict) else None
    if not isinstance(version, int):
        raise ValueError(f"{where} is no record of a measurement: it has no schema_version")
    if version > SCHEMA_VERSION:
        raise ValueError(f"{where} was written by a newer workbook (version {version} of the records, this one knows "
                         f"{SCHEMA_VERSION}); update the workbook")


def _flat(entry: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in entry.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def rank(frame, by: str = "latency_ns.p50"):
    """The rows that count, smallest `by` first; in `attrs["void"]` the others, as {"run_id": ..., "reasons": [...]}.

    Left out are rows that are not valid, were throttled or contended (whatever `valid` says), or have no `by`.
    ValueError where there is no such column or nothing is left.
    """
    if by not in frame.columns:
        raise ValueError(f"there is no column {by!r} to rank by; there are {', '.join(map(str, frame.columns))}")
    reasons = [_row_reasons(row, by) for row in frame.to_dict("records")]
    void = [{"run_id": run, "reasons": found} for run, found in zip(frame["run_id"], reasons) if found]
    if len(void) == len(frame):
        counted = sorted({reason for row in void for reason in row["reasons"]})
        raise ValueError(f"none of {len(frame)} measurements counts: {'; '.join(counted) or 'there are none'}")
    ranked = frame[[not found for found in reasons]].sort_values(by, kind="stable", ignore_index=True)
    ranked.attrs["void"] = void
    return ranked


def _row_reasons(row: dict, by: str) -> list[str]:
    flags = [row.get(f"conditions.{when}.throttled") for when in ("before", "after")]
    states = [{"throttled": value if isinstance(value, str) else None} for value in flags]  # NaN where it was null
    written = row.get("void_reasons")
    reasons = list(written) if isinstance(written, list) else []
    reasons += device.void_reasons(*states) + _contention_reasons(row.get("contention"))
    if row.get("valid") is not True and not reasons:
        reasons.append("the record says that it is not valid")
    if row[by] is None or row[by] != row[by]:
        reasons.append(f"it has no {by}")
    return list(dict.fromkeys(reasons))


def summary(frame):
    """A row for each machine, model, runtime, threads, batch and scenario, by machine and p50: a DataFrame to print.

    The latest that counts, or the latest where none does; those come last, with the reason in the last column.
    """
    import pandas

    same = ["host.machine_id", "host.board", "host.cpu", "model.name", "model.sha256", "runtime.name", "runtime.version",
            "runtime.threads", "batch", "scenario"]
    frame = frame.reindex(columns=[*same, "model.precision", "model.bytes", "latency_ns.p50", "latency_ns.p90",
                                   "quality.value", "valid", "void_reasons"])
    frame["valid"] = frame["valid"].eq(True)
    latest = frame.sort_values("valid", kind="stable").drop_duplicates(same, keep="last")
    p50 = latest["latency_ns.p50"].astype(float) / 1e3
    table = pandas.DataFrame({
        "machine": latest["host.board"].fillna(latest["host.cpu"]), "model": latest["model.name"],
        "runtime": latest["runtime.name"].astype(str) + " " + latest["runtime.version"].astype(str), "precision": latest["model.precision"],
        "threads": latest["runtime.threads"], "batch": latest["batch"], "scenario": latest["scenario"], "p50 (µs)": p50.round(1),
        "p90 (µs)": (latest["latency_ns.p90"].astype(float) / 1e3).round(1),
        "file (MB)": (latest["model.bytes"].astype(float) / 1e6).round(2), "accuracy": latest["quality.value"],
        "counts": ["yes" if valid else "; ".join(why) if isinstance(why, list) else "no"
                   for valid, why in zip(latest["valid"], latest["void_reasons"])]})
    return table.assign(void=~latest["valid"]).sort_values(["machine", "void", "p50 (µs)"]).drop(columns="void")
