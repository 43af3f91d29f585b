"""From the zips that Moodle and Canvas give an instructor to submitted/<student>/<lab>/.

The zips come from strangers: paths that climb, links, encrypted members and zip bombs are refused and noted under
the student they belong to, and the others are collected all the same.
"""

import io
import json
import lzma
import os
import re
import shutil
import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from labs.grading.course import Course
from labs.grading.jail import Limits
from labs.grading.roster import Roster

MOODLE = re.compile(r"(?P<name>.+?)_(?P<id>[0-9]{1,20})_assignsubmission_file_?(?P<file>.*)")
CANVAS = re.compile(r"(?P<name>[^_]+)_(?:LATE_)?(?P<id>[0-9]{1,20})_[0-9]+_(?P<file>.+)")
MAX_MEMBERS, MAX_NAME = 2000, 200  # bytes of a name: most file systems take 255
IGNORED = re.compile(r"(^|/)(__MACOSX|\.[^/]*|__pycache__|Thumbs\.db)(/|$)")
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, ValueError, OSError, MemoryError)


class BadZip(Exception):
    """A zip, or a member of it, that is not unpacked; the text says why."""


def collect(course: Course, lab: str, downloads: list[Path], roster: Roster = Roster(), limits: Limits = Limits()) -> dict[str, dict]:
    """Unpack `downloads`, bulk zips, zips of single students or folders of them; {student: name, notes, problem}.

    A file handed in twice is taken from the later one. What was collected before and is not in `downloads` stays.
    ValueError where a download is of nobody: neither Moodle's nor Canvas's naming, and not a zip of such files.
    """
    course.source(lab)
    if missing := [str(path) for path in downloads if not path.exists()]:
        raise FileNotFoundError(f"there is no {', '.join(missing)}")
    files = [file for path in downloads for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    found: dict[str, dict] = {}
    strangers = []
    for file in files:
        if owner := _owner(file.name):
            _take(course, lab, found, roster, owner, file.read_bytes(), limits)
        elif zipfile.is_zipfile(file):
            if not _bulk(course, lab, found, roster, file, limits):
                strangers.append(file.name)
        else:
            strangers.append(file.name)
    report = course.root / "collected" / f"{lab}.json"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps(course.collected(lab) | found, ensure_ascii=False, indent=1), encoding="utf-8")
    if strangers:
        raise ValueError(f"collected {len(found)} hand-ins; these files name no student as Moodle or Canvas do: "
                         f"{', '.join(strangers[:5])}")
    return found


def _owner(name: str) -> tuple[str, str, str] | None:
    """Number, name and file name in a name that Moodle or Canvas gave. They write the first id, the student what follows."""
    name = name.encode("utf-8", "replace").decode()
    matches = [match for pattern in (MOODLE, CANVAS) if (match := pattern.fullmatch(name))]
    if not matches:
        return None
    match = min(matches, key=lambda m: m.start("id"))
    return match["id"], match["name"].strip(), match["file"]


def _bulk(course: Course, lab: str, found: dict, roster: Roster, path: Path, limits: Limits) -> int:
    """Hand-ins of a whole class in one zip: a file or a folder for each student. How many members had an owner."""
    owned = 0
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            parts = PurePosixPath(member.filename).parts
            position, owner = next(((i, o) for i, part in enumerate(parts) if (o := _owner(part))), (0, None))
            if owner is None or member.is_dir():
                continue
            owned += 1
            number, name, file = owner
            owner = number, name, parts[-1] if position < len(parts) - 1 else file
            try:
                _take(course, lab, found, roster, owner, _read(archive, member, limits.disk_mb << 20), limits)
            except BadZip as error:
                _, entry = _entry(course, lab, found, roster, number, name)
                if entry:
                    entry["problem"] = str(error)
    return owned


