"""The errors that this project raises on purpose. Their messages name the next step."""

EXIT_INTERRUPTED = 130  # the exit status that shells report after Ctrl-C


class WorkbookError(Exception):
    """Base class of every error this project raises on purpose."""

    exit_code = 1


class ModelFileError(WorkbookError, ValueError):
    """A model file is damaged, does not match its suffix, or is not supported."""


class ConversionError(WorkbookError, ValueError):
    """A converter failed, got unusable input, or wrote a file with wrong outputs."""


class WrongAnswers(ConversionError):
    """A converter wrote a file, and its outputs are wrong.

    `difference` is their largest difference from the correct outputs, `largest` the largest correct
    output; both are None if the shapes differ or the outputs are not finite.
    """

    def __init__(
        self, message: str, difference: float | None = None, largest: float | None = None
    ) -> None:
        super().__init__(message)
        self.difference = difference
        self.largest = largest


class ExplainedError(ConversionError):
    """A ConversionError with a complete message: no search for the failing layer is needed."""


def reason(error: Exception) -> str:
    """In one line: the message of a WorkbookError, or the first line of the original cause."""
    if isinstance(error, WorkbookError):
        return str(error)
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = str(cause).strip().splitlines() or ["no message"]
    return f"{type(cause).__name__}: {lines[0][:200]}"
