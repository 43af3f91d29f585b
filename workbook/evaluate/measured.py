"""The record of one measured file, as helpers.results stores it."""

from helpers import results, timing
from helpers.timing import Interval
from helpers.workers import Worker
from workbook.evaluate.candidates import Candidate
from workbook.evaluate.quality import Quality


def quality_facts(found: Quality) -> dict | None:
    """The quality of a file's answers as a part of its record; None if it is not known."""
    if found.value is None:
        return None
    stated: dict = {"metric": found.metric, "value": found.value, "n": found.n}
    if found.low is not None:
        stated["ci"] = [found.low, found.high]
    return stated


def record_of(
    candidate: Candidate,
    worker: Worker,
    latency: timing.Latency,
    before: dict,
    after: dict,
    stated: dict | None = None,
    options: dict | None = None,
    between: Interval | None = None,
) -> dict:
    """The record of one measurement.

    `stated` is its quality, `options` are unusual settings. `between` is p50 across processes.
    """
    facts = results.model_facts(*candidate.parts)
    facts |= {"input_shape": worker.input_shape, "precision": worker.precision}
    peak = worker.peak_rss()
    runtime = {"name": worker.runtime, "version": worker.version, "threads": worker.threads}
    return results.record(
        latency,
        before=before,
        after=after,
        model=facts,
        runtime=runtime | {"options": options},
        between=between,
        peak_rss={"run": peak} if peak else None,
        quality=stated,
        method={"seed": 0, "discard": 1},
    )
