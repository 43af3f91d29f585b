"""Time all files in turns, each in a process of its own, and store a record of each."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from helpers import device, results
from helpers.paths import display_path
from helpers.workers import Worker
from modelfiles.errors import EXIT_INTERRUPTED, WorkbookError, reason
from modelfiles.limits import NO_LIMITS, Limits
from workbook.evaluate import operators, pieces, progress, quality, verdicts
from workbook.evaluate.candidates import Candidate
from workbook.evaluate.examples import Examples
from workbook.evaluate.interleaved import WorkerEnded
from workbook.evaluate.measured import quality_facts, record_of
from workbook.evaluate.pieces import Timed
from workbook.evaluate.rows import (
    Row,
    of_candidate,
    of_wrong,
    with_operators,
    with_verdict,
    without_file,
)
from workbook.evaluate.starting import started, two_at_a_time
from workbook.evaluate.verdicts import Verdict


class RaceStopped(WorkbookError):
    """The race ended early. `rows` are those that are known; complete records were stored."""

    def __init__(self, sentence: str, rows: Sequence[Row], exit_code: int = 1) -> None:
        super().__init__(sentence)
        self.rows = list(rows)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Entrant:
    """A candidate whose process runs, its answers to all examples, and their quality."""

    candidate: Candidate
    worker: Worker
    answers: np.ndarray
    quality: quality.Quality

    @property
    def precision(self) -> str:
        """The precision that was asked for; of MODEL's own file, the one in the file."""
        return self.worker.precision if self.candidate.is_source else self.candidate.precision

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return self.worker.input_shape


def run(
    candidates: Sequence[Candidate],
    examples: Examples,
    *,
    task: str,
    threads: int,
    rounds: int,
    store: Path,
    limits: Limits = NO_LIMITS,
    softmax: bool = False,
    reference: np.ndarray | None = None,
    say: Callable[[str], None] = progress.say,
) -> list[Row]:
    """A Row for each candidate, in their order; those with valid answers are measured and stored.

    Every file answers all examples, in its own process, so that a file that crashes a runtime ends
    only that process; `limits` are those of each. With `softmax`, probabilities are compared
    instead of logits. Answers are compared with `reference`, MODEL's answers for all examples;
    without it with those of MODEL's own file, or else of the first file. verdicts explains the
    limits. Then all files with right answers are timed in turns, one example a call, in several
    pieces with processes of their own (pieces). RaceStopped
    after Ctrl-C, with the records of the complete rounds stored, or if a record cannot be stored.
    """
    known: dict[Candidate, Row] = {}
    with ExitStack() as processes:
        workers = processes.enter_context(
            started(candidates, threads, known, limits, examples.x.shape)
        )
        entrants = _checked(workers, examples, task, softmax, known)
        judged = _judged(entrants, task, softmax, reference, examples.y)
        for candidate, verdict in judged.items():
            if verdict.state == verdicts.WRONG and entrants[candidate].precision != "int8":
                known[candidate] = of_wrong(candidate, verdict)
                del entrants[candidate]
        if entrants:
            say(f"racing {len(entrants)} files, {rounds} rounds ...")

        def restart(racing: Sequence[Candidate]) -> dict[Candidate, Worker]:
            processes.close()
            return processes.enter_context(
                started(racing, threads, known, limits, examples.x.shape)
            )

        before = device.conditions()
        timed, done = _measured(entrants, restart, known, rounds, say)
        after = device.conditions()
        saved, problem = _stored(entrants, timed, judged, before, after, known, store)
    _add_operators(entrants, known)
    rows = [known.get(one) or without_file(one, "it was not measured") for one in candidates]
    if problem:
        raise RaceStopped(f"{problem} ({saved} of {len(timed)} records were saved)", rows)
    if timed and done < rounds:
        raise RaceStopped(
            f"Interrupted after {done} of {rounds} rounds. {saved} records of these rounds are in "
            f"{display_path(store)}.",
            rows,
            EXIT_INTERRUPTED,
        )
    return rows


