"""A lab of two functions, one file and one written question: small enough to grade often."""

import json
from pathlib import Path

import nbformat

from labs.grading.course import Course
from labs.grading.report import gradebook

LAB = "toy"
POINTS = {"double_values": 2.0, "total_values": 1.0, "total_shape": 1.0, "result_file": 1.0}
SECRET = 8128  # an expected value that must never reach a student
HIDDEN = f'''
"""Hidden checks of the toy lab."""

import json

import numpy as np

from labs.grading.checks.questions import Question


def double_values(student):
    for x in (np.arange(6.0), np.float32([[1.5, -{SECRET / 2}]])):
        result = np.asarray(student.call("double", x))
        assert result.shape == x.shape, "double: the shape changed"
        assert np.allclose(result, x + x), "double: wrong values"


def total_values(student):
    result = student.call("total", np.float64([28, {SECRET}]))
    assert np.isclose(result, {SECRET} + 28), "total: a wrong sum"


def total_shape(student):
    result = student.call("total", np.ones((3, 4)))
    assert np.shape(result) == () and result == 12, "total: one number for any shape"


def result_file(student):
    answer = json.loads(student.file("result.json").read_text())["answer"]
    assert answer == {SECRET}, "result.json: a wrong answer"


QUESTIONS = {{
    "double_values": Question(2, double_values, "function double"),
    "total_values": Question(1, total_values, "function total"),
    "total_shape": Question(1, total_shape, "function total"),
    "result_file": Question(1, result_file, "file result.json"),
}}
'''
DOUBLE = "def double(x):\n    return 2 * x"
TOTAL = "def total(x):\n    return x.sum()"


def _cell(kind: str, name: str, source: str, **marks):
    make = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}[kind]
    cell = make(source)
    cell["id"] = name
    if marks:
        plain = {
            "grade": False,
            "solution": False,
            "locked": False,
            "task": False,
            "schema_version": 3,
            "grade_id": name,
        }
        cell.metadata["nbgrader"] = plain | marks
    return cell


def _checked(name: str, source: str, points: float):
    """A graded cell as in the labs: nbgrader alone gives no points for it."""
    hidden = "### BEGIN HIDDEN TESTS\nraise RuntimeError('not graded')\n### END HIDDEN TESTS"
    return _cell("code", name, f"{source}\n{hidden}", grade=True, locked=True, points=points)


def _solution(source: str) -> str:
    head, body = source.split("\n", 1)
    return f"{head}\n    ### BEGIN SOLUTION\n{body}\n    ### END SOLUTION"


def notebook():
    cells = [
        _cell("markdown", "title", "# A toy lab"),
        _cell("code", "id", 'student_id = "0000000"'),
        _cell("code", "setup", "import numpy as np", locked=True),
        _cell("code", "double", _solution(DOUBLE), solution=True),
        _checked("double_values", "# double: 2 points", 2.0),
        _cell("code", "total", _solution(TOTAL), solution=True),
        _cell("code", "try_it", "assert double(np.ones(2)).tolist() == [2, 2]"),
        _checked("total_values", "# total: 1 point for the sum", 1.0),
        _checked("total_shape", "# total: 1 point for any shape", 1.0),
        _checked("result_file", "# result.json: 1 point", 1.0),
        _cell("markdown", "why", "Your answer here.", grade=True, solution=True, points=2.0),
    ]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.v4.new_notebook(metadata=metadata, cells=cells)


def make_course(root: Path) -> Course:
    """A course at `root` with the toy lab, released."""
    source = root / "source" / LAB
    source.mkdir(parents=True)
    nbformat.write(notebook(), source / f"{LAB}.ipynb")
    (source / "hidden.py").write_text(HIDDEN)
    (source / "rubric.md").write_text("Sample answer: because two is even.")
    course = Course(root)
    gradebook.release(course, LAB)
    return course


def cell(book, name: str):
    return next(
        c
        for c in book.cells
        if c.metadata.get("nbgrader", {}).get("grade_id") == name or c["id"] == name
    )


def answer(course: Course, student: str = "", **sources: str):
    """The released notebook with the right solutions, or with `sources` by the name of the cell."""
    right = {
        "double": DOUBLE,
        "total": TOTAL,
        "why": "Because two is even.",
        "id": f'student_id = "{student}"',
    }
    book = nbformat.read(course.release(LAB), 4)
    for name, source in (right | sources).items():
        cell(book, name).source = source
    return book


def submit(course: Course, student: str, book=None, result: object = {"answer": SECRET}) -> Path:
    """Put a submission where `collect` puts it; `result` as result.json, none for None."""
    folder = course.submitted(LAB, student)
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(book or answer(course, student), folder / f"{LAB}.ipynb")
    if result is not None:
        (folder / "result.json").write_text(json.dumps(result))
    return folder
