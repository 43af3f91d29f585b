"""Whether one record has what helpers.results.record always writes, and whether its parts fit each other.

`row` is flat, as records_file.read gives it; only what every machine tells is asked for: a laptop has no throttling
flags, Windows no load, a container no temperature, and there the entry stands with null.
"""

import datetime
import math
import re

import numpy as np

from helpers import timing

TEXTS = (
    "session_id",
    "started_at",
    "scenario",
    "model.name",
    "runtime.name",
    "runtime.version",
    "host.machine_id",
    "host.os",
    "host.kernel",
    "host.arch",
    "host.python",
)
COUNTS = (
    "batch",
    "runtime.threads",
    "method.warmup_calls",
    "method.first_call_ns",
    "host.cores",
    "host.ram_mb",
)
LISTS = ("stages", "void_reasons", "warnings")
STATE = ("governor", "freq_khz", "freq_max_khz", "temp_c", "throttled", "load_avg", "affinity")
MAY_BE_NULL = (
    "host.board",
    "host.cpu",
    "host.features",
    "method.helpers_version",
    "contention",
    "latency_ns.ci_kind",
    *(f"conditions.{when}.{name}" for when in ("before", "after") for name in STATE),
)
CLOCK_NS = 20_000  # reading the processor's clock counts in its time, not in the wall's: a microsecond or two
PAUSE_S, PER_CALL_TIME = (
    1800,
    100,
)  # from before to after: half an hour to load and try, and this many times the calls


def missing(row: dict) -> list[str]:
    """What each record of the workbook has, and this one has not."""
    lacks = [name for name in TEXTS if not isinstance(row.get(name), str) or not row[name]]
    lacks += [name for name in COUNTS if type(row.get(name)) is not int or row[name] < 1]
    lacks += [name for name in LISTS if not isinstance(row.get(name), list)] + [
        name for name in MAY_BE_NULL if name not in row
    ]
    lacks += [
        name
        for name, digits in (("run_id", 32), ("model.sha256", 64))
        if not re.fullmatch(rf"[0-9a-f]{{{digits}}}", str(row.get(name)))
    ]
    return [f"{name} is missing, or not as results.record writes it" for name in lacks]


def moments(row: dict) -> tuple[datetime.datetime, datetime.datetime] | None:
    """When the conditions before and after the measurement were taken; None where it does not say."""
    try:
        before, after = (
            datetime.datetime.fromisoformat(row.get(f"conditions.{when}.at"))
            for when in ("before", "after")
        )
    except (TypeError, ValueError):
        return None
    return (before, after) if before.tzinfo and after.tzinfo else None


def elapsed_s(row: dict) -> float:
    """Seconds from the conditions before to those after, for a record that has `moments`.

    Read from the clock that only runs forward. Older records have the time of day alone, which a
    Pi without a battery may set in the middle of a measurement.
    """
    ticks = [row.get(f"conditions.{when}.monotonic_ns") for when in ("before", "after")]
    if all(type(tick) is int for tick in ticks):
        return (ticks[1] - ticks[0]) / 1e9
    before, after = moments(row)
    return (after - before).total_seconds()


def contradictions(row: dict, samples: np.ndarray) -> list[str]:
    """Which parts of the record cannot belong to one measurement. `samples`: its times, rounds x calls."""
    return [*_clock(row), *_processor(row, samples), *_interval(row, samples)]


def _clock(row: dict) -> list[str]:
    if not (times := moments(row)):
        return ["the conditions before and after the measurement are missing"]
    found = (
        []
        if row.get("started_at") == row["conditions.before.at"]
        else ["it started at another time than its conditions say"]
    )
    # a day: a Pi without network may have the wrong time zone
    if max(times) > datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1):
        found.append("it was measured in the future")
    return found


def _processor(row: dict, samples: np.ndarray) -> list[str]:
    cpu, wall, contention = (
        row.get("cpu_ns.p50"),
        timing.percentile(samples, 50),
        row.get("contention"),
    )
    if not _is_number(cpu) or cpu < 0:
        return ["cpu_ns.p50 is missing"]
    if row.get("runtime.threads") != 1:  # the thread that called waits for the others
        return []
    found = (
        []
        if _is_number(contention) and 0 <= contention <= 1
        else ["the contention of its one thread is missing"]
    )
    windows = str(row.get("host.os")).startswith(
        "Windows"
    )  # where the processor's clock ticks every 15.6 ms
    if not windows and not 0.5 * wall <= cpu <= 1.1 * wall + CLOCK_NS:
        found.append("the processor time of a call does not fit its time")
    return found


def _interval(row: dict, samples: np.ndarray) -> list[str]:
    """`p50_ci` once more. Loosely: another numpy may draw other rounds, and the ends move a little."""
    if len(samples) < timing.SMALLEST_ROUNDS:
        return []
    stated = row.get("latency_ns.p50_ci")
    if not isinstance(stated, list) or len(stated) != 2 or not all(map(_is_number, stated)):
        return ["p50_ci is missing"]
    ends = bootstrap_p50(samples)
    slack = 0.25 * (ends[1] - ends[0]) + 0.002 * ends[1]
    return (
        []
        if all(math.isclose(a, b, abs_tol=slack) for a, b in zip(stated, ends))
        else ["p50_ci does not follow from its raw times"]
    )


def bootstrap_p50(samples: np.ndarray, resamples: int = 400) -> tuple[float, float]:
    """The ends of Latency.interval(50), sorting once instead of once for each of the resamples."""
    rounds, calls = samples.shape
    order = np.argsort(samples, axis=None)
    ordered, round_of, place = samples.ravel()[order], order // calls, samples.size // 2
    values = [
        ordered[
            np.searchsorted(
                np.cumsum(np.bincount(chosen, minlength=rounds)[round_of]), place, side="right"
            )
        ]
        for chosen in np.random.default_rng(0).integers(0, rounds, (resamples, rounds))
    ]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _is_number(value) -> bool:
    return type(value) in (int, float)
