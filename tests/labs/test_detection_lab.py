"""Lab 7: its tests for students stop wrong solutions, and the libraries it forbids are noticed.

Here the cells of the notebook run in this process: the code is our own.
"""

import json
import zlib
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from labs.grading.checks import own_work
from tests.labs import wrong
from tests.labs.test_labs import cell_of, notebook_of, released, with_body

LAB = "lab7_detection"
FUNCTIONS = (
    "iou_matrix",
    "letterbox_fit",
    "to_network",
    "to_picture",
    "nms",
    "match",
    "average_precision",
)
# what small examples cannot show
UNSEEN = {
    "iou: from the library",
    "iou: from the library, by a text",
    "ap: from the library",
}
IN_PLACE = {
    "to_network": "boxes *= scale\nreturn boxes + [left, top, left, top]",
    "nms": "overlaps[classes[:, None] != classes] = 0\nreturn np.flatnonzero(overlaps[0])",
    "match": "overlaps[0] = 0\nreturn overlaps.argmax(axis=1)",
}


def run_tests(notebook, function: str) -> None:
    """Define the function, and run the cell of tests after it."""
    namespace = {"np": np}
    position = notebook.cells.index(cell_of(notebook, function))
    for cell in (cell_of(notebook, "check"), *notebook.cells[position : position + 2]):
        exec(compile(cell.source, function, "exec"), namespace)


def entries(table: dict):
    return [name for name, (cell, *_) in table[LAB].items() if cell in FUNCTIONS]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_released_function_stops_at_its_own_line(function):
    with pytest.raises(NotImplementedError):
        run_tests(released(LAB), function)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_visible_tests_pass_with_the_reference_and_print_each_sentence(function, capsys):
    run_tests(notebook_of(LAB), function)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) >= 2 and all(line.startswith("ok: ") for line in printed)


@pytest.mark.parametrize("name", entries(wrong.RIGHT))
def test_visible_tests_pass_in_other_styles(name):
    function, body = wrong.RIGHT[LAB][name]
    run_tests(with_body(notebook_of(LAB), function, wrong.dedent(body)), function)


@pytest.mark.parametrize("name", entries(wrong.WRONG))
def test_visible_tests_stop_wrong_solutions(name):
    function, body, _ = wrong.WRONG[LAB][name]
    notebook = with_body(notebook_of(LAB), function, body)
    if name in UNSEEN:
        run_tests(notebook, function)
        return
    with pytest.raises(Exception) as caught:
        run_tests(notebook, function)
    if isinstance(caught.value, AssertionError):
        assert "Expected: " in str(caught.value) and "returned: " in str(caught.value)


@pytest.mark.parametrize("function", IN_PLACE)
def test_visible_tests_stop_functions_that_change_their_arguments(function):
    notebook = with_body(notebook_of(LAB), function, IN_PLACE[function])
    with pytest.raises(ValueError, match="read-only"):
        run_tests(notebook, function)


def test_chain_gives_the_same_result_in_other_styles(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = {}  # of each function, returning lists; and the last, returning tensors or arrays
    last = {}
    for function, body in (row for row in wrong.RIGHT[LAB].values() if row[0] in FUNCTIONS):
        first.setdefault(function, body)
        last[function] = body
    results = []
    for bodies in ({}, first, last):
        notebook = notebook_of(LAB)
        for function, body in bodies.items():
            with_body(notebook, function, wrong.dedent(body))
        run_chain(notebook)
        results.append(json.loads((tmp_path / "my_detector.json").read_text()))
    assert results[0] == pytest.approx(results[1], abs=1e-4)
    assert results[0] == pytest.approx(results[2], abs=1e-4)


def run_chain(notebook) -> None:
    """Run the cells that compute my_detector.json, with the functions of the notebook."""
    namespace = {"np": np, "json": json, "zlib": zlib, "Path": Path, "student_id": "ada-1815"}
    chain = ("check", *FUNCTIONS, "own_pictures", "chain", "own_detector")
    cells = [cell_of(notebook, grade_id) for grade_id in chain]
    tests = notebook.cells[notebook.cells.index(cells[-1]) + 1]
    for cell in (*cells, tests):
        exec(compile(cell.source, "chain", "exec"), namespace)


LIBRARIES = ("helpers.metrics", "cv2")
# cells of a notebook, and whether its function f uses one of the libraries
CELLS = {
    "nothing imported": (["def f(x): return x"], False),
    "imported inside": (["def f(x):\n    import cv2\n    return cv2.resize(x)"], True),
    "imported in another cell": (["import cv2", "def f(x): return cv2.resize(x)"], True),
    "under another name": (["import cv2 as np", "def f(x): return np.sort(x)"], True),
    "a function of it": (
        ["from helpers.metrics import box_iou as i", "def f(x): return i(x)"],
        True,
    ),
    "its module": (["from helpers import metrics", "def f(x): return metrics.box_iou(x)"], True),
    "a part of it": (["from helpers.metrics.overlap import iou", "f = iou"], True),
    "by its whole name": (["import helpers.metrics", "f = lambda x: helpers.metrics.iou(x)"], True),
    "all names": (["from cv2 import *", "def f(x): return resize(x)"], True),
    "through another function": (["import cv2", "def g(x): return cv2.x", "def f(x): g(x)"], True),
    "by a text": (["def f(x): return __import__('cv2').resize(x)"], True),
    "not used": (["import cv2", "cv2.resize(0)", "def f(x): return x"], False),
    "another name of the import": (["from helpers import data, metrics", "f = data.mnist"], False),
    "another module of the package": (
        ["import helpers.data, helpers.metrics", "def f(): return helpers.data.mnist()"],
        False,
    ),
    "a local variable of the same name": (
        [
            "from cv2 import resize",
            "small = resize(1)",
            "def f(x):\n    small = x\n    return small",
        ],
        False,
    ),
    "the words in a docstring": (['def f(x):\n    """As helpers.metrics, slower."""'], False),
    "a longer name": (["import cv2000", "def f(x): return cv2000.x"], False),
    "a cell that is not Python": (["import cv2 (", "def f(x): return x"], False),
    "a magic": (["%matplotlib inline\nimport cv2", "def f(x): return cv2.resize(x)"], True),
    "not defined": (["import cv2"], False),
}


class Submission:
    """What own_work reads of a Student."""

    notebook = "lab.ipynb"

    def __init__(self, folder):
        self.folder = folder


@pytest.mark.parametrize("name", CELLS)
def test_libraries_that_a_function_uses_are_found(name, tmp_path):
    sources, is_used = CELLS[name]
    cells = [new_code_cell(source) for source in sources]
    nbformat.write(new_notebook(cells=cells), tmp_path / "lab.ipynb")
    if is_used:
        with pytest.raises(AssertionError, match="f uses .* not allowed in this lab"):
            own_work.check(Submission(tmp_path), "f", LIBRARIES)
    else:
        own_work.check(Submission(tmp_path), "f", LIBRARIES)
