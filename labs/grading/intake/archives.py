"""Students' files out of zips and folders, in one flat folder.

Zips are not trusted: paths that leave the folder, links, encrypted members and zip bombs are not
unpacked.
"""

import io
import lzma
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from labs.grading.intake import names
from labs.grading.sandbox.limits import DEFAULT_LIMITS, Limits
from modelfiles.errors import WorkbookError

MAX_MEMBERS = 2000
MAX_DEPTH = 3  # of zips in zips
_OTHER_ARCHIVES = re.compile(r"\.(rar|7z|tar|gz|tgz|xz)$", re.IGNORECASE)
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    RuntimeError,
    ValueError,
    OSError,
    MemoryError,
)


class BadZip(WorkbookError):
    """A zip, or a member of it, that is not unpacked; the text says why."""


@dataclass(frozen=True)
class File:
    """A file of a submission: its path in it, when it was last changed, and its bytes."""

    path: str
    modified: datetime
    content: bytes


@dataclass
class Files:
    """A submission in one flat folder.

    flags: what a person has to review. problem: why the folder is empty.
    """

    content: dict[str, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    problem: str = ""


def flat(files: Iterable[File], limits: Limits = DEFAULT_LIMITS) -> Files:
    """All `files`, zips unpacked. Of two files with one name both are kept.

    A data file keeps the name if it was changed later, a notebook if it is higher up.
    """
    found = Files()
    taken: dict[str, File] = {}
    problems = []
    unpacked = []
    for file in files:
        try:
            unpacked += _unpacked(file, found, limits, MAX_DEPTH)
        except BadZip as error:
            problems.append(str(error))
    for file in sorted(unpacked, key=lambda file: file.path.count("/")):
        name = names.plain(names.parts(file.path)[-1])
        if name not in taken:
            taken[name] = file
        elif taken[name].content != file.content:
            _keep_both(taken, name, file, found)
    found.content = {name: file.content for name, file in taken.items()}
    if not found.content:
        reasons = problems or ["there are no files in the submission", *found.flags]
        found.problem = "; ".join(reasons)
    else:
        found.flags += problems
    return found


def _keep_both(taken: dict[str, File], name: str, file: File, found: Files) -> None:
    loser = file
    if not names.is_notebook(name) and file.modified > taken[name].modified:
        loser = taken[name]
        taken[name] = file
    other = names.plain("_".join(names.parts(loser.path)))
    stem, suffix = os.path.splitext(other)
    number = 1
    while other in taken:
        number += 1
        other = f"{stem}_{number}{suffix}"
    taken[other] = loser
    text = f"two files are called {name}: {loser.path[:80]} is kept as {other}"
    if names.is_notebook(name):
        found.notes.append(text)
    else:
        found.flags.append(text)


def _unpacked(file: File, found: Files, limits: Limits, depth: int) -> list[File]:
    """`file`, or the files in it if it is a zip. BadZip if it cannot be unpacked."""
    name = names.parts(file.path)[-1]
    if depth == MAX_DEPTH and _OTHER_ARCHIVES.search(name):
        raise BadZip(f"{name} is not a zip: ask for a zip")
    if not name.lower().endswith(".zip"):
        return [file]
    if not depth:
        raise BadZip(f"{name}: a zip in a zip in a zip is not unpacked")
    files = []
    room = limits.disk_mb << 20
    folder = file.path[: -len(name)]  # files in a zip count as being where the zip is
    try:
        with zipfile.ZipFile(io.BytesIO(file.content)) as archive:
            members = archive.infolist()
            if len(members) > MAX_MEMBERS:
                raise BadZip(
                    f"the zip has {len(members)} members; at most {MAX_MEMBERS} are unpacked"
                )
            for member in members:
                path = names.in_zip(member)
                if names.climbs(path):
                    found.flags.append(
                        f"skipped a path in the zip that climbs out of it: {path[:80]}"
                    )
                elif stat.S_ISLNK(member.external_attr >> 16):
                    found.flags.append(f"skipped a link in the zip: {path[:80]}")
                elif not member.is_dir() and not names.is_clutter(path):
                    content = read(archive, member, room)
                    room -= len(content)
                    inner_path = folder + path.replace("\\", "/")
                    inner = File(inner_path, changed(member, file.modified), content)
                    files += _inner(inner, found, replace(limits, disk_mb=room >> 20), depth - 1)
    except DAMAGED as error:
        raise BadZip(f"the zip is damaged ({str(error)[:80]})") from error
    if not files:
        raise BadZip("; ".join(["the zip contains no files", *found.flags]))
    return files


def _inner(file: File, found: Files, limits: Limits, depth: int) -> list[File]:
    """As `_unpacked`, but a file that cannot be unpacked is flagged, and the others are kept."""
    try:
        return _unpacked(file, found, limits, depth)
    except BadZip as error:
        found.flags.append(str(error))
        return []


def changed(member: zipfile.ZipInfo, otherwise: datetime) -> datetime:
    """When `member` was last changed; `otherwise` if that is unknown, which zips write as 1980."""
    try:
        date = datetime(*member.date_time)
    except ValueError:
        return otherwise
    if date < datetime(1980, 1, 2):
        return otherwise
    return date


def read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, room: int) -> bytes:
    """The bytes of `member`, at most `room` of them: the size in its header may be wrong."""
    data = bytearray()
    name = names.in_zip(member)[:80]
    try:
        with archive.open(member) as file:
            while piece := file.read(1 << 20):
                data += piece
                if len(data) > room:
                    raise BadZip(f"{name} unpacks to more than is allowed: a zip bomb?")
    except DAMAGED as error:
        raise BadZip(f"{name} cannot be unpacked ({str(error)[:80]})") from error
    return bytes(data)


def in_folder(folder: Path, limits: Limits = DEFAULT_LIMITS) -> list[File]:
    """The files in `folder` and its folders, without links and clutter.

    BadZip if they are too large.
    """
    paths = listed(folder)
    if sum((folder / path).stat().st_size for path in paths) > limits.disk_mb << 20:
        raise BadZip(f"the submitted files have more than {limits.disk_mb} MB")
    return [File(path, date_of(folder / path), (folder / path).read_bytes()) for path in paths]


def listed(folder: Path) -> list[str]:
    """The paths of the files in `folder` and its folders, without links and clutter."""
    found = []
    for above, folders, files in os.walk(folder):
        folders.sort()
        paths = [Path(above, name) for name in sorted(files)]
        found += [path.relative_to(folder).as_posix() for path in paths if not path.is_symlink()]
    return [path for path in found if not names.is_clutter(path)]


def date_of(path: Path) -> datetime:
    """When the file was last changed, in local time as zips have it."""
    return datetime.fromtimestamp(path.stat().st_mtime)
