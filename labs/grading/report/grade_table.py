"""The points of every submission, as the gradebook has them, and grades.csv."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import nbformat

from labs.grading.course import Course


class Mark(NamedTuple):
    """Points of one question, None until a person has graded it.

    old: a mark that was given before the answer changed.
    """

    points: float | None
    old: float | None = None


def questions(course: Course, lab: str) -> dict[str, dict]:
    """{grade_id: {"max": points, "written": bool}} in the notebook's order."""
    cells = nbformat.read(course.release(lab), 4).cells
    marked = [
        cell.metadata.nbgrader for cell in cells if cell.metadata.get("nbgrader", {}).get("grade")
    ]
    return {m.grade_id: {"max": float(m.points), "written": bool(m.solution)} for m in marked}


def rows(course: Course, lab: str) -> list[dict]:
    """One row for each submission: its status, and its points.

    Unknown points are None, never 0.
    """
    asked = questions(course, lab)
    marks = marks_of(course, lab)
    results = {result.student: result for result in course.results(lab)}
    largest = sum(q["max"] for q in asked.values())
    table = []
    for student in course.students(lab):
        collected = course.collected(lab).get(student, {})
        result = results.get(student)
        row = {
            "student": student,
            "name": collected.get("name", ""),
            "lab": lab,
            "points": None,
            "max_points": largest,
            "automatic": None,
            "written": None,
            "marks": {},
            "flags": [],
            "notes": [],
        }
        if result is not None:
            row["notes"] = result.notes
        if result is None or (not result.problem and student not in marks):
            row["status"] = "not graded yet"
        elif result.problem:
            row |= {"status": "could not be graded", "flags": [result.problem, *result.flags]}
        else:
            own = marks[student]
            points = {name: mark.points for name, mark in own.items()}
            row["automatic"] = _sum(points[name] for name, q in asked.items() if not q["written"])
            row["written"] = _sum(points[name] for name, q in asked.items() if q["written"])
            row["points"] = _sum(points.values())
            old = [
                f"{name} has changed since it was marked: the {mark.old:g} points do not count "
                "until you mark it again"
                for name, mark in own.items()
                if mark.old is not None
            ]
            row |= {"status": _status(own), "marks": points, "flags": [*old, *result.flags]}
        table.append(row)
    return table


def _sum(points: Iterable[float | None]) -> float | None:
    points = list(points)
    if None in points:
        return None
    return sum(points)


def _status(marks: dict[str, Mark]) -> str:
    if any(mark.old is not None for mark in marks.values()):
        return "changed since marking"
    if any(mark.points is None for mark in marks.values()):
        return "written part open"
    return "graded"


def marks_of(course: Course, lab: str) -> dict[str, dict[str, Mark]]:
    """{student: {grade_id: Mark}} as the gradebook has them."""
    from nbgrader.api import Gradebook

    with Gradebook(course.database) as book:
        return {
            submission.student.id: {
                grade.name: _mark(grade)
                for notebook in submission.notebooks
                for grade in notebook.grades
            }
            for submission in book.assignment_submissions(lab)
        }


def _mark(grade) -> Mark:
    if grade.needs_manual_grade:
        return Mark(None, grade.manual_score)
    return Mark(grade.score)


def export(course: Course, labs: list[str]) -> Path:
    """Write grades.csv, one row per student and lab; empty points are unknown, not 0."""
    columns = [
        "student",
        "name",
        "lab",
        "status",
        "points",
        "max_points",
        "automatic",
        "written",
        "look",
    ]
    path = course.root / "grades.csv"
    # utf-8-sig: with its mark, spreadsheets read letters beyond ASCII
    with open(path, "w", newline="", encoding="utf-8-sig") as file:
        table = csv.writer(file)
        table.writerow(columns)
        for lab in labs:
            for row in rows(course, lab):
                # the column keeps its name: spreadsheets and scripts of instructors use it
                row["look"] = "; ".join(row["flags"])
                table.writerow([_plain(row[column]) for column in columns])
    return path


def _plain(value):
    """Put an apostrophe before text that a spreadsheet would run as a formula."""
    if value is None:
        return ""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t")):
        return "'" + value
    return value
