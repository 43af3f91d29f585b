"""The checks as a step of nbgrader: what `nbgrader autograde` and the formgrader's button run.

labs/nbgrader_config.py replaces nbgrader's own steps by SandboxedChecks. They would run a
submission unprotected, and its outputs would decide about the points.
"""

import shutil
from pathlib import Path

import nbformat
from nbgrader.converters.base import NbGraderException
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Dict

from labs.grading.autograde import grade_in_process
from labs.grading.course import Course, Result
from labs.grading.report import gradebook
from labs.grading.sandbox import sandbox
from labs.grading.sandbox.limits import Limits
from labs.grading.sandbox.sandbox import NoJail


class SandboxedChecks(NbGraderPreprocessor):
    """Grades a submission as `python -m labs.grading grade` does, and enters the points itself.

    The notebook that nbgrader passes in is ignored: the checks read the files in submitted/.
    """

    limits = Dict(help="What a submission may use, as labs.grading.sandbox.limits.Limits").tag(
        config=True
    )

    def preprocess(self, nb, resources):
        course = Course(Path.cwd())  # nbgrader works in the course's folder
        lab = resources["nbgrader"]["assignment"]
        student = resources["nbgrader"]["student"]
        try:
            sandbox.check()
        except NoJail as error:
            _restore(course, lab, student)
            # after another error, nbgrader would continue with the next student
            raise SystemExit(str(error)) from None
        result = grade_in_process(course.root, lab, student, True, Limits(**self.limits))
        result.write(course.result(lab, student))
        gradebook.write(course, lab, [result])
        if result.problem:
            raise NbGraderException(f"{lab} of {student} could not be graded: {result.problem}")
        return nbformat.read(course.autograded(lab, student), 4), resources


def _restore(course: Course, lab: str, student: str) -> None:
    """Bring back what nbgrader removed from autograded/ before it came to the checks."""
    shutil.rmtree(course.autograded(lab, student).parent)
    path = course.result(lab, student)
    result = Result(student, lab, problem="not graded")
    if path.is_file():
        result = Result.read(path)
    gradebook.write(course, lab, [result])
