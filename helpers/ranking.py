"""Which of several records are valid, and how they compare."""

from helpers import validity


def each_run_once(frame):
    """`frame` without the rows whose run_id came before: files are copied, and fetched twice."""
    if "run_id" not in frame:
        return frame
    repeats = frame["run_id"].map(str).duplicated() & frame["run_id"].notna()
    return frame[~repeats].reset_index(drop=True)


def rank(frame, by: str = "latency_ns.p50"):
    """The valid rows, smallest `by` first, each run once.

    Skipped are rows that are not valid, were throttled or contended (even if `valid` is True), or
    have no `by`. They are in `attrs["invalid"]`, each as {"run_id": ..., "reasons": [...]}.
    ValueError if there is no such column or no row is left.
    """
    frame = each_run_once(frame)
    if by not in frame.columns:
        raise ValueError(
            f"there is no column {by!r} to rank by; there are {', '.join(map(str, frame.columns))}"
        )
    reasons = [validity.row_reasons(row, by) for row in frame.to_dict("records")]
    invalid = []
    for run_id, found in zip(frame["run_id"], reasons):
        if found:
            invalid.append({"run_id": run_id, "reasons": found})
    if len(invalid) == len(frame):
        why = sorted({reason for row in invalid for reason in row["reasons"]}) or ["no records"]
        raise ValueError(f"no valid measurement (0 of {len(frame)}): {'; '.join(why)}")
    valid = frame[[not found for found in reasons]]
    ranked = valid.sort_values(by, kind="stable", ignore_index=True)
    ranked.attrs["invalid"] = invalid
    return ranked


def keep_throttled(frame):
    """The rows that are valid, or would be if the Pi had not throttled, for a sustained run.

    There the slower clock is the result, so such rows are worth showing. The new column
    `throttled` names the flags ("throttled, frequency capped"), "" if none or unknown. It is
    computed from the conditions, so records of every version have it. `rank` skips marked rows.
    """
    rows = frame.to_dict("records")
    marks = [", ".join(validity.throttled_by(*validity.states(row)) or []) for row in rows]
    kept = []
    for row in rows:
        reasons = set(validity.row_reasons(row, "latency_ns.p50"))
        throttling = set(validity.throttling_reasons(*validity.states(row)))
        kept.append(not reasons - throttling)
    return frame.assign(throttled=marks)[kept]


def summary(frame):
    """A DataFrame to print: a row for each machine, model, runtime, threads, batch and scenario.

    The row is the latest valid record, or the latest if none is valid. Rows are sorted by machine
    and p50; invalid ones come last on their machine, with the reason in the last column.
    """
    import pandas

    frame = each_run_once(frame)
    machine = ["host.machine_id", "host.board", "host.cpu"]
    model = ["model.name", "model.sha256"]
    runtime = ["runtime.name", "runtime.version", "runtime.threads"]
    same = [*machine, *model, *runtime, "batch", "scenario"]
    shown = ["model.precision", "model.bytes", "latency_ns.p50", "latency_ns.p90", "quality.value"]
    frame = frame.reindex(columns=[*same, *shown, "valid", "void_reasons"])
    frame["valid"] = frame["valid"].eq(True)
    latest = frame.sort_values("valid", kind="stable").drop_duplicates(same, keep="last")
    p50_us = latest["latency_ns.p50"].astype(float) / 1e3
    p90_us = latest["latency_ns.p90"].astype(float) / 1e3
    megabytes = latest["model.bytes"].astype(float) / 1e6
    version = latest["runtime.version"].astype(str)
    table = pandas.DataFrame(
        {
            "machine": latest["host.board"].fillna(latest["host.cpu"]),
            "model": latest["model.name"],
            "runtime": latest["runtime.name"].astype(str) + " " + version,
            "precision": latest["model.precision"],
            "threads": latest["runtime.threads"],
            "batch": latest["batch"],
            "scenario": latest["scenario"],
            "p50 (µs)": p50_us.round(1),
            "p90 (µs)": p90_us.round(1),
            "file (MB)": megabytes.round(2),
            "accuracy": latest["quality.value"],
            "counts": list(map(_counts, latest["valid"], latest["void_reasons"])),
            "void": ~latest["valid"],
        }
    )
    return table.sort_values(["machine", "void", "p50 (µs)"]).drop(columns="void")


def _counts(valid: bool, reasons) -> str:
    """Whether a record counts: "yes", the reasons why not, or "no" if it has none."""
    if valid:
        return "yes"
    if isinstance(reasons, list):
        return "; ".join(reasons)
    return "no"
