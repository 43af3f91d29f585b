"""The course list, which gives the student's id for a number or a name of the LMS."""

import codecs
import csv
import io
import re
import unicodedata
from pathlib import Path

from labs.grading.errors import CourseError, NotFound

# our own lists; Moodle's grading worksheet and list of participants; Canvas's gradebook
STUDENT = ("student_id", "id number", "sis user id")
NUMBER = ("lms_id", "identifier", "id")
NAME = ("name", "full name", "student")
FIRST = ("first name",)
LAST = ("last name", "surname")
DELIMITERS = ";,\t|"


class Roster:
    """The students of a CSV file; without a file, the LMS's numbers are the ids."""

    def __init__(self, path: Path | None = None):
        self._by_number: dict[str, str] = {}
        self._by_name: dict[str, set[str]] = {}
        self._is_empty = path is None
        if path is None:
            return
        header, rows = _table(path)
        columns = {
            "student": _position(header, STUDENT),
            "number": _position(header, NUMBER),
            "name": _position(header, NAME),
            "first": _position(header, FIRST),
            "last": _position(header, LAST),
        }
        named = any(columns[what] is not None for what in ("number", "name", "first"))
        if columns["student"] is None or not named:
            raise CourseError(
                f"{path.name} needs a column student_id, and lms_id or name or both, in its "
                "first line; save it as CSV, with commas, semicolons or tabs"
            )
        for row in rows:
            self._add(path, {what: _cell(row, column) for what, column in columns.items()})

    def _add(self, path: Path, entry: dict[str, str]) -> None:
        student = _whole_number(entry["student"])
        if re.fullmatch(r"\d+[.,]\d+E\+\d+", student, re.IGNORECASE):
            raise CourseError(
                f"{path.name} has the id {student}, which a spreadsheet has rounded: format "
                "the column as text and enter the ids again"
            )
        if not re.fullmatch(r"[\w.@+-]{1,60}", student):
            return  # a test student or a line of maximum points
        number = re.search(r"\d+", _whole_number(entry["number"]))  # "Participant 1843321"
        if number and "E+" not in entry["number"].upper():
            self._by_number[_without_zeros(number[0])] = student
        name = entry["name"] or f"{entry['first']} {entry['last']}"
        self._by_name.setdefault(_words(name), set()).add(student)

    @property
    def ids(self) -> list[str]:
        """The ids of all students of the list."""
        return sorted({*self._by_number.values()}.union(*self._by_name.values()))

    def student(self, number: str, name: str) -> tuple[str, str]:
        """The student's id; the LMS's number and a sentence if the list does not have it."""
        if self._is_empty:
            return number, ""
        if student := self._by_number.get(_without_zeros(number)):
            return student, ""
        named = self._by_name.get(_words(name), set())
        if len(named) == 1:
            return next(iter(named)), ""
        return number, (
            f"{name[:80]} is not in the list of students, or shares the name: graded under "
            f"the number {number}"
        )


def same_name(one: str, other: str) -> bool:
    """Whether two names are of one person.

    "Ada Lovelace", "Lovelace, Ada" and Canvas's "lovelaceada" are.
    """
    return _words(one) == _words(other)


def same_id(one: str, other: str) -> bool:
    """Whether two ids differ only by what spreadsheets and keyboards change.

    That is zeros in front, capitals, and ".0" at the end.
    """
    return _id(one) == _id(other)


def _id(text: str) -> str:
    return _without_zeros(_whole_number(text).casefold())


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    """The columns' names in small letters, and the rows that are not empty."""
    text = _decoded(path)
    lines = text.lstrip("\r\n ").splitlines()
    first = lines[0] if lines else ""
    chosen = re.fullmatch(r'"?sep=(.)"?', first.strip(), re.IGNORECASE)  # Excel's
    if chosen:
        delimiter = chosen[1]
        text = "\n".join(lines[1:])
    else:
        delimiter = max(DELIMITERS, key=first.count)
    file = io.StringIO(text, newline="")
    rows = []
    for row in csv.reader(file, delimiter=delimiter, skipinitialspace=True):
        row = [_unquoted(cell) for cell in row]
        if any(row):
            rows.append(row)
    if not rows:
        return [], []
    header = [" ".join(name.casefold().split()) for name in rows[0]]
    return header, rows[1:]


def _position(header: list[str], names: tuple[str, ...]) -> int | None:
    """The column of the first of `names` that the header has."""
    for name in names:
        if name in header:
            return header.index(name)
    return None


def _decoded(path: Path) -> str:
    """The text of a list: UTF-8, UTF-16 as Excel's "Unicode text", or Windows-1252."""
    if not path.is_file():
        raise NotFound(f"there is no course list {path}")
    data = path.read_bytes()
    if data.startswith(b"PK"):
        raise CourseError(
            f"{path.name} is a workbook of a spreadsheet program: save it as CSV (UTF-8)"
        )
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    if b"\0" in data[:200]:
        encoding = "utf-16-le" if data[1:2] == b"\0" else "utf-16-be"
        return data.decode(encoding, errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _cell(row: list[str], column: int | None) -> str:
    if column is None or column >= len(row):
        return ""
    return row[column]


def _unquoted(cell: str) -> str:
    """A cell without what keeps a spreadsheet from computing: ="0012", '0012."""
    cell = cell.replace("\xa0", " ").strip()
    if formula := re.fullmatch(r'="(.*)"', cell):
        cell = formula[1]
    return cell.removeprefix("'").strip()


def _whole_number(text: str) -> str:
    """ "1001.0" -> "1001", which is what a spreadsheet or a data frame makes of ids."""
    text = text.strip()
    if re.fullmatch(r"\d+[.,]0+", text):
        return re.sub(r"[.,]0+$", "", text)
    return text


def _without_zeros(number: str) -> str:
    return number.lstrip("0") or number


def _words(name: str) -> str:
    """The same for "Ada Lovelace", "Lovelace, Ada" and Canvas's "lovelaceada"."""
    composed = unicodedata.normalize("NFKC", name).casefold()
    return "".join(sorted(re.sub(r"[\W_]", "", composed)))
