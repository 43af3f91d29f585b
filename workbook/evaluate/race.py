"""Time all files in turns, each in a process of its own, and store a record of each."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

from helpers import device, results, timing
from helpers.workers import Worker
from modelfiles.errors import reason
from workbook.evaluate import quality
from workbook.evaluate.candidates import Candidate
from workbook.evaluate.examples import Examples
from workbook.evaluate.rows import Row, of_candidate, with_difference, without_file


def run(
    candidates: Sequence[Candidate],
    examples: Examples,
    *,
    task: str,
    threads: int,
    rounds: int,
    store: Path,
) -> list[Row]:
    """A Row for each candidate, in their order; those with valid answers are measured and stored.

    Every file answers all examples, in its own process, so that a file that crashes a runtime ends
    only that process. Then all files are timed in turns, one example a call.
    """
    rows: dict[Candidate, Row] = {}
    workers: dict[Candidate, Worker] = {}
    with ExitStack() as stack:
        for candidate in candidates:
            if candidate.path is None:
                rows[candidate] = without_file(candidate)
                continue
            try:
                workers[candidate] = stack.enter_context(Worker(candidate.path, threads))
            except (RuntimeError, ValueError, OSError) as error:
                rows[candidate] = without_file(candidate, reason(error))
        answers = {}
        found = {}
        for candidate, worker in workers.items():
            try:
                answers[candidate] = worker.predict(examples.x)
                found[candidate] = quality.of(task, answers[candidate], examples.y)
            except (RuntimeError, ValueError, quality.AnswersError) as error:
                rows[candidate] = without_file(candidate, reason(error))
        racing = {candidate: workers[candidate] for candidate in found}
        if racing:
            reference = answers[next(iter(racing))]
            before = device.conditions()
            latencies: dict = timing.benchmark(racing, rounds=rounds)
            after = device.conditions()
            for candidate, worker in racing.items():
                latency = latencies[candidate]
                record = _record(candidate, worker, latency, before, after, found[candidate])
                results.append_result(store, record)
                row = of_candidate(candidate, worker, latency, found[candidate], record)
                rows[candidate] = with_difference(row, answers[candidate], reference)
    return [rows[candidate] for candidate in candidates]


def _record(
    candidate: Candidate,
    worker: Worker,
    latency: timing.Latency,
    before: dict,
    after: dict,
    found: quality.Quality,
) -> dict:
    facts = results.model_facts(*candidate.parts)
    facts |= {"input_shape": worker.input_shape, "precision": worker.precision}
    peak = worker.peak_rss()
    stated = {"metric": found.metric, "value": found.value, "n": found.n}
    if found.low is not None:
        stated["ci"] = [found.low, found.high]
    return results.record(
        latency,
        before=before,
        after=after,
        model=facts,
        runtime={"name": worker.runtime, "version": worker.version, "threads": worker.threads},
        peak_rss={"run": peak} if peak else None,
        quality=stated,
        method={"seed": 0, "discard": 1},
    )


def as_json(rows: Sequence[Row]) -> list[dict]:
    """The rows as plain values for JSON."""
    plain = [results.to_json(asdict(replace(row, latency=None))) for row in rows]
    return [{name: value for name, value in row.items() if name != "latency"} for row in plain]
