"""Start the processes of a race, two at a time."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager

from helpers.workers import Worker
from modelfiles.errors import reason
from modelfiles.limits import NO_LIMITS, Limits
from workbook.evaluate import opening
from workbook.evaluate.candidates import Candidate
from workbook.evaluate.rows import Row, without_file

STARTING = 2  # processes that start at the same time


@contextmanager
def started(
    candidates: Sequence[Candidate],
    threads: int,
    known: dict[Candidate, Row],
    limits: Limits = NO_LIMITS,
    example: tuple[int, ...] = (),
) -> Iterator[dict[Candidate, Worker]]:
    """The workers of the candidates that have a file, two starting at a time.

    `known` gets a row for each candidate that cannot be started. The processes end with the block.
    """
    for candidate in candidates:
        if candidate.path is None:
            known[candidate] = without_file(candidate)
    workers: dict[Candidate, Worker] = {}
    with ExitStack() as stack:
        with two_at_a_time() as pool:
            starting = {
                one: pool.submit(_start, one, threads, limits, example, stack)
                for one in candidates
                if one.path
            }
            wait(starting.values())
        for candidate, future in starting.items():
            found = future.result()
            if isinstance(found, str):
                known[candidate] = without_file(candidate, found)
            else:
                workers[candidate] = found
        yield workers


@contextmanager
def two_at_a_time() -> Iterator[ThreadPoolExecutor]:
    """Threads that begin nothing new after Ctrl-C."""
    pool = ThreadPoolExecutor(STARTING)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _start(
    candidate: Candidate, threads: int, limits: Limits, example: tuple[int, ...], stack: ExitStack
) -> Worker | str:
    """The worker, which ends with `stack`, or the reason why it cannot be started."""
    assert candidate.path is not None
    try:
        worker = opening.start(candidate.path, candidate.runtime, threads, limits, example)
    except (RuntimeError, ValueError, OSError) as error:
        return reason(error)
    stack.callback(worker.close)
    return worker
