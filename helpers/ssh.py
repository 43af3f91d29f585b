"""Deprecated: use workbook.pi.connection and workbook.pi.openssh."""

from workbook.pi.connection import Pi
from workbook.pi.openssh import PiError, _shell_form, options, settings, target

__all__ = ["Pi", "PiError", "_shell_form", "options", "settings", "target"]
