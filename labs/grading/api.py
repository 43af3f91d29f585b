"""Deprecated: use labs.grading.checks.questions."""

from labs.grading.checks.questions import (
    Question,
    Student,
    StudentError,
    Verdict,
    ask,
    load_questions,
)
from labs.grading.sandbox.errors import GraderError
from labs.grading.sandbox.limits import Limits

__all__ = [
    "GraderError",
    "Limits",
    "Question",
    "Student",
    "StudentError",
    "Verdict",
    "ask",
    "load_questions",
]
