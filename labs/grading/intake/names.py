"""The rules for file names in downloads, in students' zips and in folders of submissions."""

import os
import re
import unicodedata
import zipfile
from pathlib import PurePosixPath
from typing import NamedTuple

MAX_NAME = 200  # bytes; most file systems allow 255
_MOODLE = re.compile(
    r"(?P<name>.+?)_(?P<number>[0-9]{1,20})_assignsubmission_[a-z]+_?(?P<file>.*)", re.DOTALL
)
_CANVAS = re.compile(
    r"(?P<name>[^_]+)_(?:LATE_)?(?P<number>[0-9]{1,20})_[0-9]+_(?P<file>.+)", re.DOTALL
)
_CLUTTER = {"__macosx", "__pycache__", "thumbs.db", "desktop.ini", "icon\r", "$recycle.bin"}
_COPY = re.compile(r"([ _-]*(\(\d+\)|[-_ ]\d{1,2}|copy\d*|kopie|copia))+$", re.IGNORECASE)
_NOTEBOOK = re.compile(r"\.ipynb(\.(txt|json))?$", re.IGNORECASE)


class Owner(NamedTuple):
    """Who submitted a file, as the LMS writes it into names, and the student's own file name."""

    number: str
    name: str
    file: str


def parts(path: str) -> tuple[str, ...]:
    """The folders and the name in `path`, accents composed (macOS writes them decomposed)."""
    path = path.encode("utf-8", "replace").decode().replace("\\", "/")
    return PurePosixPath(unicodedata.normalize("NFC", path)).parts


def is_clutter(path: str) -> bool:
    """Whether an operating system or an editor left this file: __MACOSX, ._name, Thumbs.db."""
    return any(part.lower() in _CLUTTER or re.match(r"\.(?!\.)|~\$", part) for part in parts(path))


def climbs(path: str) -> bool:
    """Whether `path` leads out of the folder it is unpacked into."""
    return ".." in parts(path) or path.startswith(("/", "\\")) or bool(re.match("[A-Za-z]:", path))


def owner(part: str) -> Owner | None:
    """The student in a name written by Moodle or Canvas; None for other names.

    The LMS writes the first id, the student what follows it.
    """
    matches = [match for pattern in (_MOODLE, _CANVAS) if (match := pattern.fullmatch(part))]
    if not matches:
        return None
    match = min(matches, key=lambda m: m.start("number"))
    return Owner(match["number"], match["name"].strip(), match["file"])


def in_zip(member: zipfile.ZipInfo) -> str:
    """The name of a zip's member. macOS writes UTF-8 without saying so."""
    if member.flag_bits & 0x800:
        return member.filename
    try:
        return member.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return member.filename


def plain(name: str) -> str:
    """`name` without characters that file systems or pages cannot take, and not too long."""
    name = unicodedata.normalize("NFC", name.encode("utf-8", "replace").decode())
    name = re.sub(r"[\x00-\x1f<>:\"|?*/\\]", "_", name).strip(". ")
    stem, suffix = os.path.splitext(name)
    if len(suffix.encode()) > 20:
        stem = name
        suffix = ""
    room = MAX_NAME - len(suffix.encode())
    return stem.encode()[:room].decode(errors="ignore") + suffix or "unnamed"


def is_notebook(name: str) -> bool:
    """Whether `name` is a notebook's, also where a browser has added .txt or .json."""
    return bool(_NOTEBOOK.search(name))


def without_copy(name: str) -> str:
    """ "lab (1).ipynb.txt" -> "lab.ipynb", "run-Copy1.json" -> "run.json"."""
    if is_notebook(name):
        return _COPY.sub("", _NOTEBOOK.sub("", name)) + ".ipynb"
    stem, suffix = os.path.splitext(name)
    return _COPY.sub("", stem) + suffix.lower()
