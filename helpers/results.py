"""Records of measurements: one JSON object per line, with all raw times and the reasons against it.

A file is only ever appended to, by one write per record. A crash, a power cut or a second writer
spoils at most the line that was being written, and `read_results` skips such a line.
"""

import contextlib
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

from helpers import device, timing, validity
from helpers.paths import show
from helpers.ranking import each_run_once, keep_throttled, rank, summary

__all__ = [
    "SCHEMA_VERSION",
    "append_result",
    "keep_throttled",
    "model_facts",
    "rank",
    "read_results",
    "record",
    "summary",
]

try:
    import fcntl
except ImportError:  # Windows: there O_APPEND alone keeps two writers apart
    fcntl = None

# 2: conditions have monotonic_ns, so that a clock that was set shows
# 3: throttled_by names what slowed a Pi down; conditions have clock_khz, the clock that ran
SCHEMA_VERSION = 3
SESSION_ID = uuid.uuid4().hex[:12]  # one per process: measurements of one session drift together
FIELDS = {  # the parts of a record that the caller fills in
    "model": ("name", "sha256", "bytes", "parameters", "macs", "input_shape", "precision"),
    "runtime": ("name", "version", "threads", "options"),
    "method": ("discard", "seed", "overhead_ns"),
    "quality": ("metric", "value", "n", "ci", "dataset", "sha256"),
    "energy": ("joules_per_inference", "method"),
}


def model_facts(*files: Path | str) -> dict:
    """name, sha256 and bytes of a model in one file, or in several (ncnn's .param and .bin)."""
    contents = [Path(file).read_bytes() for file in files]
    return {
        "name": Path(files[0]).name,
        "sha256": hashlib.sha256(b"".join(contents)).hexdigest(),
        "bytes": sum(map(len, contents)),
    }


def record(
    latency,
    *,
    model: dict,
    runtime: dict,
    before: dict,
    after: dict,
    scenario: str = "SingleStream",
    batch: int = 1,
    stages: Sequence[str] = ("inference",),
    method: dict | None = None,
    between=None,
    peak_rss: dict[str, int] | None = None,
    quality: dict | None = None,
    energy: dict | None = None,
    host: dict | None = None,
    session_id: str = SESSION_ID,
) -> dict:
    """The record of one candidate in one session, ready for append_result.

    latency: a timing.Latency. before, after: device.conditions() on both sides of the measurement.
    model, runtime, method, quality, energy: dicts with names in FIELDS; leave out what is unknown.
    scenario: "SingleStream" (one image after another), "Offline" (batches), "Camera", "Sustained"
    (a slice of a long run) or "Metered" (while a power meter was read).
    stages: what was timed, of "preprocess", "inference" and "postprocess".
    between: the timing.between_pieces of further pieces; `p50_ci` is the interval of `latency`
    within its session.
    peak_rss: bytes by mark, as device.peak_rss gives them.

    `void_reasons` has the reasons why the measurement is invalid: throttling, or contention above
    timing.CONTENDED. `valid` is True if there are none. `throttled_by` names the flags that a Pi
    reported during the measurement: [] if none, None if unknown. `warnings` also names a clock that
    was set between before and after. ValueError for a name that is not in FIELDS.
    """
    given = {
        "model": model,
        "runtime": {"threads": latency.threads, **runtime},
        "method": method or {},
        "quality": quality or {},
        "energy": energy or {},
    }
    parts = {part: _only_known(part, values) for part, values in given.items()}
    reasons = validity.invalid_reasons(before, after, latency.contention)
    samples = np.asarray(latency.samples_ns)
    if host is None:
        host = device.describe()
    return _plain(
        {
            "schema_version": SCHEMA_VERSION,
            "run_id": uuid.uuid4().hex,
            "session_id": session_id,
            "started_at": before["at"],
            "host": host,
            "conditions": {"before": before, "after": after},
            "model": parts["model"],
            "runtime": parts["runtime"],
            "scenario": scenario,
            "batch": batch,
            "stages": list(stages),
            "method": {
                "helpers_version": _helpers_version(),
                "warmup_calls": latency.warm_up.calls,
                "first_call_ns": latency.warm_up.first_call_ns,
                "rounds": samples.shape[0],
                "calls_per_round": samples.shape[1],
                **parts["method"],
            },
            "latency_ns": _latency_facts(latency, between),
            "cpu_ns": {"p50": timing.percentile(latency.cpu_ns, 50)},
            "contention": latency.contention,
            "samples_ns": samples,
            "peak_rss_kb": {mark: peak // 1024 for mark, peak in (peak_rss or {}).items()},
            "quality": parts["quality"],
            "energy": parts["energy"],
            "valid": not reasons,
            "void_reasons": reasons,
            "throttled_by": validity.throttled_by(before, after),
            "warnings": [*latency.warnings, *validity.clock_warnings(before, after)],
        }
    )


def _only_known(part: str, values: dict) -> dict:
    if unknown := set(values) - set(FIELDS[part]):
        raise ValueError(
            f"{part} has no {', '.join(sorted(unknown))}; it has {', '.join(FIELDS[part])}"
        )
    return {name: values.get(name) for name in FIELDS[part]}


def _latency_facts(latency, between) -> dict:
    samples = np.asarray(latency.samples_ns)
    facts = {
        "n": samples.size,
        "min": samples.min(),
        **{f"p{q}": latency.percentile(q) for q in (50, 90, 99)},
        "mean": samples.mean(),
        "p50_ci": None,
        "ci_kind": None,
        "p50_between": dict.fromkeys(("value", "low", "high")),
    }
    interval = latency.interval(50)
    if interval:
        facts["p50_ci"] = [interval.low, interval.high]
        facts["ci_kind"] = "within session"
    if between:
        facts["p50_between"] = vars(between)
    return facts


def _helpers_version() -> str | None:
    try:
        return importlib.metadata.version("helpers")
    except importlib.metadata.PackageNotFoundError:  # run from a copy that was not installed
        return None


def append_result(path: Path | str, record: dict) -> None:
    """Add `record` as one line to the file at `path`, and wait until it is on the disk.

    It may hold numpy numbers and arrays. ValueError for NaN and infinity, which JSON cannot store,
    and TypeError for other types that it cannot store; then nothing is written. OSError if the
    whole line cannot be written.
    """
    line = json.dumps(_plain(record), allow_nan=False, separators=(",", ":")).encode() + b"\n"
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    binary = getattr(os, "O_BINARY", 0)  # Windows: no \r is added
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | binary, 0o644)
    try:
        _lock(descriptor)
        size = os.fstat(descriptor).st_size
        if size > 0:
            os.lseek(descriptor, size - 1, os.SEEK_SET)
            if os.read(descriptor, 1) != b"\n":
                # the last writer did not finish: its piece must not spoil this record
                line = b"\n" + line
        written = os.write(descriptor, line)
        if written < len(line):
            raise OSError(errno.ENOSPC, f"only {written} of {len(line)} bytes were taken")
        _wait_for_disk(descriptor)
    except OSError as error:
        message = f"the record was not saved in {show(path)}: is the disk full? ({error.strerror})"
        raise OSError(error.errno, message) from error
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Keep other writers away until the descriptor is closed, or the process killed."""
    if fcntl:
        # network and user-space file systems may have no locks: there only O_APPEND helps
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)


def _wait_for_disk(descriptor: int) -> None:
    # some file systems do not support fsync: not a failure
    not_supported = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in not_supported:
            raise


def _plain(value, name: str = ""):
    """`value` in types that JSON can store; errors show `name`, the entry where it is stored."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, dict):
        prefix = f"{name}." if name else ""
        return {str(key): _plain(entry, f"{prefix}{key}") for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry, f"{name}[{i}]") for i, entry in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(
            f"{name} is {value}; a record holds finite numbers, "
            "and None where something is not known"
        )
    if value is not None and not isinstance(value, (str, int, float)):
        raise TypeError(f"{name} is a {type(value).__name__}, which a record cannot hold")
    return value


