"""The errors that this project raises on purpose. Their messages name the next step.

WorkbookError
    ModelFileError           a model file cannot be opened (also a ValueError)
    ConversionError          a file could not be written, or its outputs are wrong (ValueError)
        ExplainedError       the same, and the message is complete
    ProgramFailed            a program that the workbook started failed (RuntimeError)
    DelegateUnavailable      Arm NN is missing or cannot be loaded (ImportError)
    data.ChecksumError       a download is not the expected file (ValueError)
    vision.sources.CameraError  a camera, a video or a folder cannot be read (OSError)
    workbook.pi.openssh.PiError     a Pi cannot be used (RuntimeError)
    workbook.cpp_build.BuildFailed  a C++ program does not compile (RuntimeError)
    workbook.book.NotebookFailed    a cell of a notebook failed (RuntimeError)
    labs.grading.errors.CourseError     a course list or a download cannot be used (ValueError)
    labs.grading.errors.NotFound        no such lab, list or download (FileNotFoundError)
    labs.grading.errors.NbgraderError   nbgrader failed (RuntimeError)
    labs.grading.intake.archives.BadZip       a submission cannot be unpacked
    labs.grading.intake.cells.Unreadable      a submission has no notebook that can be read
    labs.grading.sandbox.errors.GraderError   the grader itself failed (RuntimeError)
    labs.grading.sandbox.sandbox.NoJail       bubblewrap is missing or fails (RuntimeError)

Wrong arguments raise a plain ValueError or TypeError, missing packages an ImportError.
"""

from modelfiles.errors import (
    ConversionError,
    ExplainedError,
    ModelFileError,
    WorkbookError,
    reason,
)
from modelfiles.programs import ProgramFailed
from modelfiles.runtimes.armnn import DelegateUnavailable

__all__ = [
    "ConversionError",
    "DelegateUnavailable",
    "ExplainedError",
    "ModelFileError",
    "ProgramFailed",
    "WorkbookError",
    "reason",
]
