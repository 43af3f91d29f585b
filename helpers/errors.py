"""The errors that this project raises on purpose. Their messages tell the user what to do.

WorkbookError
    ConversionError    a model file could not be written, or computes something else
        ExplainedError     the same, and the message is complete
"""

from modelfiles.errors import ConversionError, ExplainedError, WorkbookError, reason

__all__ = ["ConversionError", "ExplainedError", "WorkbookError", "reason"]
