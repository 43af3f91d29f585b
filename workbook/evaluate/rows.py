"""The table of `workbook evaluate`: a row for each runtime and precision."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from helpers import metrics, timing
from helpers.workers import Worker
from workbook.evaluate.candidates import Candidate
from workbook.evaluate.quality import Quality
from workbook.evaluate.runtimes import RUNTIMES

WORKS = "works"
FAILS = "fails"


@dataclass(frozen=True)
class Row:
    """What is known of one candidate. A field is None if it was not measured.

    `state` is "works" or "fails"; `why` gives the reason for the second. `ratio` is p50 of the
    fastest valid row over this row's, with its 95 % interval: 1 for the fastest, 0.5 for one that
    takes twice as long. `ties` says that the interval holds 1. `difference` is the largest
    difference of an output from the first row's.
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
    peak_mb: float | None = None
    valid: bool | None = None
    void_reasons: Sequence[str] = ()
    latency: timing.Latency | None = field(default=None, repr=False)


def without_file(candidate: Candidate, why: str = "") -> Row:
    """The row of a candidate that cannot be measured."""
    precision = "int8" if candidate.is_int8 else "float32"
    file = candidate.path.name if candidate.path else None
    title = RUNTIMES[candidate.runtime].title
    return Row(title, precision, FAILS, why or candidate.problem, file)


def of_candidate(
    candidate: Candidate,
    worker: Worker,
    latency: timing.Latency,
    found: Quality,
    record: dict,
) -> Row:
    """The row of a candidate that was measured; `with_ratios` adds how the rows compare."""
    peak = worker.peak_rss()
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
        valid=record["valid"],
        void_reasons=record["void_reasons"],
        latency=latency,
    )


def with_difference(row: Row, answers: np.ndarray, reference: np.ndarray) -> Row:
    """The row with the largest difference of its answers from those of the first file."""
    if answers.shape != reference.shape:
        return row
    return replace(row, difference=float(metrics.largest_difference(answers, reference)))


def with_ratios(rows: Sequence[Row]) -> list[Row]:
    """The rows with their ratio to the fastest valid one; without `latency`, which has served."""
    measured = [row for row in rows if row.latency is not None]
    valid = [row for row in measured if row.valid] or measured
    fastest = min(valid, key=lambda row: row.p50_ms or 0, default=None)
    return [replace(_compared(row, fastest), latency=None) for row in rows]


def _compared(row: Row, fastest: Row | None) -> Row:
    if row.latency is None or fastest is None or fastest.latency is None:
        return row
    if row is fastest:
        return replace(row, ratio=1.0, ratio_low=1.0, ratio_high=1.0)
    found = timing.speedup(fastest.latency, row.latency)
    ties = found.low <= 1 <= found.high
    return replace(row, ratio=found.value, ratio_low=found.low, ratio_high=found.high, ties=ties)


def as_text(rows: Sequence[Row]) -> str:
    """The rows as a table for people, the fastest first; those that fail below, with the reason."""
    import pandas

    works = sorted(
        (row for row in rows if row.state == WORKS), key=lambda row: (not row.valid, row.p50_ms)
    )
    lines = []
    if works:
        table = pandas.DataFrame([_columns(row) for row in works])
        lines.append(table.to_string(index=False))
    lines += [f"{row.runtime}, {row.precision}: {row.why}" for row in rows if row.state == FAILS]
    return "\n".join(lines)


def _columns(row: Row) -> dict[str, str]:
    compared = "fastest"
    if row.ratio != 1.0 or row.ties:
        compared = f"{row.ratio:.2f} [{row.ratio_low:.2f}, {row.ratio_high:.2f}]"
    if row.ties:
        compared += " ties"
    quality = f"{row.quality:.4g}"
    if row.metric == "accuracy":
        quality = f"{row.quality:.1%} [{row.quality_low:.1%}, {row.quality_high:.1%}]"
    peak = "-" if row.peak_mb is None else f"{row.peak_mb:.0f}"
    difference = "-" if row.difference is None else f"{row.difference:.1e}"
    return {
        "runtime": f"{row.runtime} {row.version}",
        "precision": row.precision,
        "threads": str(row.threads),
        "kB": f"{(row.bytes or 0) / 1e3:,.0f}",
        "first call (ms)": f"{row.first_call_ms:.2f}",
        "p50 (ms)": f"{row.p50_ms:.3f}",
        "p90 (ms)": f"{row.p90_ms:.3f}",
        "speed, of the fastest": compared,
        str(row.metric): quality,
        "largest difference": difference,
        "peak (MB)": peak,
        "valid": "yes" if row.valid else "; ".join(row.void_reasons),
    }
