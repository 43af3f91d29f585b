"""Trends in a run of several minutes: the slices of a "Sustained" scenario, one record each.

In such a run the slower clock of a hot Pi is the result. Throttled slices are kept and marked here;
results.rank still skips them.
"""

import itertools

import numpy as np
import pandas as pd

from helpers import results, timing

ENDS = ("before", "after")


def over_time(records: pd.DataFrame) -> pd.DataFrame:
    """The valid and the throttled records, with columns for a figure.

    The columns: "begun" and "minute" (when the slice began and ended, in minutes since the run
    began), "minutes" (of the whole run), "p50 (ms)", "°C" and "GHz" at the end of the slice (the
    measured clock; NaN if unknown), and `throttled` from results.keep_throttled.
    """
    trace = results.keep_throttled(records)
    begin, end = (pd.to_datetime(records[f"conditions.{when}.at"], utc=True) for when in ENDS)
    begun, minute = ((at - begin.min()).dt.total_seconds() / 60 for at in (begin, end))

    def known(name: str) -> pd.Series:
        # older records have no clock_khz
        return trace.reindex(columns=[f"conditions.after.{name}"]).iloc[:, 0].astype(float)

    return trace.assign(
        **{
            "begun": begun[trace.index],
            "minute": minute[trace.index],
            "minutes": minute.max(),
            "p50 (ms)": trace["latency_ns.p50"] / 1e6,
            "°C": known("temp_c"),
            "GHz": known("clock_khz") / 1e6,
        }
    )


def tenth(trace: pd.DataFrame, last: bool) -> pd.DataFrame:
    """The slices in the first (or, if `last`, the last) tenth of the run that timed all files."""
    is_last = trace["minute"] > 0.9 * trace["minutes"]
    is_first = trace["begun"] < 0.1 * trace["minutes"]
    part = trace[is_last if last else is_first]
    files = part.groupby("minute")["model.name"].transform("nunique")
    return part[files == trace["model.name"].nunique()]


def pooled(part: pd.DataFrame) -> dict[str, timing.Latency]:
    """All rounds of each file in these slices, cut to the shortest round's number of calls."""
    latencies = {}
    for name, lines in part.groupby("model.name"):
        rounds = [np.array(samples) for samples in lines["samples_ns"]]
        calls = min(samples.shape[1] for samples in rounds)
        samples = np.concatenate([samples[:, :calls] for samples in rounds])
        threads = int(lines["runtime.threads"].iloc[0])
        latencies[name] = timing.Latency(
            samples, samples, samples, timing.WarmUp(0, 0, True), threads
        )
    return latencies


def flags(part: pd.DataFrame) -> str:
    """The flags that the Pi reported during these slices, each once; "" if none."""
    found = [flag for mark in part["throttled"] if mark for flag in mark.split(", ")]
    return ", ".join(dict.fromkeys(found))


def ends(trace: pd.DataFrame) -> pd.DataFrame:
    """p50 of each file in the first and the last tenth, its change, and the last tenth's flags.

    Empty if other programs disturbed all slices of one end.
    """
    first, last = (tenth(trace, last) for last in (False, True))
    if first.empty or last.empty:
        return pd.DataFrame()
    early, late = (
        {name: latency.percentile(50) / 1e6 for name, latency in pooled(part).items()}
        for part in (first, last)
    )
    table = pd.DataFrame({"first tenth (ms)": early, "last tenth (ms)": late})
    table["change"] = table["last tenth (ms)"] / table["first tenth (ms)"]
    table["the Pi reported"] = flags(last) or "-"
    return table


def changed_places(trace: pd.DataFrame) -> list[str]:
    """Pairs of files whose order differs between the two ends of the run, significantly at both.

    An order is significant if the interval of the ratio excludes 1. The files of a slice take
    turns, so a drift of the machine cancels out. Empty if an end is throttled, because throttled
    rows are not ranked.
    """
    parts = [tenth(trace, last) for last in (False, True)]
    if any(part.empty or flags(part) for part in parts):
        return []
    early, late = map(pooled, parts)
    found = []
    for a, b in itertools.combinations(early, 2):
        first = timing.speedup(early[a], early[b])
        last = timing.speedup(late[a], late[b])
        if (first.low > 1 and last.high < 1) or (first.high < 1 and last.low > 1):
            found.append(f"{a} and {b}")
    return found


def report(records: pd.DataFrame) -> str:
    """A summary in sentences: how p50 changed, what the Pi reported, which files swapped places."""
    trace = over_time(records)
    table = ends(trace)
    if table.empty:
        return (
            "Other programs used the processor at the beginning or at the end of the sustained "
            "run, so the two ends cannot be compared."
        )
    change = table["change"]
    said = [
        f"After {trace['minutes'].max():.1f} minutes under load, p50 is {change.min():.2f} to "
        f"{change.max():.2f} times that of the beginning."
    ]
    hot = trace[trace["throttled"] != ""]
    if len(hot):
        said.append(_throttled(trace, hot))
    elif records["conditions.after.throttled"].isna().all():
        said.append("This machine does not report throttling.")
    else:
        said.append("The Pi reported no throttling.")
    if not flags(tenth(trace, last=False)) and not flags(tenth(trace, last=True)):
        pairs = "; ".join(changed_places(trace)) or "none that can be measured"
        said.append(f"Files that changed places: {pairs}.")
    return " ".join(said)


def _throttled(trace: pd.DataFrame, hot: pd.DataFrame) -> str:
    start = hot["begun"].min()
    when = f"From minute {start:.1f} on"
    if len(hot) < (trace["begun"] >= start).sum():
        when = f"In {len(hot) / len(trace):.0%} of the slices, the first at minute {start:.1f},"
    return (
        f"{when} the Pi reported: {flags(hot)}. These slices are kept and marked, because the "
        "slower clock is the result; like all throttled rows, they are not ranked."
    )
