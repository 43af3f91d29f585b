"""The zip for participants: the workbook and the released labs.

Solutions, hidden checks and the grader are not in it.
"""

import zipfile
from pathlib import Path

from helpers.paths import PACKAGES, ROOT
from labs.grading.course import Course
from labs.grading.report import gradebook

NAMES = (
    "README.md",
    "LICENSE",
    "Makefile",
    "pyproject.toml",
    "environment.yml",
    "requirements.in",
    "requirements.txt",
    "requirements-pi.txt",
    "requirements-pi-torch.txt",
)
FOLDERS = ("notebooks", *PACKAGES, "workbook", "cpp")
EXCLUDED = {"__pycache__", ".ipynb_checkpoints", "build"}
PREFIX = "pi-workbook"


def handout(course: Course, target: Path) -> Path:
    """Release all labs again and write the zip to `target`; its path."""
    for lab in course.labs:
        gradebook.release(course, lab)
    files = [ROOT / name for name in NAMES if (ROOT / name).is_file()]
    for folder in FOLDERS:
        files += [path for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
    members = {path.relative_to(ROOT).as_posix(): path for path in files}
    for lab in course.labs:  # only current labs, not the release of a removed one
        released = course.release(lab).parent
        members |= {
            f"labs/release/{path.relative_to(released.parent).as_posix()}": path
            for path in released.rglob("*")
            if path.is_file()
        }
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in members.items():
            if not EXCLUDED & set(path.parts[len(ROOT.parts) :]) and path.suffix != ".pyc":
                archive.write(path, f"{PREFIX}/{name}")
    return target
