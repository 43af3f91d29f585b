"""Which records are valid, and how they compare."""

from helpers import validity


def each_run_once(frame):
    """`frame` with the first row of each run_id: a file may be copied, or fetched twice."""
    if "run_id" not in frame:
        return frame
    repeats = frame["run_id"].map(str).duplicated() & frame["run_id"].notna()
    return frame[~repeats].reset_index(drop=True)


def rank(frame, by: str = "latency_ns.p50"):
    """The valid rows, sorted by the column `by`, smallest first; each run once.

    Rows that are marked invalid, were throttled or contended (even if `valid` is True), or have no
    number in `by` are skipped. `attrs["invalid"]` lists them as {"run_id": ..., "reasons": [...]}.
    ValueError if the column is missing or no row is valid.
    """
    frame = each_run_once(frame)
    if by not in frame.columns:
        raise ValueError(
            f"there is no column {by!r} to rank by; columns: {', '.join(map(str, frame.columns))}"
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
    """The rows that are valid, and those that only throttling makes invalid: for a sustained run.

    There the slower clock is the result, so throttled rows are worth showing. The new column
    `throttled` names the flags ("throttled, frequency capped"); it is "" if there are none, or if
    they are unknown. It is computed from the conditions, which records of every version have.
    `rank` skips throttled rows.
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
    """A DataFrame to print: a row for each machine, model, precision, runtime, threads and so on.

    The row shows the latest valid record, or the latest one if none is valid. Rows are sorted by
    machine and p50, the invalid ones of a machine last. The last column, "valid", has the reasons.
    """
    import pandas

    frame = each_run_once(frame)
    same = [
        "host.machine_id",
        "host.board",
        "host.cpu",
        "model.name",
        "model.sha256",
        "model.precision",
        "runtime.name",
        "runtime.version",
        "runtime.threads",
        "batch",
        "scenario",
    ]
    shown = ["model.bytes", "latency_ns.p50", "latency_ns.p90", "quality.value"]
    frame = frame.reindex(columns=[*same, *shown, "valid", "void_reasons"])
    frame["valid"] = frame["valid"].eq(True)
    latest = frame.sort_values("valid", kind="stable").drop_duplicates(same, keep="last")
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
            "p50 (µs)": latest["latency_ns.p50"].astype(float).div(1e3).round(1),
            "p90 (µs)": latest["latency_ns.p90"].astype(float).div(1e3).round(1),
            "file (MB)": latest["model.bytes"].astype(float).div(1e6).round(2),
            "accuracy": latest["quality.value"],
            "valid": list(map(_validity, latest["valid"], latest["void_reasons"])),
            "invalid": ~latest["valid"],
        }
    )
    return table.sort_values(["machine", "invalid", "p50 (µs)"]).drop(columns="invalid")


def _validity(valid: bool, reasons) -> str:
    """Whether a record is valid: "yes", the reasons why not, or "no" if it has none."""
    if valid:
        return "yes"
    if isinstance(reasons, list):
        return "; ".join(reasons)
    return "no"