def _checked(
    workers: Mapping[Candidate, Worker],
    examples: Examples,
    task: str,
    softmax: bool,
    known: dict[Candidate, Row],
) -> dict[Candidate, Entrant]:
    """The candidates that answer all examples; `known` gets a row for each other one."""

    def check(candidate: Candidate) -> Entrant | str:
        worker = workers[candidate]
        try:
            answers = worker.predict(examples.inputs_for(worker))
            found = _quality(task, answers, examples.y)
            if softmax:
                answers = quality.compared(task, answers)
            return Entrant(candidate, worker, answers, found)
        except (RuntimeError, ValueError, OSError, WorkbookError) as error:
            return reason(error)

    entrants = {}
    with two_at_a_time() as pool:
        for candidate, found in zip(workers, pool.map(check, workers)):
            if isinstance(found, str):
                known[candidate] = without_file(candidate, found)
            else:
                entrants[candidate] = found
    return entrants


def _measured(
    entrants: dict[Candidate, Entrant],
    restart: Callable[[Sequence[Candidate]], dict[Candidate, Worker]],
    known: dict[Candidate, Row],
    total: int,
    say: Callable[[str], None],
) -> tuple[dict[Candidate, Timed], int]:
    """The times, and the number of rounds. A file whose process ends is no longer raced.

    Each entrant gets the process that ran its last piece.
    """
    racing = list(entrants)

    def again() -> dict[Candidate, Worker]:
        workers = restart(racing)
        for candidate, worker in workers.items():
            entrants[candidate] = replace(entrants[candidate], worker=worker)
        return workers

    while racing:
        finished = progress.Rounds(total, say).finished
        workers = {candidate: entrants[candidate].worker for candidate in racing}
        try:
            return pieces.run(workers, again, total, finished)
        except WorkerEnded as error:
            say(f"{error}; the race starts again without it")
            known[error.name] = without_file(error.name, str(error))
            racing.remove(error.name)
    return {}, 0


def _stored(
    entrants: Mapping[Candidate, Entrant],
    timed: Mapping[Candidate, Timed],
    judged: Mapping[Candidate, Verdict],
    before: dict,
    after: dict,
    known: dict[Candidate, Row],
    store: Path,
) -> tuple[int, str]:
    """Store a record and know a row of each; the number of stored records, and what stopped it."""
    saved = 0
    problem = ""
    for candidate, times in timed.items():
        entrant = entrants[candidate]
        stated = quality_facts(entrant.quality)
        record = record_of(
            candidate,
            entrant.worker,
            times.whole,
            before,
            after,
            stated,
            between=times.across_pieces,
        )
        row = of_candidate(candidate, entrant.worker, times, entrant.quality, record)
        row = replace(row, precision=entrant.precision)
        known[candidate] = with_verdict(row, judged[candidate])
        if problem:
            continue
        try:
            results.append_result(store, record)
            saved += 1
        except OSError as error:
            problem = str(error)
    return saved, problem


def _quality(task: str, answers: np.ndarray, y: Any) -> quality.Quality:
    """The quality of answers; without true answers `y` there is none."""
    if y is None:
        return quality.Quality("", None, None, None, len(answers), {})
    return quality.of(task, answers, y)


def _judged(
    entrants: Mapping[Candidate, Entrant],
    task: str,
    softmax: bool,
    reference: np.ndarray | None,
    y: Any,
) -> dict[Candidate, Verdict]:
    """The verdict on the answers of each entrant; a file that was given is only compared."""
    if reference is not None and softmax:
        reference = quality.compared(task, reference)
    found = verdicts.of_all(
        {candidate: entrant.answers for candidate, entrant in entrants.items()},
        {candidate: entrant.precision for candidate, entrant in entrants.items()},
        reference,
        y if task == "classification" else None,
    )
    return {
        candidate: replace(verdict, state=verdicts.WORKS, why="") if candidate.is_given else verdict
        for candidate, verdict in found.items()
    }


def _add_operators(entrants: Mapping[Candidate, Entrant], known: dict[Candidate, Row]) -> None:
    """Complete the rows that were measured by what their runtimes report."""
    measured = [
        (candidate, candidate.path, entrant.shape)
        for candidate, entrant in entrants.items()
        if candidate.path and candidate in known
    ]
    reports = operators.of_files([(path, shape) for _, path, shape in measured])
    for (candidate, _, _), report in zip(measured, reports):
        known[candidate] = with_operators(known[candidate], report)
