"""nbgrader's autograde gives no points alone, and with our settings those of the checks."""

import shutil

import nbformat
import pytest
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.apps.api import NbGraderAPI
from nbgrader.coursedir import CourseDirectory
from traitlets.config import Config

from labs.grading.autograde import grade_in_process
from labs.grading.course import Course
from labs.grading.report import gradebook
from labs.grading.sandbox import sandbox
from tests.labs import button, hostile, toy
from tests.labs.test_grading import QUICK, function, needs_jail
from tests.labs.test_labs import LABS, lab_course


def pressed(course: Course, student: str) -> dict:
    return button.press(course, toy.LAB, student, QUICK)


def row(course: Course, student: str) -> dict:
    return button.row(course, toy.LAB, student)


def points_of(course: Course, student: str, lab: str = toy.LAB) -> float:
    """The automatic points, the same in nbgrader's tables and in grades.csv."""
    points = button.automatic_points(course, lab, student)
    assert button.row(course, lab, student)["automatic"] == points
    return points


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return toy.make_course(tmp_path_factory.mktemp("course"))


# ----------------------------------------------------------------------------------- nbgrader alone
def stock_points(course: Course, lab: str) -> float:
    """The automatic points that nbgrader without our settings gives to the untouched release."""
    shutil.copytree(course.release(lab).parent, course.submitted(lab, "stock"))
    config = Config()
    config.CourseDirectory.root = str(course.root)
    config.CourseDirectory.db_url = course.database
    config.Execute.timeout = 300
    ran = NbGraderAPI(CourseDirectory(config=config), config=config).autograde(lab, "stock")
    assert ran["success"], ran
    return button.automatic_points(course, lab, "stock")


def test_nbgrader_alone_gives_no_points_for_the_untouched_toy_lab(tmp_path):
    assert stock_points(toy.make_course(tmp_path), toy.LAB) == 0


@pytest.mark.slow
@pytest.mark.parametrize("lab", LABS)
def test_nbgrader_alone_gives_no_points_for_an_untouched_release(lab, tmp_path):
    assert stock_points(lab_course(tmp_path, lab), lab) == 0


# -------------------------------------------------------------------------------- with our settings
@needs_jail
def test_the_button_gives_the_points_of_the_checks(course):
    toy.submit(course, "1001", toy.answer(course, "1001"))
    toy.submit(course, "1002", toy.answer(course, "1002", double="def double(x):\n    return x"))
    toy.submit(course, "1003", nbformat.read(course.release(toy.LAB), 4), result=None)
    for student, points in (("1001", 5), ("1002", 3), ("1003", 0)):
        ran = pressed(course, student)
        assert ran["success"], ran
        assert points_of(course, student) == points
    assert row(course, "1001")["status"] == "written part open"
    assert row(course, "1003")["status"] == "graded"
    shown = nbformat.read(course.autograded(toy.LAB, "1002"), 4)
    assert "double: wrong values" in toy.cell(shown, "double_values").outputs[0].text
    assert "HIDDEN" not in nbformat.writes(shown)
    by_command = grade_in_process(course.root, toy.LAB, "1002", True, QUICK)
    gradebook.write(course, toy.LAB, [by_command])  # over the read-only file that nbgrader leaves
    assert row(course, "1002")["automatic"] == by_command.points == 3


@needs_jail
def test_a_check_that_prints_does_not_break_the_result(tmp_path):
    course = toy.make_course(tmp_path)
    with open(course.source(toy.LAB) / "hidden.py", "a") as file:
        file.write("\nprint('MNIST cannot be downloaded')\n")
    toy.submit(course, "1001", toy.answer(course, "1001"))
    assert grade_in_process(course.root, toy.LAB, "1001", True, QUICK).points == 5


HOSTILE = {
    **{name: ({"double": function(body)}, 3) for name, (body, _) in hostile.FUNCTIONS.items()},
    **dict.fromkeys(hostile.CHEATS, (None, 0)),
    **{name: ({"try_it": cell}, 5) for name, cell in hostile.CELLS.items()},
}
QUICK_HOSTILE = ("ends its process", "input transformer")
SLOW_HOSTILE = [
    pytest.param(name, marks=pytest.mark.slow) for name in HOSTILE if name not in QUICK_HOSTILE
]


