"""The errors of running a submission: the submission's fault, or the grader's."""

from modelfiles.errors import WorkbookError


class StudentError(Exception):
    """A student's function or file failed; the text is for the student."""


class GraderError(WorkbookError, RuntimeError):
    """The grader itself failed; the submission is not graded, which is not 0 points."""
