"""Deprecated: use workbook.pi.fleet, .setup, .fetch and .jupyter."""

from workbook.pi.fetch import merge, table
from workbook.pi.fleet import doctor, fetch, on_all, run, status, stop
from workbook.pi.jupyter import start
from workbook.pi.setup import _requirements, bundle, prepare

__all__ = [
    "_requirements",
    "bundle",
    "doctor",
    "fetch",
    "merge",
    "on_all",
    "prepare",
    "run",
    "start",
    "status",
    "stop",
    "table",
]
