"""The table of `workbook evaluate`: a row for each runtime and precision."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

from helpers import results
from helpers.workers import Worker
from workbook.evaluate import pieces
from workbook.evaluate.candidates import Candidate
from workbook.evaluate.operators import Operators
from workbook.evaluate.pieces import Timed
from workbook.evaluate.quality import Quality
from workbook.evaluate.runtimes import RUNTIMES
from workbook.evaluate.verdicts import FAILS, WORKS, Verdict
from workbook.evaluate.watched import WatchedWorker


@dataclass(frozen=True)
class Row:
    """What is known of one candidate. A field is None if it was not measured.

    `state` is one of verdicts.TITLES; `why` gives the reason for all but "works". `ratio` is p50 of
    the fastest valid row over this row's, with its 95 % interval (pieces.speedup): 1 for the
    fastest, 0.5 for one that takes twice as long. `ties` says that the interval holds 1.

    `difference` is the largest difference of an answer from MODEL's, and `relative` the same as a
    share of MODEL's largest answer. `changed` of `compared` examples have another class than with
    MODEL. For int8, `accuracy_change` is the accuracy minus MODEL's, on the same examples, with its
    interval and McNemar's p. `peak_mb` and `average_mb` are the memory of the file's own process.
    `delegated` of `operators` run in `delegate`; `int8_share` is the share of time in int8.
    """

    runtime: str
    precision: str
    state: str
    why: str = ""
    file: str | None = None
    version: str | None = None
    threads: int | None = None
    bytes: int | None = None
    first_call_ms: float | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    ties: bool = False
    metric: str | None = None
    quality: float | None = None
    quality_low: float | None = None
    quality_high: float | None = None
    accuracy: float | None = None
    others: dict[str, float] = field(default_factory=dict)
    difference: float | None = None
    relative: float | None = None
    changed: int | None = None
    compared: int | None = None
    accuracy_change: float | None = None
    accuracy_change_low: float | None = None
    accuracy_change_high: float | None = None
    accuracy_change_p: float | None = None
    peak_mb: float | None = None
    average_mb: float | None = None
    delegate: str | None = None
    delegated: int | None = None
    operators: int | None = None
    int8_share: float | None = None
    valid: bool | None = None
    void_reasons: Sequence[str] = ()
    times: Timed | None = field(default=None, repr=False)


def without_file(candidate: Candidate, why: str = "") -> Row:
    """The row of a candidate that cannot be measured."""
    state = FAILS if why else candidate.state
    file = candidate.path.name if candidate.path else None
    title = RUNTIMES[candidate.runtime].title
    why = why or candidate.problem
    return Row(title, candidate.precision, state, why, file, difference=candidate.difference)


def of_wrong(candidate: Candidate, verdict: Verdict) -> Row:
    """The row of a file whose answers are wrong: its time would be of no use."""
    return with_verdict(without_file(candidate, verdict.why), verdict)


def of_candidate(
    candidate: Candidate,
    worker: Worker,
    times: Timed,
    found: Quality,
    record: dict,
) -> Row:
    """The row of a candidate that was measured; `with_ratios` adds how the rows compare."""
    latency = times.whole
    peak = worker.peak_rss()
    average = worker.average_rss() if isinstance(worker, WatchedWorker) else None
    return Row(
        runtime=worker.runtime,
        precision=worker.precision,
        state=WORKS,
        file=worker.path.name,
        version=worker.version,
        threads=worker.threads,
        bytes=sum(part.stat().st_size for part in candidate.parts),
        first_call_ms=latency.warm_up.first_call_ns / 1e6,
        p50_ms=latency.percentile(50) / 1e6,
        p90_ms=latency.percentile(90) / 1e6,
        metric=found.metric,
        quality=found.value,
        quality_low=found.low,
        quality_high=found.high,
        accuracy=found.value if found.metric == "accuracy" else None,
        others=found.others,
        peak_mb=peak / 1e6 if peak else None,
        average_mb=average / 1e6 if average else None,
        valid=record["valid"],
        void_reasons=record["void_reasons"],
        times=times,
    )


def with_verdict(row: Row, verdict: Verdict) -> Row:
    """The row with the comparison of its answers with MODEL's."""
    row = replace(
        row,
        state=verdict.state,
        why=verdict.why,
        difference=verdict.difference,
        relative=verdict.relative,
        changed=verdict.changed,
        compared=verdict.compared,
    )
    paired = verdict.paired
    if paired is None or row.precision in ("float32", "float16"):
        return row
    return replace(
        row,
        accuracy_change=paired.value,
        accuracy_change_low=paired.low,
        accuracy_change_high=paired.high,
        accuracy_change_p=paired.p,
    )


def with_operators(row: Row, found: Operators) -> Row:
    """The row with what its runtime reports about its operators."""
    return replace(
        row,
        delegate=found.delegate,
        delegated=found.delegated,
        operators=found.all,
        int8_share=found.int8_share,
    )


def with_ratios(rows: Sequence[Row]) -> list[Row]:
    """The rows with their ratio to the fastest valid one; without `times`, which have served."""
    measured = [row for row in rows if row.times is not None]
    valid = [row for row in measured if row.valid] or measured
    fastest = min(valid, key=lambda row: row.p50_ms or 0, default=None)
    return [replace(_compared(row, fastest), times=None) for row in rows]


def _compared(row: Row, fastest: Row | None) -> Row:
    if row.times is None or fastest is None or fastest.times is None:
        return row
    if row is fastest:
        return replace(row, ratio=1.0, ratio_low=1.0, ratio_high=1.0)
    found = pieces.speedup(fastest.times, row.times)
    ties = found.low <= 1 <= found.high
    return replace(row, ratio=found.value, ratio_low=found.low, ratio_high=found.high, ties=ties)


def as_json(rows: Sequence[Row]) -> list[dict]:
    """The rows as plain values for JSON."""
    plain = [results.to_json(asdict(replace(row, times=None))) for row in rows]
    return [{name: value for name, value in row.items() if name != "times"} for row in plain]
