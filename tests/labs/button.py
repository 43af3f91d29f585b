"""The formgrader's Autograde button, and what nbgrader's tables and ours then say."""

from nbgrader.api import Gradebook

from labs.grading.course import Course
from labs.grading.report import grade_table, gradebook
from labs.grading.sandbox.limits import Limits


def press(course: Course, lab: str, student: str, limits: Limits | None = None) -> dict:
    """Autograde a submission as the button does: nbgrader with labs/nbgrader_config.py."""
    api = gradebook.nbgrader_api(course)
    api.config.SandboxedChecks.limits = vars(limits or Limits())
    return api.autograde(lab, student)


def row(course: Course, lab: str, student: str) -> dict:
    """What grades.csv says."""
    return next(row for row in grade_table.rows(course, lab) if row["student"] == student)


def automatic_points(course: Course, lab: str, student: str) -> float:
    """What nbgrader's tables say."""
    with Gradebook(course.database) as book:
        (notebook,) = book.find_submission(lab, student).notebooks
        return sum(grade.auto_score or 0 for grade in notebook.grades)
