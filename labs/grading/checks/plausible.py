"""Signs that the times of a record were invented instead of measured."""

import numpy as np

from labs.grading.checks import record_fields, records_file

# searching MAX_COMPARED times for MAX_PERIODS periods takes a tenth of a second
MAX_PERIODS = 2000
MAX_COMPARED = 50_000


def signs_in_runs(rows: list[dict]) -> list[str]:
    """One sentence for each run whose calls do not fit between its conditions.

    The calls of all candidates of one run are added up.
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
                f"the calls of a run took {calls:.2f} s, but only {elapsed:.2f} s passed: "
                "the times are invented"
            )
        elif elapsed > record_fields.PAUSE_S + record_fields.PER_CALL_TIME * calls:
            found.append(
                f"the calls of a run took {calls:.2f} s, but {elapsed:.0f} s passed: "
                "take the conditions right before and after the measurement"
            )
    return found


def signs_in_times(samples: np.ndarray) -> list[str]:
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
            "all times are whole microseconds, but the clock counts nanoseconds: they look invented"
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
