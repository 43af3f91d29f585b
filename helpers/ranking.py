"""Which of several records count, and how they compare."""

from helpers import device, timing


def each_run_once(frame):
    """`frame` without the rows whose run_id came before: files are copied, and fetched twice."""
    if "run_id" not in frame:
        return frame
    repeats = frame["run_id"].map(str).duplicated() & frame["run_id"].notna()
    return frame[~repeats].reset_index(drop=True)


def contention_reasons(contention: float | None) -> list[str]:
    """Why a measurement with this contention does not count, in words; see Latency.contention."""
    if (
        contention is None or not contention > timing.CONTENDED
    ):  # None: several threads, where nobody can tell
        return []
    return [f"other programs used the processor: the thread waited {contention:.0%} of the time"]


def rank(frame, by: str = "latency_ns.p50"):
    """The rows that count, smallest `by` first; in `attrs["void"]` the others, as {"run_id": ..., "reasons": [...]}.

    Each run counts once. Left out are rows that are not valid, were throttled or contended (whatever `valid` says),
    or have no `by`. ValueError where there is no such column or nothing is left.
    """
    frame = each_run_once(frame)
    if by not in frame.columns:
        raise ValueError(
            f"there is no column {by!r} to rank by; there are {', '.join(map(str, frame.columns))}"
        )
    reasons = [_row_reasons(row, by) for row in frame.to_dict("records")]
    void = [
        {"run_id": run, "reasons": found} for run, found in zip(frame["run_id"], reasons) if found
    ]
    if len(void) == len(frame):
        counted = sorted({reason for row in void for reason in row["reasons"]})
        raise ValueError(
            f"none of {len(frame)} measurements counts: {'; '.join(counted) or 'there are none'}"
        )
    ranked = frame[[not found for found in reasons]].sort_values(
        by, kind="stable", ignore_index=True
    )
    ranked.attrs["void"] = void
    return ranked


def keep_throttled(frame):
    """The rows that are valid, or would be if the Pi had not throttled, for a sustained run.

    There the slower clock is the result, so such rows are worth showing. The new column
    `throttled` names the flags ("throttled, frequency capped"), "" if none or unknown. It is
    computed from the conditions, so records of every version have it. `rank` skips marked rows.
    """
    rows = frame.to_dict("records")
    marks = [", ".join(device.throttled_by(*_states(row)) or []) for row in rows]
    kept = []
    for row in rows:
        others = set(_row_reasons(row, "latency_ns.p50")) - set(device.void_reasons(*_states(row)))
        kept.append(not others)
    return frame.assign(throttled=marks)[kept]


def _states(row: dict) -> list[dict]:
    """What device.void_reasons needs of the conditions before and after."""
    flags = [row.get(f"conditions.{when}.throttled") for when in ("before", "after")]
    known = [value if isinstance(value, str) else None for value in flags]  # NaN where it was null
    return [{"throttled": value} for value in known]


def _row_reasons(row: dict, by: str) -> list[str]:
    written = row.get("void_reasons")
    reasons = list(written) if isinstance(written, list) else []
    reasons += device.void_reasons(*_states(row)) + contention_reasons(row.get("contention"))
    if row.get("valid") is not True and not reasons:
        reasons.append("the record says that it is not valid")
    if row[by] is None or row[by] != row[by]:
        reasons.append(f"it has no {by}")
    return list(dict.fromkeys(reasons))


def summary(frame):
    """A row for each machine, model, runtime, threads, batch and scenario, by machine and p50: a DataFrame to print.

    The latest that counts, or the latest where none does; those come last, with the reason in the last column.
    """
    import pandas

    frame = each_run_once(frame)
    same = [
        "host.machine_id",
        "host.board",
        "host.cpu",
        "model.name",
        "model.sha256",
        "runtime.name",
        "runtime.version",
        "runtime.threads",
        "batch",
        "scenario",
    ]
    frame = frame.reindex(
        columns=[
            *same,
            "model.precision",
            "model.bytes",
            "latency_ns.p50",
            "latency_ns.p90",
            "quality.value",
            "valid",
            "void_reasons",
        ]
    )
    frame["valid"] = frame["valid"].eq(True)
    latest = frame.sort_values("valid", kind="stable").drop_duplicates(same, keep="last")
    p50 = latest["latency_ns.p50"].astype(float) / 1e3
    table = pandas.DataFrame(
        {
            "machine": latest["host.board"].fillna(latest["host.cpu"]),
            "model": latest["model.name"],
            "runtime": latest["runtime.name"].astype(str)
            + " "
            + latest["runtime.version"].astype(str),
            "precision": latest["model.precision"],
            "threads": latest["runtime.threads"],
            "batch": latest["batch"],
            "scenario": latest["scenario"],
            "p50 (µs)": p50.round(1),
            "p90 (µs)": (latest["latency_ns.p90"].astype(float) / 1e3).round(1),
            "file (MB)": (latest["model.bytes"].astype(float) / 1e6).round(2),
            "accuracy": latest["quality.value"],
            "counts": [
                "yes" if valid else "; ".join(why) if isinstance(why, list) else "no"
                for valid, why in zip(latest["valid"], latest["void_reasons"])
            ],
        }
    )
    return (
        table.assign(void=~latest["valid"])
        .sort_values(["machine", "void", "p50 (µs)"])
        .drop(columns="void")
    )