def _entry(course: Course, lab: str, found: dict, roster: Roster, number: str, name: str) -> tuple[str, dict | None]:
    """The student's id and entry in `found`; None, and a note, where somebody of another name has it."""
    student, unknown = roster.student(number, name)
    if student not in found:  # the first file in this collection: an earlier hand-in is replaced
        earlier = course.collected(lab).get(student, {}).get("name", name)
        shutil.rmtree(course.submitted(lab, student), ignore_errors=True)
        note = f"two names for this id: the hand-in of {earlier[:80]} that was collected earlier is replaced"
        notes = [unknown] * bool(unknown) + [note] * (earlier != name)
        found[student] = {"name": name, "notes": notes, "problem": ""}
    entry = found[student]
    if entry["name"] == name:
        return student, entry
    note = f"two names for this id: what {name[:80]} handed in is left out, what {entry['name'][:80]} did is taken"
    entry["notes"] += [note] if note not in entry["notes"] else []
    return student, None


def _take(course: Course, lab: str, found: dict, roster: Roster, owner: tuple[str, str, str], content: bytes, limits: Limits) -> None:
    """Add one handed-in file, unpacked if it is a zip, to the folder of its `owner`: the LMS's number, name, file."""
    number, name, file = owner
    student, entry = _entry(course, lab, found, roster, number, name)
    folder = course.submitted(lab, student)
    if entry is None:
        return
    try:
        if file.lower().endswith(".zip"):
            files, notes = unpack(content, limits)
        elif re.search(r"\.(rar|7z|tar|gz|tgz|xz)$", file.lower()):
            raise BadZip(f"{file} is not a zip: ask for a zip")
        else:
            files, notes = {_plain_name(file): content}, []
    except BadZip as error:
        entry["problem"] = str(error)
        return
    entry["notes"] += notes
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for target, data in files.items():
            if (folder / target).exists() and (folder / target).read_bytes() != data:
                entry["notes"].append(f"{target} was handed in twice; the later one counts")
            (folder / target).write_bytes(data)
        entry["problem"] = ""
    except OSError as error:
        entry["problem"] = f"its files cannot be saved ({error.strerror})"


def unpack(content: bytes, limits: Limits = Limits()) -> tuple[dict[str, bytes], list[str]]:
    """{file name: bytes} of a student's zip, without its folders, and notes on what was left out. BadZip if unusable."""
    files, notes, room = {}, [], limits.disk_mb << 20
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            if len(members) > MAX_MEMBERS:
                raise BadZip(f"the zip has {len(members)} members; at most {MAX_MEMBERS} are unpacked")
            for member in sorted(members, key=lambda m: m.filename.count("/")):  # the outermost of equal names first
                path = member.filename.replace("\\", "/")
                if path.startswith("/") or ".." in path.split("/") or re.match(r"[A-Za-z]:", path):
                    notes.append(f"a path in the zip climbs out of it, left out: {path[:80]}")
                    continue
                if member.is_dir() or IGNORED.search(path):
                    continue
                if stat.S_ISLNK(member.external_attr >> 16):
                    notes.append(f"a link in the zip, left out: {path[:80]}")
                    continue
                name = _plain_name(path.rsplit("/", 1)[-1])
                if name in files:
                    notes.append(f"{path[:80]} has the name of another file, left out")
                    continue
                files[name] = _read(archive, member, room)
                room -= len(files[name])
    except DAMAGED as error:
        raise BadZip(f"the zip is damaged ({str(error)[:80]})") from error
    if not files:
        raise BadZip("; ".join(["the zip holds no files", *notes]))
    return files, notes


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, room: int) -> bytes:
    """The bytes of `member`, unpacked no further than `room`: what its header says of its size proves nothing."""
    data = bytearray()
    try:
        with archive.open(member) as file:
            while piece := file.read(1 << 20):
                data += piece
                if len(data) > room:
                    raise BadZip(f"{member.filename[:80]} unpacks to more than is allowed: a zip bomb?")
    except DAMAGED as error:
        raise BadZip(f"{member.filename[:80]} cannot be unpacked ({str(error)[:80]})") from error
    return bytes(data)


def _plain_name(name: str) -> str:
    """`name` without what no file system or page likes, and not too long; other letters than ASCII stay."""
    plain = re.sub(r"[\x00-\x1f<>:\"|?*/\\]", "_", name.encode("utf-8", "replace").decode()).strip(". ")
    stem, suffix = os.path.splitext(plain)
    if len(suffix.encode()) > 20:
        stem, suffix = plain, ""
    return stem.encode()[:MAX_NAME - len(suffix.encode())].decode(errors="ignore") + suffix or "unnamed"
