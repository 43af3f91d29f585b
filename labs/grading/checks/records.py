"""The records of measurements in a submission, for hidden checks: their content, their problems.

Invented times that are passed to helpers.results.record are not detected. The checks only make sure
that inventing or copying a consistent record is more work than measuring one.
"""

import json
import math
from pathlib import Path

import numpy as np

from helpers import timing, validity
from helpers.results import model_facts
from labs.grading.checks import plausible, record_fields, records_file
from labs.grading.checks.questions import Student

RECORDS = "records.jsonl"
MIN_CALLS = 50
# accuracies on hundreds of images each, other images of the same kind, differ by less
CLOSE = 0.05


def rows_of(student: Student) -> list[dict]:
    """The records as flat dicts ("latency_ns.p50").

    AssertionError if the file cannot be read or is empty.
    """
    try:
        # `problems` reports lines that are not JSON
        rows, _ = records_file.read(student.file(RECORDS))
    except ValueError as error:
        raise AssertionError(f"{error}; it is written by helpers.results.append_result") from error
    assert rows, f"{RECORDS} contains no record"
    return rows


def belongs_to(row: dict, path: Path) -> bool:
    """Whether the record was taken with this very file."""
    return row.get("model.sha256") == model_facts(path)["sha256"]


def problems(path: Path | str, min_calls: int = MIN_CALLS) -> list[str]:
    """What is wrong with the records in the .jsonl file at `path`, one sentence each.

    Each record needs every field that the workbook writes, at least `min_calls` raw times that give
    its percentiles, matching conditions before and after, and no reason that makes it invalid.
    Times that repeat, are rounded, or add up to more than the elapsed time are called invented.
    """
    path = Path(path)
    try:
        rows, unfinished = records_file.read(path)
    except ValueError as error:
        return [str(error)]
    found = []
    if unfinished:
        found.append(f"{unfinished} line(s) are not JSON")
    if not rows:
        return [*found, f"{path.name} contains no record"]
    for number, row in enumerate(rows, 1):
        found += [f"record {number}: {problem}" for problem in _row_problems(row, min_calls)]
    for column in ("run_id", "samples_ns"):
        values = [json.dumps(row.get(column)) for row in rows]
        if len(set(values)) < len(values):
            found.append(f"two records have the same {column}")
    return found + plausible.signs_in_runs(rows)


def _row_problems(row: dict, min_calls: int) -> list[str]:
    if 0 in records_file.rounds_and_calls(row):
        return ["samples_ns is not a table of positive times in whole nanoseconds, rounds x calls"]
    samples = np.array(row["samples_ns"], np.int64)
    return [
        *_counts(row, samples, min_calls),
        *_statistics(row, samples),
        *record_fields.missing(row),
        *record_fields.contradictions(row, samples),
        *_invalid(row),
        *plausible.signs_in_times(samples),
    ]


def _counts(row: dict, samples: np.ndarray, min_calls: int) -> list[str]:
    found = []
    if samples.size < min_calls:
        found.append(f"{samples.size} calls are too few: at least {min_calls}")
    columns = ("latency_ns.n", "method.rounds", "method.calls_per_round")
    stated = [str(row.get(name))[:20] for name in columns]
    if stated != [str(samples.size), *map(str, samples.shape)]:
        found.append(
            f"it states {stated[0]} calls in {stated[1]} rounds of {stated[2]}, "
            f"but has {samples.size} in {samples.shape[0]} of {samples.shape[1]}"
        )
    return found


def _statistics(row: dict, samples: np.ndarray) -> list[str]:
    """Recompute p50 and the others from the raw times, and compare."""
    computed = {"min": samples.min(), "mean": samples.mean()}
    for q in (50, 90, 99):
        computed[f"p{q}"] = timing.percentile(samples, q)
    return [
        f"{name} does not follow from its raw times"
        for name, value in computed.items()
        if not _close(row.get(f"latency_ns.{name}"), value)
    ]


def _close(stated, value: float) -> bool:
    return type(stated) in (int, float) and math.isclose(stated, value, rel_tol=1e-6, abs_tol=1)


def _invalid(row: dict) -> list[str]:
    states = []
    for when in ("before", "after"):
        flags = row.get(f"conditions.{when}.throttled")
        states.append({"throttled": flags[:20] if isinstance(flags, str) else None})
    try:
        reasons = validity.throttling_reasons(*states)
    except ValueError:
        reasons = ["its throttling flags are not a number"]
    contention = row.get("contention")
    if isinstance(contention, (int, float)) and contention > timing.CONTENDED:
        reasons.append("other programs used the processor")
    stated = row.get("void_reasons")
    if isinstance(stated, list):
        reasons += [str(reason)[:100] for reason in stated]
    if row.get("valid") is not True and not reasons:
        reasons.append("it is marked so")
    if not reasons:
        return []
    return [f"it is invalid: {'; '.join(dict.fromkeys(reasons))}; measure again"]
