"""Deprecated: use labs.grading.checks.records."""

from labs.grading.checks.records import MIN_CALLS, problems

__all__ = ["MIN_CALLS", "problems"]
