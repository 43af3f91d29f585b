"""nbgrader's gradebook: created by `release`, written by one process only, from saved results."""

import csv
import json
import os
import re
import shutil
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import nbformat

from helpers.student_ids import check_word
from labs.grading.course import LABS, Course, Result, write_whole
from labs.grading.pictures import shown


def release(course: Course, lab: str) -> Path:
    """Make the students' notebook of a lab, without solutions; its path.

    The questions of the lab are entered into the gradebook.
    """
    source = course.source(lab)
    stale = course.release(lab).parent
    shutil.rmtree(stale, ignore_errors=True)
    _succeed(_nbgrader(course).generate_assignment(lab), f"the release of {lab}")
    if leaked := [p.name for p in stale.iterdir() if p.name in ("hidden.py", "rubric.md")]:
        raise RuntimeError(
            f"the release of {source.name} holds {', '.join(leaked)}: see CourseDirectory.ignore"
        )
    return course.release(lab)


def _nbgrader(course: Course):
    """nbgrader's Python interface with the settings in labs/nbgrader_config.py."""
    from nbgrader.apps.api import NbGraderAPI
    from nbgrader.coursedir import CourseDirectory
    from traitlets.config import PyFileConfigLoader

    binaries = str(Path(sys.executable).parent)  # it calls alembic by its name
    if binaries not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = binaries + os.pathsep + os.environ["PATH"]
    config = PyFileConfigLoader("nbgrader_config.py", path=str(LABS)).load_config()
    config.CourseDirectory.root = str(course.plain_root)
    config.CourseDirectory.db_url = course.database
    return NbGraderAPI(CourseDirectory(config=config), config=config)


def _succeed(outcome: dict, what: str) -> None:
    if not outcome["success"]:
        text = outcome.get("error") or outcome.get("log") or "no reason given"
        reason = text.strip().splitlines()[-1]
        raise RuntimeError(f"nbgrader could not make {what}: {reason}")


def write(course: Course, lab: str, results: list[Result]) -> None:
    """Enter the automatic points, and save the executed notebooks for nbgrader's formgrader.

    A person's mark stays; it is open again if the answer that it was given for has changed. A
    submission that could not be graded gets no entry: nbgrader would show it as 0.
    """
    from nbgrader.api import Gradebook

    released = {cell.source for cell in nbformat.read(course.release(lab), 4).cells}
    with Gradebook(course.database) as book, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SQLAlchemy's on what nbgrader does
        for result in results:
            if result.problem:
                _remove_empty(book, lab, result.student)
                continue
            known = {}
            if name := course.collected(lab).get(result.student, {}).get("name"):
                known["last_name"] = name
            book.update_or_create_student(result.student, **known)
            submission = book.update_or_create_submission(lab, result.student)
            earlier = _marked_texts(course, lab, result.student)
            for grade in submission.notebooks[0].grades:
                _enter(grade, result, earlier)
            book.db.commit()
            write_whole(course.marked(lab, result.student), json.dumps(result.texts))
            write_whole(course.autograded(lab, result.student), _with_verdicts(result, released))


def _enter(grade, result: Result, earlier: dict[str, str]) -> None:
    """Enter one question's automatic points, and whether a person has to grade it.

    earlier: the digests of the answers that the person's marks were given for.
    """
    has_mark = grade.manual_score is not None
    changed = grade.name in earlier and earlier[grade.name] != result.texts.get(grade.name)
    needs_grade = has_mark and (changed or grade.needs_manual_grade)
    if verdict := result.questions.get(grade.name):
        points = verdict["points"]
    elif grade.name in result.untouched:
        points = 0.0
    else:
        points = None
        needs_grade = needs_grade or not has_mark
    grade.auto_score = points
    grade.needs_manual_grade = needs_grade


def _remove_empty(book, lab: str, student: str) -> None:
    """Remove an entry without any points; nbgrader's autograde creates one before it grades."""
    from nbgrader.api import MissingEntry

    try:
        notebooks = book.find_submission(lab, student).notebooks
    except MissingEntry:
        return
    grades = [grade for notebook in notebooks for grade in notebook.grades]
    if all(grade.auto_score is None and grade.manual_score is None for grade in grades):
        book.remove_submission(lab, student)


def _marked_texts(course: Course, lab: str, student: str) -> dict[str, str]:
    """{grade_id: digest} of the answers as the formgrader shows them until now."""
    path = course.marked(lab, student)
    if not path.is_file():
        return {}
    return json.loads(path.read_text(encoding="utf-8"))