def read_results(path: Path | str):
    """The records of a file, a folder (its *.jsonl) or a pattern ("build/results/*.jsonl").

    Returns a DataFrame with one row per record, in the order of the files' names, and columns such
    as "latency_ns.p50"; lists (samples_ns) stay lists. A run that is stored twice, in two files or
    in one, gives one row, the first; `attrs["repeated_records"]` counts the others. Unfinished
    lines are skipped with one warning; `attrs["skipped_lines"]` counts them. FileNotFoundError if
    there is no file, ValueError for records of a newer workbook and for other files.
    """
    import pandas

    path = Path(path)
    files = _files(path)
    if not files:
        raise FileNotFoundError(
            f"there are no results in {show(path)}; the notebooks that measure write them"
        )
    rows = []
    skipped = []
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
        warnings.warn(
            f"left out {len(skipped)} unfinished line(s): {', '.join(skipped[:3])}", stacklevel=2
        )
    frame = each_run_once(pandas.DataFrame(rows))
    frame.attrs |= {"skipped_lines": len(skipped), "repeated_records": len(rows) - len(frame)}
    return frame


def _files(path: Path) -> list[Path]:
    """The files that `path` names. The names of files and folders may contain brackets, too."""
    if path.is_file():
        return [path]
    if path.is_dir():
        return sorted(path.glob("*.jsonl"))
    if path.parent.is_dir():
        return sorted(path.parent.glob(path.name))
    return sorted(map(Path, glob.glob(str(path))))


def _check_version(entry, where: str) -> None:
    version = entry.get("schema_version") if isinstance(entry, dict) else None
    if not isinstance(version, int):
        raise ValueError(f"{where} is no record of a measurement: it has no schema_version")
    if version > SCHEMA_VERSION:
        raise ValueError(
            f"{where} was written by a newer workbook (version {version} of the records, "
            f"this one knows {SCHEMA_VERSION}); update the workbook"
        )


def _flat(entry: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in entry.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat
