"""Where files are stored: everything generated goes under one folder, which git ignores."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def build(*parts: str) -> Path:
    """A path under build/, or under the folder in WORKBOOK_BUILD; creates its parent folder."""
    path = Path(os.environ.get("WORKBOOK_BUILD", ROOT / "build")).joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def folder(*parts: str) -> Path:
    """A folder under build/, created if it is missing."""
    path = build(*parts)
    path.mkdir(exist_ok=True)
    return path


def show(path: Path | str) -> str:
    """`path` for a message: relative to the workbook's root, or outside of it only its name."""
    path = Path(path).resolve()
    if path.is_relative_to(ROOT):
        return path.relative_to(ROOT).as_posix()
    return path.name
