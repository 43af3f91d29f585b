"""A submitted file of records as flat dicts.

Limits apply, because the grader itself reads the file, outside the jail.
"""

import json
import math
from pathlib import Path

from helpers.results import SCHEMA_VERSION

MAX_BYTES = 5 << 20
MAX_LINES = 200
# of one record: a fast laptop makes 150,000 calls of 4 µs in 30 rounds of at least 20 ms
MAX_SAMPLES = 250_000
MAX_KEYS = 100  # of one object
MAX_DEPTH = 4  # of objects in objects
MAX_KEY = 100  # characters
MAX_TEXT = 10_000  # characters
LONGEST_NS = 10**13  # a call of three hours; so sums of samples fit into 64 bits


class _NotARecord(ValueError):
    """It is JSON, but not a record of helpers.results."""


def read(path: Path) -> tuple[list[dict], int]:
    """The records of the .jsonl file at `path`, and how many of its lines are not JSON.

    A record is a flat dict, {"latency_ns.p50": ...}. ValueError, with a sentence without the
    folder's name, if the file is too large or contains what no record contains.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path.name} has more than {MAX_BYTES >> 20} MB")
    content = path.read_bytes()
    if content.count(b"\n") > MAX_LINES:
        raise ValueError(f"{path.name} has more than {MAX_LINES} lines")
    rows = []
    unfinished = 0
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            rows.append(_row(line))
        except _NotARecord as error:
            raise ValueError(f"{path.name} cannot be read: line {number} {error}") from None
        except (ValueError, RecursionError):
            unfinished += 1
    return rows, unfinished


def rounds_and_calls(row: dict) -> tuple[int, int]:
    """The shape of the record's raw times.

    (0, 0) if they are not a table of whole positive nanoseconds.
    """
    samples = row.get("samples_ns")
    if not isinstance(samples, list) or not samples:
        return 0, 0
    if not all(isinstance(calls, list) for calls in samples):
        return 0, 0
    if len(set(map(len, samples))) != 1:
        return 0, 0
    # before numpy sees them: an array of texts would take the longest one's room for each
    if not all(type(ns) is int and 0 < ns < LONGEST_NS for calls in samples for ns in calls):
        return 0, 0
    return len(samples), len(samples[0])


def _row(line: bytes) -> dict:
    entry = json.loads(
        line,
        object_pairs_hook=_object,
        parse_int=_whole,
        parse_float=_finite,
        parse_constant=_finite,
    )
    version = entry.get("schema_version") if isinstance(entry, dict) else None
    if type(version) is not int:
        raise _NotARecord("is not a record of a measurement: it has no schema_version")
    if version > SCHEMA_VERSION:
        raise _NotARecord("was written by a newer workbook than the grader's")
    row = dict(_flat(entry))
    samples = row.get("samples_ns")
    if isinstance(samples, list):
        calls = sum(len(part) for part in samples if isinstance(part, list))
        if calls > MAX_SAMPLES:
            raise _NotARecord(f"has more than {MAX_SAMPLES:,} calls")
    return row


def _flat(entry: dict, prefix: str = "", depth: int = 1):
    if depth > MAX_DEPTH:
        raise _NotARecord("nests objects deeper than a record")
    for key, value in entry.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.", depth + 1)
        elif isinstance(value, str) and len(value) > MAX_TEXT:
            raise _NotARecord("contains a text that is too long for a record")
        else:
            yield prefix + key, value


def _object(pairs: list) -> dict:
    if len(pairs) > MAX_KEYS or any(len(key) > MAX_KEY for key, _ in pairs):
        raise _NotARecord("has more entries, or longer names, than a record")
    return dict(pairs)


def _whole(text: str) -> int:
    if len(text) > 20 or abs(int(text)) >= 2**63:
        raise _NotARecord("contains a number that is too large for a record")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _NotARecord("contains NaN or infinity, which no record has")
    return value
