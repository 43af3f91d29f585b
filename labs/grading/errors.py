"""The errors that stop a command of the grader. Their messages tell the instructor what to do.

The errors of a single submission are defined in intake and sandbox.
"""

from modelfiles.errors import WorkbookError


class CourseError(WorkbookError, ValueError):
    """The course list, a download or an argument of a command cannot be used."""


class NotFound(WorkbookError, FileNotFoundError):
    """There is no such lab, list or download."""


class NbgraderError(WorkbookError, RuntimeError):
    """nbgrader failed, or its output contains what must stay private."""
