"""Read the small files of /proc and /sys."""

import re
from pathlib import Path


def read(path: Path) -> str | None:
    """A file of /proc or /sys without its final newline or NUL; None if empty or unreadable."""
    try:
        return path.read_text(errors="replace").strip("\0\n ") or None
    except OSError:
        return None


def number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"-?\d+", text) else None
