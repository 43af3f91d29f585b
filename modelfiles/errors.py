"""The errors that this project raises on purpose. Their messages tell the user what to do."""


class WorkbookError(Exception):
    """Base class of every error this project raises on purpose."""

    exit_code = 1


class ModelFileError(WorkbookError, ValueError):
    """A model file is damaged, of another kind than its name says, or not supported."""


class ConversionError(WorkbookError, ValueError):
    """A converter failed, got unusable input, or wrote a file that computes something else."""


class ExplainedError(ConversionError):
    """A ConversionError whose message is complete: no search for the layer could add to it."""


def reason(error: Exception) -> str:
    """One line: the message of a WorkbookError, else the first line of the original cause."""
    if isinstance(error, WorkbookError):
        return str(error)
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = str(cause).strip().splitlines() or ["no message"]
    return f"{type(cause).__name__}: {lines[0][:200]}"
