"""nbgrader's gradebook: created by `release`, written by one process only, from saved results."""

import json
import os
import re
import shutil
import sys
import tomllib
import warnings
from pathlib import Path

import nbformat

from helpers.paths import ROOT
from helpers.student_ids import check_word
from labs.grading.course import LABS, Course, Result, write_whole
from labs.grading.errors import NbgraderError
from labs.grading.report.pictures import shown


def release(course: Course, lab: str) -> Path:
    """Create the students' notebook of a lab, without solutions; its path.

    The questions of the lab are entered into the gradebook.
    """
    source = course.source(lab)
    stale = course.release(lab).parent
    shutil.rmtree(stale, ignore_errors=True)
    succeed(nbgrader_api(course).generate_assignment(lab), f"the release of {lab}")
    if leaked := [p.name for p in stale.iterdir() if p.name in ("hidden.py", "rubric.md")]:
        raise NbgraderError(
            f"the release of {source.name} contains {', '.join(leaked)}: see CourseDirectory.ignore"
        )
    _stamp(course.release(lab))
    return course.release(lab)


def _stamp(path: Path) -> None:
    """Store in a released notebook the version of the workbook."""
    notebook = nbformat.read(path, 4)
    with open(ROOT / "pyproject.toml", "rb") as file:
        version = tomllib.load(file)["project"]["version"]
    notebook.metadata["workbook"] = {"version": version}
    nbformat.write(notebook, path)


def nbgrader_api(course: Course):
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


def succeed(outcome: dict, what: str) -> None:
    if not outcome["success"]:
        text = outcome.get("error") or outcome.get("log") or "no reason given"
        reason = text.strip().splitlines()[-1]
        raise NbgraderError(f"nbgrader could not create {what}: {reason}")


def write(course: Course, lab: str, results: list[Result]) -> None:
    """Enter the automatic points, and save the executed notebooks for nbgrader's formgrader.

    A person's mark stays. If the answer has changed, it has to be marked again. A
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
    """{grade_id: digest} of the answers as the formgrader has shown them so far."""
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
    """The first cell of a page whose notebook has another student's id."""
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
