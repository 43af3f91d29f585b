"""From the downloads of Moodle and Canvas to submitted/<student>/<lab>/.

A download is a zip of a class, the same unpacked, or the files of single students, in folders of
any depth.
"""

import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO

from labs.grading.course import Course
from labs.grading.errors import CourseError, NotFound
from labs.grading.intake import archives, names
from labs.grading.intake.archives import BadZip, File
from labs.grading.intake.roster import Roster, same_name
from labs.grading.sandbox.limits import DEFAULT_LIMITS, Limits

MAX_DEPTH = 4  # of folders and zips above a student's name
_NO_ROSTER = Roster()  # the LMS's numbers are the students' ids


@dataclass(frozen=True)
class _Found:
    """A file of a download. Files of one student in one `place` are one submission."""

    place: str
    owner: names.Owner | None  # None: no student's name in its path
    path: str  # below the part with the student's name
    modified: datetime
    download: datetime
    opened: Callable[[], BinaryIO]


def collect(
    course: Course,
    lab: str,
    downloads: list[Path],
    roster: Roster = _NO_ROSTER,
    limits: Limits = DEFAULT_LIMITS,
) -> dict[str, dict]:
    """Unpack `downloads`; {student: name, notes, flags, problem}.

    Of two submissions of a student the one with the later date counts. What was collected before
    and is not in `downloads` stays. CourseError if a path has no student's name as Moodle and
    Canvas write it; all other files are collected.
    """
    course.source(lab)
    if missing := [str(path) for path in downloads if not path.exists()]:
        raise NotFound(f"there is no {', '.join(missing)}")
    with ExitStack() as open_zips:
        files = [file for path in downloads for file in _walk(path, open_zips, limits)]
        unnamed = [file.path for file in files if file.owner is None]
        found = {
            student: _collect_one(course, lab, student, own, roster, limits)
            for student, own in _by_student(files, roster).items()
        }
    report = course.root / "collected" / f"{lab}.json"
    report.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(course.collected(lab) | found, ensure_ascii=False, indent=1)
    report.write_text(text, encoding="utf-8")
    if unnamed:
        raise CourseError(
            f"collected {len(found)} submissions; these files have no student's name in their "
            f"path, as Moodle and Canvas write it: {', '.join(unnamed[:5])}"
        )
    return found


def _walk(path: Path, open_zips: ExitStack, limits: Limits) -> Iterator[_Found]:
    """The files in a download; a student's own zips stay as they are."""
    if not path.is_dir():
        date = archives.date_of(path)
        yield from _descend(path.name, partial(open, path, "rb"), date, date, open_zips, limits)
        return
    above = ""
    if names.owner(path.name):  # one student's folder
        above = f"{path.name}/"
    for inner in archives.listed(path):
        file = path / inner
        opened = partial(open, file, "rb")
        date = archives.date_of(file)
        yield from _descend(f"{above}{inner}", opened, date, date, open_zips, limits)


def _descend(
    path: str,
    opened: Callable[[], BinaryIO],
    modified: datetime,
    download: datetime,
    open_zips: ExitStack,
    limits: Limits,
    depth: int = MAX_DEPTH,
) -> Iterator[_Found]:
    """The file at `path` of a download, or the files in it if it is a zip of several students."""
    if names.is_clutter(path):
        return
    parts = names.parts(path)
    position = next((i for i, part in enumerate(parts) if names.owner(part)), None)
    if position is not None:
        owner = names.owner(parts[position])
        own = "/".join(parts[position + 1 :]) or owner.file
        yield _Found("/".join(parts[:position]), owner, own, modified, download, opened)
        return
    try:
        if Path(path).suffix.lower() not in (".zip", "") or not depth:
            raise zipfile.BadZipFile
        archive = open_zips.enter_context(zipfile.ZipFile(open_zips.enter_context(opened())))
    except archives.DAMAGED:
        yield _Found("", None, path, modified, download, opened)
        return
    for member in archive.infolist():
        if not member.is_dir():
            inner = partial(_opened, archive, member, limits.disk_mb << 20)
            yield from _descend(
                f"{path}/{names.in_zip(member)}",
                inner,
                archives.changed(member, modified),
                download,
                open_zips,
                limits,
                depth - 1,
            )


def _opened(archive: zipfile.ZipFile, member: zipfile.ZipInfo, room: int) -> BinaryIO:
    return io.BytesIO(archives.read(archive, member, room))


def _by_student(files: list[_Found], roster: Roster) -> dict[str, list[_Found]]:
    found: dict[str, list[_Found]] = {}
    for file in files:
        if file.owner is not None:
            student, _ = roster.student(file.owner.number, file.owner.name)
            found.setdefault(student, []).append(file)
    return found


def _collect_one(
    course: Course, lab: str, student: str, files: list[_Found], roster: Roster, limits: Limits
) -> dict:
    """Replace what was collected of `student` by the latest submission among `files`."""
    name = files[0].owner.name
    _, unknown = roster.student(files[0].owner.number, name)
    entry = {"name": name, "notes": [], "flags": [], "problem": ""}
    if unknown:
        entry["flags"].append(unknown)
    for other in dict.fromkeys(file.owner.name for file in files):
        if not same_name(other, name):
            entry["flags"].append(
                f"two names for this id: the files of {other[:80]} are skipped, "
                f"those of {name[:80]} are graded"
            )
    earlier = course.collected(lab).get(student, {}).get("name", name)
    if not same_name(earlier, name):
        entry["flags"].append(
            f"two names for this id: the submission of {earlier[:80]} that was "
            "collected earlier is replaced"
        )
    latest = _latest([file for file in files if same_name(file.owner.name, name)], entry)
    unread: list[str] = []
    flat = archives.flat(_read(latest, unread), limits)
    entry["notes"] += flat.notes
    if flat.content:
        entry["flags"] += unread + flat.flags
    else:
        entry["problem"] = "; ".join(unread) or flat.problem
    try:
        _save(course.submitted(lab, student), flat.content)
    except OSError as error:
        entry["problem"] = f"its files cannot be saved ({error.strerror})"
    return entry


def _latest(files: list[_Found], entry: dict) -> list[_Found]:
    """The files of the latest submission; replaced ones are noted."""
    places: dict[str, list[_Found]] = {}
    for file in files:
        places.setdefault(file.place, []).append(file)
    *earlier, latest = sorted(
        places.values(), key=lambda own: max((f.modified, f.download) for f in own)
    )
    for old in earlier:
        entry["notes"].append(
            f"submitted twice; the files in {latest[0].place or 'the folder'} are later"
        )
        if gone := sorted({file.path for file in old} - {file.path for file in latest}):
            entry["flags"].append(
                f"an earlier submission had files that are not in the later one: "
                f"{', '.join(gone[:5])}"
            )
    return latest


def _read(files: list[_Found], unread: list[str]) -> list[File]:
    found = []
    for file in files:
        try:
            with file.opened() as stream:
                found.append(File(file.path, file.modified, stream.read()))
        except BadZip as error:
            unread.append(str(error))
        except OSError as error:
            unread.append(f"{file.path[:80]} cannot be read ({error.strerror})")
    return found


def _save(folder: Path, content: dict[str, bytes]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in content.items():
        (folder / name).write_bytes(data)
