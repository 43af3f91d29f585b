"""The workbook's folder, file names in messages, and atomic writes."""

import contextlib
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def display_path(path: Path | str) -> str:
    """`path` for a message: relative to the workbook's folder; outside of it, only the name."""
    path = Path(path).resolve()
    if path.is_relative_to(ROOT):
        return path.relative_to(ROOT).as_posix()
    return path.name


def locked(path: Path) -> AbstractContextManager:
    """A lock for what is made at `path`: of two programs that make it, the second one waits."""
    from filelock import FileLock

    return FileLock(f"{path}.lock")


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file to write: it is renamed to `path` when the block succeeds, and deleted otherwise.

    So a reader finds the whole file or none, even after a crash or a power cut.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
