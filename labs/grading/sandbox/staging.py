"""A copy of a submission, as the jail shows it."""

import shutil
from pathlib import Path

from labs.grading.sandbox.errors import StudentError
from labs.grading.sandbox.limits import Limits


def stage(folder: Path, target: Path, limits: Limits) -> None:
    """Copy the files of a submission, and no links, to where the jail may show them.

    StudentError if they are too large.
    """
    target.chmod(0o755)
    room = limits.disk_mb << 20
    seen: set[int] = set()  # a file under two names counts once
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_file():
            continue
        inode = path.stat().st_ino
        if inode not in seen:
            room -= path.stat().st_size
        seen.add(inode)
        if room < 0:
            raise StudentError(f"the submitted files have more than {limits.disk_mb} MB")
        shutil.copyfile(path, target / path.name)
        (target / path.name).chmod(0o644)
