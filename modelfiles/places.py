"""Where the workbook is, and how messages name its files."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def show(path: Path | str) -> str:
    """`path` for a message: relative to the workbook's root, or outside of it only its name."""
    path = Path(path).resolve()
    if path.is_relative_to(ROOT):
        return path.relative_to(ROOT).as_posix()
    return path.name
