"""Who is who: the course list, which turns the numbers and names that an LMS writes into the ids that students know."""

import csv
import re
from pathlib import Path

# the columns of our own lists, and of Moodle's grading worksheet and Canvas's gradebook as they are exported
STUDENT, NUMBER, NAME = ("student_id", "ID number", "SIS User ID"), ("lms_id", "Identifier", "ID"), ("name", "Full name", "Student")


class Roster:
    """The students of a CSV file; with no file, everybody is who the LMS says."""

    def __init__(self, path: Path | None = None):
        self._by_number: dict[str, str] = {}
        self._by_name: dict[str, set[str]] = {}
        self._is_empty = path is None
        if path is None:
            return
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        columns = [next((c for c in names if rows and c in rows[0]), None) for names in (STUDENT, NUMBER, NAME)]
        if columns[0] is None or columns[1:] == [None, None]:
            raise ValueError(f"{path.name} needs a column {STUDENT[0]}, and {NUMBER[0]} or {NAME[0]} or both, in its first line")
        for row in rows:
            student, number, name = ((row[column] or "").strip() if column else "" for column in columns)
            if not re.fullmatch(r"[\w.@+-]{1,60}", student):
                continue  # a test student or a line of maximum points
            if digits := re.search(r"\d+", number):  # "Participant 1843321"
                self._by_number[digits[0]] = student
            self._by_name.setdefault(_words(name), set()).add(student)

    def student(self, number: str, name: str) -> tuple[str, str]:
        """The student's id, and a note where the list does not say: then it is the LMS's number."""
        if self._is_empty:
            return number, ""
        named = self._by_name.get(_words(name), set())
        if number in self._by_number or len(named) == 1:
            return self._by_number.get(number) or next(iter(named)), ""
        return number, f"{name[:80]} is not in the list of students, or not alone: graded under the number {number}"


def _words(name: str) -> str:
    """The same for "Ada Lovelace", "Lovelace, Ada" and Canvas's "lovelaceada"."""
    return "".join(sorted(re.sub(r"[\W_]", "", name.casefold())))
