"""Where things lie: everything generated goes under one folder, which git ignores."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def build(*parts: str) -> Path:
    """A path under build/ (or under the folder that WORKBOOK_BUILD names), its parent folder made."""
    path = Path(os.environ.get("WORKBOOK_BUILD", ROOT / "build")).joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def folder(*parts: str) -> Path:
    """A folder under build/, made where it is missing."""
    path = build(*parts)
    path.mkdir(exist_ok=True)
    return path


def show(path: Path | str) -> str:
    """`path` as it is printed: relative to the workbook's root where it lies inside, else its name alone."""
    path = Path(path).resolve()
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
