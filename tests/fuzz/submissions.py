"""300 mangled submissions, collected, repaired, checked and graded: no traceback, no silent zero.

    python -m pytest tests/fuzz/submissions.py

The functions run in this process: the answers are our own.
"""

import collections
import dataclasses
import json
from pathlib import Path

import nbformat
import numpy as np
import pytest

from labs.grading.checks.questions import ask, load_questions
from labs.grading.course import Course, Result
from labs.grading.intake.cells import Unreadable
from labs.grading.intake.collect import collect
from labs.grading.intake.repair import repair
from labs.grading.report import grade_table, gradebook
from labs.grading.sandbox import notebook_loader
from labs.grading.sandbox.errors import StudentError
from tests.fuzz import mangle
from tests.labs import toy

SEED = 20261125


class Here:
    """What a check sees of a student, without a process of its own."""

    def __init__(self, folder: Path):
        self._folder = folder

    def call(self, name: str, *args):
        namespace = {"display": print}
        notebook_loader.load(str(self._folder / "toy.ipynb"), name, namespace, plain=False)
        try:
            return namespace[name](*args)
        except Exception as error:
            raise StudentError(f"{name}: {type(error).__name__}") from error

    def file(self, name: str) -> Path:
        if not (self._folder / name).is_file():
            raise StudentError(f"the file {name} was not submitted")
        return self._folder / name


def graded(course: Course, student: str, folder: Path) -> Result:
    """A submission's Result as grade_one gives it, but for what only a kernel shows."""
    collected = course.collected(toy.LAB)[student]
    result = Result(student, toy.LAB, flags=list(collected["flags"]), problem=collected["problem"])
    folder.mkdir()
    if result.problem:
        return result
    try:
        repaired = repair(course.submitted(toy.LAB, student), course.release(toy.LAB), folder)
    except Unreadable as error:
        result.problem = str(error)
        return result
    result.flags += repaired.flags
    result.untouched = repaired.untouched
    result.texts = repaired.texts
    questions = load_questions(course.source(toy.LAB) / "hidden.py")
    verdicts = ask(Here(folder), questions)
    result.questions = {name: dataclasses.asdict(verdict) for name, verdict in verdicts.items()}
    if any(verdict.points < verdict.max_points for verdict in verdicts.values()):
        result.flags += repaired.elsewhere
    result.notebook = nbformat.writes(nbformat.read(folder / "toy.ipynb", 4))
    return result


def silent_zeros(root: Path, count: int, seed: int = SEED) -> tuple[list[str], collections.Counter]:
    """Mangle, collect and grade `count` submissions that are right.

    Returns those that lose points without a word, and how often each outcome was seen.
    """
    rng = np.random.default_rng(seed)
    course = toy.make_course(root / "course")
    release = json.loads(json.dumps(nbformat.read(course.release(toy.LAB), 4)))
    answered = json.loads(json.dumps(toy.answer(course)))
    result = json.dumps({"answer": toy.SECRET}).encode()
    students = [str(1000 + i) for i in range(count)]
    submissions = {
        student: mangle.packed(mangle.submission(answered, release, result, rng), rng)
        for student in students
    }
    for path, content in mangle.downloads(submissions, rng).items():
        target = root / "downloads" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    assert sorted(collect(course, toy.LAB, [root / "downloads"])) == students
    results = [graded(course, student, root / f"graded-{student}") for student in students]
    for one in results:
        one.write(course.result(toy.LAB, one.student))
    gradebook.write(course, toy.LAB, results)
    silent = []
    outcomes = collections.Counter()
    for row in grade_table.rows(course, toy.LAB):
        lost = [
            name
            for name, points in row["marks"].items()
            if points is not None and points < (toy.POINTS | {"why": 2.0})[name]
        ]
        points = "points missing" if lost else "every point"
        review = ", for review" if row["flags"] else ""
        outcomes[f"{row['status']}, {points}{review}"] += 1
        if lost and not row["flags"]:
            silent.append(f"{row['student']}: {lost}")
    return silent, outcomes


@pytest.mark.parametrize("part", range(3))
def test_a_hundred_submissions(part, tmp_path, capsys):
    silent, outcomes = silent_zeros(tmp_path, 100, SEED + part)
    with capsys.disabled():
        print(*(f"{count:4} {outcome}" for outcome, count in outcomes.most_common()), sep="\n")
    assert not silent, silent
