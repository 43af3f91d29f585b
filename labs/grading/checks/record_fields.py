"""Whether one record has all that helpers.results.record writes, and whether its parts agree.

`row` is flat, as records_file.read gives it. Only what every machine reports is required: a laptop
has no throttling flags, Windows no load, a container no temperature. Their entries are null.
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
CLOCK_NS = 20_000  # the CPU time includes reading the CPU clock, a microsecond or two
# longest time from the conditions before to those after: half an hour to load and try, and
# PER_CALL_TIME times the time of all calls
PAUSE_S = 1800
PER_CALL_TIME = 100


def missing(row: dict) -> list[str]:
    """The fields that the workbook always writes and that are missing or wrong here."""
    lacks = [name for name in TEXTS if not isinstance(row.get(name), str) or not row[name]]
    lacks += [name for name in COUNTS if type(row.get(name)) is not int or row[name] < 1]
    lacks += [name for name in LISTS if not isinstance(row.get(name), list)]
    lacks += [name for name in MAY_BE_NULL if name not in row]
    for name, digits in (("run_id", 32), ("model.sha256", 64)):
        if not re.fullmatch(rf"[0-9a-f]{{{digits}}}", str(row.get(name))):
            lacks.append(name)
    return [f"{name} is missing, or is not what results.record writes" for name in lacks]


def moments(row: dict) -> tuple[datetime.datetime, datetime.datetime] | None:
    """When the conditions before and after the measurement were taken; None if that is missing."""
    try:
        before = datetime.datetime.fromisoformat(row.get("conditions.before.at"))
        after = datetime.datetime.fromisoformat(row.get("conditions.after.at"))
    except (TypeError, ValueError):
        return None
    if not before.tzinfo or not after.tzinfo:
        return None
    return before, after


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
    """Which parts of the record cannot belong to one measurement.

    `samples`: its times, rounds x calls.
    """
    return [*_clock(row), *_processor(row, samples), *_interval(row, samples)]


def _clock(row: dict) -> list[str]:
    times = moments(row)
    if times is None:
        return ["the conditions before and after the measurement are missing"]
    found = []
    if row.get("started_at") != row["conditions.before.at"]:
        found.append("it started at another time than its first conditions")
    # a day: a Pi without network may have the wrong time zone
    if max(times) > datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1):
        found.append("it was measured in the future")
    return found


def _processor(row: dict, samples: np.ndarray) -> list[str]:
    cpu = row.get("cpu_ns.p50")
    wall = timing.percentile(samples, 50)
    contention = row.get("contention")
    if not _is_number(cpu) or cpu < 0:
        return ["cpu_ns.p50 is missing"]
    if row.get("runtime.threads") != 1:  # the thread that called waits for the others
        return []
    found = []
    if not _is_number(contention) or not 0 <= contention <= 1:
        found.append("the contention of its one thread is missing")
    # on Windows the processor's clock ticks every 15.6 ms
    is_windows = str(row.get("host.os")).startswith("Windows")
    if not is_windows and not 0.5 * wall <= cpu <= 1.1 * wall + CLOCK_NS:
        found.append("the processor time of a call does not fit its time")
    return found


def _interval(row: dict, samples: np.ndarray) -> list[str]:
    """Recompute `p50_ci` and compare it loosely: another numpy may draw other rounds."""
    if len(samples) < timing.SMALLEST_ROUNDS:
        return []
    stated = row.get("latency_ns.p50_ci")
    if not isinstance(stated, list) or len(stated) != 2 or not all(map(_is_number, stated)):
        return ["p50_ci is missing"]
    ends = bootstrap_p50(samples)
    slack = 0.25 * (ends[1] - ends[0]) + 0.002 * ends[1]
    if all(math.isclose(a, b, abs_tol=slack) for a, b in zip(stated, ends)):
        return []
    return ["p50_ci does not follow from its raw times"]


def bootstrap_p50(samples: np.ndarray, resamples: int = 400) -> tuple[float, float]:
    """The ends of Latency.interval(50), sorting once instead of once for each of the resamples."""
    rounds, calls = samples.shape
    order = np.argsort(samples, axis=None)
    ordered = samples.ravel()[order]
    round_of = order // calls
    middle = samples.size // 2
    values = []
    for chosen in np.random.default_rng(0).integers(0, rounds, (resamples, rounds)):
        times_drawn = np.bincount(chosen, minlength=rounds)[round_of]
        place = np.searchsorted(np.cumsum(times_drawn), middle, side="right")
        values.append(ordered[place])
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _is_number(value) -> bool:
    return type(value) in (int, float)