@needs_jail
@pytest.mark.parametrize("name", [*QUICK_HOSTILE, *SLOW_HOSTILE])
def test_hostile_submissions_get_no_more_through_the_button(course, name):
    sources, points = HOSTILE[name]
    student = f"7{list(HOSTILE).index(name):03}"
    if sources is None:
        book = nbformat.read(course.release(toy.LAB), 4)
        book.cells.append(nbformat.v4.new_code_cell(hostile.CHEATS[name]))
        toy.submit(course, student, book, result=None)
    else:
        toy.submit(course, student, toy.answer(course, student, **sources))
    ran = pressed(course, student)
    assert ran["success"], ran
    assert points_of(course, student) == points


@needs_jail
def test_a_mark_survives_the_button_and_not_a_changed_answer(course):
    toy.submit(course, "1004", toy.answer(course, "1004"))
    pressed(course, "1004")
    with Gradebook(course.database) as book:
        grade = book.find_grade("why", toy.LAB, toy.LAB, "1004")
        grade.manual_score = 1.5
        grade.needs_manual_grade = False
        book.db.commit()
    pressed(course, "1004")
    assert (row(course, "1004")["status"], row(course, "1004")["points"]) == ("graded", 6.5)
    toy.submit(course, "1004", toy.answer(course, "1004", why="I do not know."))
    pressed(course, "1004")
    changed = row(course, "1004")
    assert (changed["status"], changed["points"]) == ("changed since marking", None)


@needs_jail
def test_what_cannot_be_graded_is_no_zero(course):
    book = toy.answer(course, "1005")
    book.cells += [nbformat.v4.new_code_cell("x") for _ in range(2001)]
    toy.submit(course, "1005", book)
    ran = pressed(course, "1005")
    assert not ran["success"] and "at most 2000 are read" in ran["log"]
    failed = row(course, "1005")
    assert (failed["status"], failed["points"]) == ("could not be graded", None)
    with Gradebook(course.database) as database, pytest.raises(MissingEntry):
        database.find_submission(toy.LAB, "1005")


def test_without_bubblewrap_the_button_stops_with_one_sentence(course, monkeypatch):
    toy.submit(course, "1006", toy.answer(course, "1006", try_it="open('run', 'w')"))
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    sandbox.check.cache_clear()
    try:
        ran = pressed(course, "1006")
    finally:
        sandbox.check.cache_clear()
    assert not ran["success"]
    assert ran["error"].splitlines()[-1].startswith("SystemExit: bubblewrap is not installed, and")
    assert not course.autograded(toy.LAB, "1006").exists()
    assert row(course, "1006")["status"] == "not graded yet"
    with Gradebook(course.database) as database, pytest.raises(MissingEntry):
        database.find_submission(toy.LAB, "1006")


@needs_jail
def test_without_bubblewrap_an_earlier_grade_stays(course, monkeypatch):
    toy.submit(course, "1007", toy.answer(course, "1007"))
    pressed(course, "1007")
    shown = nbformat.read(course.autograded(toy.LAB, "1007"), 4)

    def no_jail():
        raise sandbox.NoJail("no jail here")

    monkeypatch.setattr(sandbox, "check", no_jail)
    assert "SystemExit: no jail here" in pressed(course, "1007")["error"]
    assert row(course, "1007")["automatic"] == 5
    assert nbformat.read(course.autograded(toy.LAB, "1007"), 4) == shown


@needs_jail
@pytest.mark.slow
@pytest.mark.parametrize("lab", LABS)
def test_the_button_gives_nothing_for_an_untouched_release(lab, tmp_path):
    course = lab_course(tmp_path, lab)
    shutil.copytree(course.release(lab).parent, course.submitted(lab, "1001"))
    ran = button.press(course, lab, "1001")
    assert ran["success"], ran
    assert points_of(course, "1001", lab) == 0