def _with_verdicts(result: Result, released: set[str]) -> str:
    """The executed notebook; each question's cell shows the verdict of the checks as its output.

    Outputs of the student's kernel are dropped there. Text that is not as in `released` is made
    harmless.
    """
    book = nbformat.reads(result.notebook, 4)
    for cell in book.cells:
        verdict = result.questions.get(cell.metadata.get("nbgrader", {}).get("grade_id"))
        if verdict and cell.cell_type == "code":
            points = f"{verdict['points']:g} of {verdict['max_points']:g} points."
            text = f"{points} {verdict['message']}".strip()
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]
            cell.execution_count = None
        if cell.cell_type != "code":
            cell.source = shown(cell, cell.source in released)
            cell.pop("attachments", None)
    if result.other_id is not None:
        book.cells.insert(0, nbformat.v4.new_markdown_cell(_id_warning(result)))
    return nbformat.writes(book)


def _id_warning(result: Result) -> str:
    """What students read first if the id in the notebook is not theirs."""
    named = "another one"
    if re.fullmatch(r"\w[\w.@+-]*", result.other_id):
        named = f"`{result.other_id}`"
    return (
        f"**Check your student id.** You are graded as `{result.student}`, but the `student_id` "
        f"in this notebook is {named}. Your data, files and records depend on the id. Those made "
        f"with another id earn no points. Write `{result.student}` into the cell "
        f"`student_id = ...`: the check word becomes `{check_word(result.student)}`. Then run the "
        "whole notebook, and submit it again with its new files."
    )


def feedback_page(course: Course, lab: str, student: str) -> None:
    """nbgrader's feedback page from the autograded notebook and the gradebook.

    A question that a human has yet to grade is shown as such, not with 0 points.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _succeed(_nbgrader(course).generate_feedback(lab, student), f"the feedback of {student}")
    path = course.feedback(lab, student)
    page = path.read_text(encoding="utf-8").replace(
        "</head>", "<style>pre { white-space: pre-wrap }</style></head>", 1
    )
    marks = _marks(course, lab)[student]
    for name, mark in marks.items():
        by_kind = rf'(<a href="#{name}">)(Test cell|Written response)</a>'
        page = re.sub(by_kind, rf"\1{name}</a>", page)
        if mark.points is None:
            in_contents = rf'(<a href="#{name}">{name}</a>) \(Score: [^)]*\)'
            page = re.sub(in_contents, r"\1 (not graded yet)", page)
            at_cell = rf'(<a name="{name}"></a>.*?)Score: [\d.]+ / ([\d.]+)'
            page = re.sub(at_cell, r"\1not graded yet, of \2", page, count=1, flags=re.DOTALL)
    if any(mark.points is None for mark in marks.values()):
        so_far = sum(mark.points or 0 for mark in marks.values())
        total = rf"<h4>{re.escape(lab)} \(Score: [\d.]+"
        page = re.sub(total, f"<h4>{lab} (Score so far: {so_far}", page, count=1)
    path.write_text(page, encoding="utf-8")


def questions(course: Course, lab: str) -> dict[str, dict]:
    """{grade_id: {"max": points, "written": bool}} in the notebook's order."""
    cells = nbformat.read(course.release(lab), 4).cells
    marked = [
        cell.metadata.nbgrader for cell in cells if cell.metadata.get("nbgrader", {}).get("grade")
    ]
    return {m.grade_id: {"max": float(m.points), "written": bool(m.solution)} for m in marked}


def rows(course: Course, lab: str) -> list[dict]:
    """One row for each hand-in: its status, and its points.

    Points that do not exist are None, never 0.
    """
    asked = questions(course, lab)
    marks = _marks(course, lab)
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
            "look": [],
            "notes": [],
        }
        if result is not None:
            row["notes"] = result.notes
        if result is None or (not result.problem and student not in marks):
            row["status"] = "not graded yet"
        elif result.problem:
            row |= {"status": "could not be graded", "look": [result.problem, *result.look]}
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
            row |= {"status": _status(own), "marks": points, "look": [*old, *result.look]}
        table.append(row)
    return table


def _sum(points: Iterable[float | None]) -> float | None:
    points = list(points)
    if None in points:
        return None
    return sum(points)


def _status(marks: dict[str, "Mark"]) -> str:
    if any(mark.old is not None for mark in marks.values()):
        return "changed since marking"
    if any(mark.points is None for mark in marks.values()):
        return "written part open"
    return "graded"


class Mark(NamedTuple):
    """Points of one question, None until a person has graded it.

    old: a mark that was given before the answer changed.
    """

    points: float | None
    old: float | None = None


def _marks(course: Course, lab: str) -> dict[str, dict[str, Mark]]:
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
                row["look"] = "; ".join(row["look"])
                table.writerow([_plain(row[column]) for column in columns])
    return path


def _plain(value):
    """Text that a spreadsheet would run as a formula gets an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t")):
        return "'" + value
    return value
