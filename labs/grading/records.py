"""Checks of handed-in records of measurements: do the numbers fit each other, and can they have been measured?"""

import datetime
import json
import math
import warnings
from pathlib import Path

import numpy as np

from helpers import device, results, timing

MAX_BYTES = 20 << 20
MIN_CALLS = 50


def problems(path: Path | str, min_calls: int = MIN_CALLS) -> list[str]:
    """What speaks against the records in the .jsonl file at `path`, one sentence each; empty where nothing does.

    Each record needs `min_calls` raw times that give its percentiles, conditions on both sides, and no reason that
    voids it. Times that repeat themselves, are rounded, or took longer than the clock on the wall are called invented.
    """
    path = Path(path)
    if path.stat().st_size > MAX_BYTES:
        return [f"{path.name} has more than {MAX_BYTES >> 20} MB"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the lines left out are counted below
            frame = results.read_results(path)
    except (ValueError, RecursionError, TypeError, AttributeError) as error:
        return [f"{path.name} cannot be read: {str(error)[:200].replace(str(path), path.name)}"]
    found = [f"{frame.attrs['skipped_lines']} line(s) of it are no JSON"] if frame.attrs["skipped_lines"] else []
    if not len(frame):
        return [*found, f"{path.name} holds no record"]
    rows = frame.to_dict("records")
    for number, row in enumerate(rows, 1):
        found += [f"record {number}: {problem}" for problem in _row_problems(row, min_calls)]
    for column in ("run_id", "samples_ns"):
        values = [json.dumps(row.get(column)) for row in rows]
        if len(set(values)) < len(values):
            found.append(f"two records have the same {column}")
    return found


def _row_problems(row: dict, min_calls: int) -> list[str]:
    try:
        samples = np.asarray(row.get("samples_ns"))
    except ValueError:  # rounds of different lengths
        samples = np.empty(0, object)
    if samples.ndim != 2 or samples.dtype.kind not in "if" or not samples.size or not (np.isfinite(samples) & (samples > 0)).all():
        return ["samples_ns is not a table of positive times, rounds x calls"]
    return [*_counts(row, samples, min_calls), *_statistics(row, samples), *_conditions(row, samples), *_invented(samples)]


def _counts(row: dict, samples: np.ndarray, min_calls: int) -> list[str]:
    found = [] if samples.size >= min_calls else [f"{samples.size} calls are too few: at least {min_calls}"]
    stated = (row.get("latency_ns.n"), row.get("method.rounds"), row.get("method.calls_per_round"))
    if stated != (samples.size, *samples.shape):
        found.append(f"it states {stated[0]} calls in {stated[1]} rounds of {stated[2]}, and has {samples.size} in {samples.shape[0]} of {samples.shape[1]}")
    return found


def _statistics(row: dict, samples: np.ndarray) -> list[str]:
    """p50 and the others once more from the raw times."""
    computed = {"min": samples.min(), "mean": samples.mean(), **{f"p{q}": timing.percentile(samples, q) for q in (50, 90, 99)}}
    return [f"{name} does not follow from its raw times" for name, value in computed.items()
            if not _close(row.get(f"latency_ns.{name}"), value)]


def _close(stated, value: float) -> bool:
    return isinstance(stated, (int, float)) and math.isclose(stated, value, rel_tol=1e-6, abs_tol=1)


def _conditions(row: dict, samples: np.ndarray) -> list[str]:
    before, after = ({"at": row.get(f"conditions.{when}.at"), "throttled": row.get(f"conditions.{when}.throttled")}
                     for when in ("before", "after"))
    found = [f"{name} is missing" for name in ("host.machine_id", "model.name", "model.sha256", "runtime.name", "runtime.version", "run_id")
             if not isinstance(row.get(name), str) or not row[name]]
    try:
        elapsed = (datetime.datetime.fromisoformat(after["at"]) - datetime.datetime.fromisoformat(before["at"])).total_seconds()
    except (TypeError, ValueError):
        return [*found, "the conditions before and after the measurement are missing"]
    if samples.sum() / 1e9 > elapsed + 0.01:
        found.append(f"its calls took {samples.sum() / 1e9:.2f} s, and {elapsed:.2f} s passed: the times are invented")
    flags = [state | {"throttled": state["throttled"] if isinstance(state["throttled"], str) else None} for state in (before, after)]
    try:
        reasons = device.void_reasons(*flags)
    except ValueError:
        reasons = ["its throttling flags are no number"]
    contention, stated = row.get("contention"), row.get("void_reasons")
    if isinstance(contention, (int, float)) and contention > timing.CONTENDED:
        reasons.append("other programs used the processor")
    reasons += [str(reason)[:100] for reason in stated] if isinstance(stated, list) else []
    if row.get("valid") is not True and not reasons:
        reasons.append("it says so")
    return found + ([f"it does not count: {'; '.join(dict.fromkeys(reasons))}; measure again"] if reasons else [])


def _invented(samples: np.ndarray) -> list[str]:
    """Signs that nobody measured these times: real ones differ in their last digits, and do not come again in order."""
    flat, found = samples.ravel(), []
    # a short call has few different times: a Pi's clock ticks every 18.5 ns
    if len(np.unique(flat)) < min(flat.size / 10, 20):
        found.append(f"only {len(np.unique(flat))} different times in {flat.size} calls: they look invented")
    elif (flat % 1000 == 0).all():
        found.append("all times are whole microseconds, where a clock gives nanoseconds: they look invented")
    half = flat.size // 2
    if any(np.mean(flat[period:] == flat[:-period]) > 0.5 for period in range(2, half)) or _is_line(flat):
        found.append("the times repeat in the same order or rise by equal steps: they look invented")
    return found


def _is_line(flat: np.ndarray) -> bool:
    return flat.size > 3 and len(np.unique(np.round(np.diff(np.sort(flat))))) <= 2
