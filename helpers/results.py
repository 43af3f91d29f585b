"""Store and read records of measurements: one JSON object per line.

Records are only appended, each by a single write. A crash, a power failure or a second writer
damages at most the line that is being written, and `read_results` skips such a line.
"""

import contextlib
import errno
import glob
import json
import os
import warnings
from pathlib import Path

from helpers.paths import display_path
from helpers.ranking import each_run_once, keep_throttled, rank, summary
from helpers.recording import SESSION_ID, model_facts, record, to_json
from helpers.records import SCHEMA_VERSION

__all__ = [
    "SCHEMA_VERSION",
    "SESSION_ID",
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
except ImportError:  # Windows: only O_APPEND keeps two writers apart
    fcntl = None  # type: ignore[assignment]


def append_result(path: Path | str, record: dict) -> None:
    """Append `record` to the file at `path` as one line, and wait until it is on the disk.

    The record may contain numpy numbers and arrays. ValueError for NaN and infinity, TypeError for
    other values that JSON cannot store; then nothing is written. OSError if the line cannot be
    written completely.
    """
    line = json.dumps(to_json(record), allow_nan=False, separators=(",", ":")).encode() + b"\n"
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
                # an interrupted writer left an incomplete line: this record starts a new one
                line = b"\n" + line
        written = os.write(descriptor, line)
        if written < len(line):
            raise OSError(errno.ENOSPC, f"only {written} of {len(line)} bytes were taken")
        _wait_for_disk(descriptor)
    except OSError as error:
        message = (
            f"the record was not saved in {display_path(path)}: "
            f"is the disk full? ({error.strerror})"
        )
        raise OSError(error.errno, message) from error
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Lock out other writers until the descriptor is closed or the process ends."""
    if fcntl:
        # some network and user-space file systems have no locks: only O_APPEND helps there
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)


def _wait_for_disk(descriptor: int) -> None:
    # some file systems do not support fsync; this is not an error
    not_supported = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in not_supported:
            raise


def read_results(path: Path | str):
    """Read the records of a file, a folder (its *.jsonl) or a pattern ("build/results/*.jsonl").

    Returns a DataFrame with one row per record. Files are read in the order of their names. A field
    of a part has a column such as "latency_ns.p50"; lists (samples_ns) stay lists.

    If a run is stored more than once, the first record is kept, and `attrs["repeated_records"]` is
    the number of the others. Incomplete lines are skipped with a warning, and
    `attrs["skipped_lines"]` is their number. FileNotFoundError if there is no file. ValueError for
    records of a newer workbook, and for files without records.
    """
    import pandas

    path = Path(path)
    files = _files(path)
    if not files:
        raise FileNotFoundError(
            f"there are no results in {display_path(path)}; the notebooks that measure write them"
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
            _check_version(entry, f"{display_path(file)} line {number}")
            rows.append(entry)
    if skipped:
        warnings.warn(
            f"skipped {len(skipped)} unfinished line(s): {', '.join(skipped[:3])}", stacklevel=2
        )
    frame = each_run_once(pandas.json_normalize(rows))
    frame.attrs |= {"skipped_lines": len(skipped), "repeated_records": len(rows) - len(frame)}
    return frame


def _files(path: Path) -> list[Path]:
    """The files that `path` names. Names of files and folders may contain brackets."""
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
