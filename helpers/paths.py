"""Where files are stored: all generated files are in one folder, which git ignores."""

import os
from pathlib import Path

from modelfiles.places import ROOT, display_path, locked, whole_file

__all__ = ["PACKAGES", "ROOT", "build_dir", "build_path", "display_path", "locked", "whole_file"]

# the packages that notebooks import: they are copied to a Pi, and available to submissions
PACKAGES = ("helpers", "modelfiles")


def build_path(*parts: str) -> Path:
    """A path under build/, or under the folder in WORKBOOK_BUILD. Creates its parent folder."""
    path = Path(os.environ.get("WORKBOOK_BUILD", ROOT / "build")).joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def build_dir(*parts: str) -> Path:
    """A folder under build/, created if it is missing."""
    path = build_path(*parts)
    path.mkdir(exist_ok=True)
    return path
