"""Checks of handed-in records: do the numbers fit each other, and can they have been measured?

Invented times that are passed to helpers.results.record are not detected. But to invent or copy a
record that fits takes more work than to measure one, and that is all these checks are for.
"""

import json
import math
from pathlib import Path

import numpy as np

from helpers import timing, validity
from labs.grading.checks import record_fields, records_file

MIN_CALLS = 50
# up to MAX_PERIODS periods are looked for in MAX_COMPARED times, which takes a tenth of a second
MAX_PERIODS = 2000
MAX_COMPARED = 50_000


def problems(path: Path | str, min_calls: int = MIN_CALLS) -> list[str]:
    """What is wrong with the records in the .jsonl file at `path`, one sentence each.

    Each record needs all that the workbook writes, `min_calls` raw times that give its percentiles,
    conditions before and after that fit them, and no reason that voids it. Times that repeat
    themselves, are rounded, or took longer than the clock on the wall are called invented.
    """
    path = Path(path)
    try:
        rows, unfinished = records_file.read(path)
    except ValueError as error:
        return [str(error)]
    found = []
    if unfinished:
        found.append(f"{unfinished} line(s) of it are no JSON")
    if not rows:
        return [*found, f"{path.name} holds no record"]
    for number, row in enumerate(rows, 1):
        found += [f"record {number}: {problem}" for problem in _row_problems(row, min_calls)]
    for column in ("run_id", "samples_ns"):
        values = [json.dumps(row.get(column)) for row in rows]
        if len(set(values)) < len(values):
            found.append(f"two records have the same {column}")
    return found + _passed(rows)


def _row_problems(row: dict, min_calls: int) -> list[str]:
    if 0 in records_file.rounds_and_calls(row):
        return ["samples_ns is not a table of positive times in whole nanoseconds, rounds x calls"]
    samples = np.array(row["samples_ns"], np.int64)
    return [
        *_counts(row, samples, min_calls),
        *_statistics(row, samples),
        *record_fields.missing(row),
        *record_fields.contradictions(row, samples),
        *_void(row),
        *_invented(samples),
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
            f"and has {samples.size} in {samples.shape[0]} of {samples.shape[1]}"
        )
    return found


def _statistics(row: dict, samples: np.ndarray) -> list[str]:
    """p50 and the others once more from the raw times."""
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


def _void(row: dict) -> list[str]:
    states = []
    for when in ("before", "after"):
        flags = row.get(f"conditions.{when}.throttled")
        states.append({"throttled": flags[:20] if isinstance(flags, str) else None})
    try:
        reasons = validity.throttling_reasons(*states)
    except ValueError:
        reasons = ["its throttling flags are no number"]
    contention = row.get("contention")
    if isinstance(contention, (int, float)) and contention > timing.CONTENDED:
        reasons.append("other programs used the processor")
    stated = row.get("void_reasons")
    if isinstance(stated, list):
        reasons += [str(reason)[:100] for reason in stated]
    if row.get("valid") is not True and not reasons:
        reasons.append("it says so")
    if not reasons:
        return []
    return [f"it does not count: {'; '.join(dict.fromkeys(reasons))}; measure again"]


def _passed(rows: list[dict]) -> list[str]:
    """Whether the calls of all candidates of one run fit between its conditions before and after.

    One sentence for each run where they do not.
    """
    runs: dict[tuple, float] = {}
    for row in rows:
        times = record_fields.moments(row)
        if times is None or 0 in records_file.rounds_and_calls(row):
            continue
        run = (*times, record_fields.elapsed_s(row))
        runs[run] = runs.get(run, 0) + sum(map(sum, row["samples_ns"])) / 1e9
    found = []
    for (_, _, elapsed), calls in runs.items():
        if calls > elapsed + 0.01:
            found.append(
                f"the calls of a run took {calls:.2f} s, and {elapsed:.2f} s passed: "
                "the times are invented"
            )
        elif elapsed > record_fields.PAUSE_S + record_fields.PER_CALL_TIME * calls:
            found.append(
                f"the calls of a run took {calls:.2f} s, and {elapsed:.0f} s passed: "
                "take both conditions around the measurement"
            )
    return found


def _invented(samples: np.ndarray) -> list[str]:
    """Signs that these times were not measured.

    Measured times differ in their last digits, and do not repeat in the same order.
    """
    flat = samples.ravel()
    found = []
    # a short call has few different times: a Pi's clock ticks every 18.5 ns
    if len(np.unique(flat)) < min(flat.size / 10, 20):
        found.append(
            f"only {len(np.unique(flat))} different times in {flat.size} calls: they look invented"
        )
    elif (flat % 1000 == 0).all():
        found.append(
            "all times are whole microseconds, where a clock gives nanoseconds: they look invented"
        )
    if _repeats(flat[:MAX_COMPARED], samples.shape[1]) or _is_line(flat):
        found.append(
            "the times repeat in the same order or rise by equal steps: they look invented"
        )
    return found


def _repeats(flat: np.ndarray, calls: int) -> bool:
    half = flat.size // 2
    periods = set(range(2, min(half, MAX_PERIODS)))
    if 1 < calls < half:
        periods.add(calls)
    return any(
        np.count_nonzero(flat[period:] == flat[:-period]) > 0.5 * (flat.size - period)
        for period in periods
    )


def _is_line(flat: np.ndarray) -> bool:
    return flat.size > 3 and len(np.unique(np.diff(np.sort(flat)))) <= 2
