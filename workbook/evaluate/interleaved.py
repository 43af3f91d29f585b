"""Time workers in turns, and keep what was measured if the race is interrupted."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from helpers import timing
from helpers.timing import SMALLEST_ROUNDS, Latency

Name = TypeVar("Name")


class WorkerEnded(RuntimeError):
    """The process of the candidate `name` ended during the race."""

    def __init__(self, name: Any, why: str) -> None:
        super().__init__(why)
        self.name = name


class _Watched:
    """A worker of timing.benchmark whose rounds are kept as they are measured."""

    def __init__(
        self,
        name: object,
        worker,
        finished: Callable[[], None],
        is_interrupted: threading.Event,
        calls: int | None,
    ) -> None:
        self.threads = worker.threads
        self._calls = calls
        self.rounds: list[tuple] = []
        self._name = name
        self._worker = worker
        self._finished = finished
        self._is_interrupted = is_interrupted
        self._is_calibrated = False

    def warm_up(self) -> timing.WarmUp:
        self.warm = self._ask(self._worker.warm_up)
        return self.warm

    def time_calls(self, calls: int, discard: int) -> tuple:
        if self._is_calibrated:
            calls = self._calls or calls
        taken = self._ask(self._worker.time_calls, calls, discard)
        if self._is_calibrated:
            self.rounds.append(taken)
            self._finished()
        self._is_calibrated = True  # benchmark's first calls only find out how many a round needs
        return taken

    def latency(self, rounds: int) -> Latency:
        wall, cpu, whole = (np.stack(part) for part in zip(*self.rounds[:rounds]))
        return Latency(wall, cpu, whole, self.warm, self.threads)

    def _ask(self, function: Callable, *arguments: int):
        if self._is_interrupted.is_set():
            raise KeyboardInterrupt
        try:
            return function(*arguments)
        except (RuntimeError, ValueError, OSError) as error:
            raise WorkerEnded(self._name, str(error)) from error


@contextmanager
def _between_calls() -> Iterator[threading.Event]:
    """An event that is set by Ctrl-C in the block. A second Ctrl-C raises KeyboardInterrupt.

    In the middle of a round, KeyboardInterrupt would leave a worker's answer unread, and the next
    request would get it. Only the main thread receives signals.
    """
    is_interrupted = threading.Event()

    def interrupt(number: int, frame: object) -> None:
        if is_interrupted.is_set():
            raise KeyboardInterrupt
        is_interrupted.set()

    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield is_interrupted
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield is_interrupted
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def measure(
    workers: Mapping[Name, Any],
    rounds: int,
    finished: Callable[[int], None],
    min_round_s: float = 0.02,
    least: int = SMALLEST_ROUNDS,
    calls: Mapping[Name, int] | None = None,
) -> tuple[dict[Name, Latency], int]:
    """{name: Latency} of `workers` after `rounds` interleaved rounds, and the number of rounds.

    After each round, `finished` gets the number of complete rounds. If Ctrl-C interrupts the race,
    the complete rounds are returned. KeyboardInterrupt if these are fewer than `least`. `calls` are
    the calls of a round, if they are known from an earlier piece. WorkerEnded if a process ends.
    """
    watched: dict[Name, _Watched] = {}

    def complete() -> int:
        return min(len(one.rounds) for one in watched.values())

    def report() -> None:
        # a round ends with its last candidate, which is another one in every round
        if len({len(one.rounds) for one in watched.values()}) == 1:
            finished(complete())

    with _between_calls() as is_interrupted:
        for name, worker in workers.items():
            watched[name] = _Watched(name, worker, report, is_interrupted, (calls or {}).get(name))
        try:
            timing.benchmark(watched, rounds=rounds, min_round_s=min_round_s)
        except KeyboardInterrupt:
            if complete() < least:
                raise
    done = complete()
    return {name: one.latency(done) for name, one in watched.items()}, done
