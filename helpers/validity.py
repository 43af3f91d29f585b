"""Decide whether a measurement is valid, and say why not. No other module decides this.

A measurement is invalid if the machine throttled or if other programs used the processor.
"""

from datetime import datetime

from helpers import timing
from helpers.device.state import THROTTLE_BITS, throttle_flags

CLOCK_STEP_S = 1  # a larger difference between the two clocks is not due to rounding


def invalid_reasons(before: dict, after: dict, contention: float | None) -> list[str]:
    """Why a measurement is invalid, in words; [] if it is valid.

    `before` and `after` are device.conditions() immediately before and after it. `contention` is
    Latency.contention.
    """
    return throttling_reasons(before, after) + contention_reasons(contention)


def throttling_reasons(before: dict, after: dict) -> list[str]:
    """Why throttling makes a measurement invalid, in words; [] if it does not.

    A flag makes it invalid if it is set before or after the measurement, or if its since-boot flag
    is set after it only. A since-boot flag that was already set before it is ignored: it stays set
    until the Pi restarts. If `throttled` is None both times, throttling is unknown: [] as well.
    """
    return [f"the Pi reported: {name}{when}" for name, when in _reported(before, after).items()]


def throttled_by(before: dict, after: dict) -> list[str] | None:
    """Which of THROTTLE_BITS the Pi reported for a measurement; None if that is unknown."""
    if before.get("throttled") is None and after.get("throttled") is None:
        return None
    return list(_reported(before, after))


def _reported(before: dict, after: dict) -> dict[str, str]:
    """{flag: when it was set, in words}; "" for a flag that is set before or after."""
    early, late = (set(throttle_flags(state.get("throttled"))) for state in (before, after))
    reported = {}
    for name in THROTTLE_BITS:
        sticky = f"{name} since boot"
        if name in early | late:
            reported[name] = ""
        elif before.get("throttled") is not None and sticky in late - early:
            reported[name] = " at some time during the measurement"
    return reported


def contention_reasons(contention: float | None) -> list[str]:
    """Why contention makes a measurement invalid, in words; [] if it does not."""
    # None is unknown: there were several threads
    if contention is None or not contention > timing.CONTENDED:
        return []
    return [f"other programs used the processor: the thread waited {contention:.0%} of the time"]


def clock_warnings(before: dict, after: dict) -> list[str]:
    """A warning, in words, if the machine's clock was set during a measurement.

    [] if it was not set, or if that is unknown. A Pi's clock stops while the Pi is off: the Pi
    starts with an old time, and gets the right time from the network. This changes `at`, but not
    the times of calls.
    """
    start_ns = before.get("monotonic_ns")
    end_ns = after.get("monotonic_ns")
    if start_ns is None or end_ns is None:
        return []
    passed_s = (end_ns - start_ns) / 1e9
    start = datetime.fromisoformat(before["at"])
    end = datetime.fromisoformat(after["at"])
    step_s = (end - start).total_seconds() - passed_s
    # a clock that is corrected slowly may run 0.05 % too fast
    if abs(step_s) <= CLOCK_STEP_S + passed_s / 1000:
        return []
    return [
        f"the machine's clock was set by {step_s:+,.0f} s during the measurement; "
        f"it took {passed_s:.1f} s"
    ]


def states(row: dict) -> list[dict]:
    """The conditions before and after from a row of read_results, for throttling_reasons."""
    states = []
    for when in ("before", "after"):
        flags = row.get(f"conditions.{when}.throttled")
        if not isinstance(flags, str):
            flags = None  # NaN if it was null
        states.append({"throttled": flags})
    return states


def row_reasons(row: dict, by: str) -> list[str]:
    """Why a row of read_results is invalid, in words; [] if it is valid.

    A row without a number in the column `by` is invalid, too.
    """
    reasons = []
    if isinstance(row.get("void_reasons"), list):
        reasons += row["void_reasons"]
    before, after = states(row)
    reasons += invalid_reasons(before, after, row.get("contention"))
    if row.get("valid") is not True and not reasons:
        reasons.append("the record says that it is not valid")
    if row[by] is None or row[by] != row[by]:
        reasons.append(f"it has no {by}")
    return list(dict.fromkeys(reasons))
