"""The errors that stop a command of the grader. Their messages tell the instructor what to do.

Errors of one submission stand where they are raised: intake and sandbox have them.
"""

from modelfiles.errors import WorkbookError


class CourseError(WorkbookError, ValueError):
    """The course list, a download or an argument of a command cannot be used."""


class NotFound(WorkbookError, FileNotFoundError):
    """There is no such lab, list or download."""


class NbgraderError(WorkbookError, RuntimeError):
    """nbgrader failed, or its output contains what must stay private."""
