"""A race in pieces, each with fresh processes.

The rounds of one process cannot show how two processes of the same file differ
(timing.speedup_across_repeats): with two identical files, an interval over such rounds held 1 in
only 15 of 20 races. So a race is split, each piece starts the processes again, and the interval of
a ratio is over pieces.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from helpers import timing
from helpers.timing import SMALLEST_ROUNDS, Interval, Latency, Ratio
from workbook.evaluate.interleaved import WorkerEnded, measure

Name = TypeVar("Name")
PIECES = 6  # Student's t of fewer gives intervals that are too wide to be of use
LEAST_ROUNDS = 3  # of a piece; a race with fewer rounds than PIECES times this is one piece


@dataclass(frozen=True)
class Timed:
    """The times of one file: of the complete pieces, and all rounds together as one Latency."""

    pieces: tuple[Latency, ...]
    whole: Latency

    @property
    def across_pieces(self) -> Interval | None:
        """The mean p50 of the processes in nanoseconds; None if there were too few."""
        if len(self.pieces) < PIECES:
            return None
        return timing.mean_across_repeats(self.pieces)


def split(rounds: int) -> list[int]:
    """The rounds of each piece.

    >>> split(20), split(6)
    ([4, 4, 3, 3, 3, 3], [6])
    """
    if rounds < PIECES * LEAST_ROUNDS:
        return [rounds]
    return [rounds // PIECES + (piece < rounds % PIECES) for piece in range(PIECES)]


def run(
    workers: Mapping[Name, Any],
    restart: Callable[[], Mapping[Name, Any]],
    rounds: int,
    finished: Callable[[int], None],
) -> tuple[dict[Name, Timed], int]:
    """{name: Timed} after `rounds` interleaved rounds, and the number of complete rounds.

    The first piece is run by `workers`. `restart` ends these processes and returns new ones, which
    have the same names. After each round, `finished` gets the number of complete rounds. If Ctrl-C
    interrupts the race, its complete rounds are returned. KeyboardInterrupt if these are too few
    for an interval. WorkerEnded if a process ends, or does not start again.
    """

    def report(before: int, of_piece: int) -> None:
        finished(before + of_piece)

    taken: dict[Name, list[Latency]] = {name: [] for name in workers}
    done = 0
    lengths = split(rounds)
    try:
        for number, length in enumerate(lengths):
            if number:
                workers = restart()
                _require(list(taken), workers)
            calls = {name: one[0].samples_ns.shape[1] for name, one in taken.items() if one}
            found, count = measure(
                workers,
                length,
                partial(report, done),
                least=max(1, SMALLEST_ROUNDS - done),
                calls=calls,
            )
            for name, latency in found.items():
                taken[name].append(latency)
            done += count
            if count < length:
                break
    except KeyboardInterrupt:
        if done < SMALLEST_ROUNDS:
            raise
    return {name: _together(one, lengths) for name, one in taken.items()}, done


def speedup(baseline: Timed, candidate: Timed) -> Ratio:
    """How many times faster `candidate` is than `baseline`, at p50; both of the same race.

    It is that of timing.speedup_across_repeats, over the pieces. A race that was too short for
    PIECES pieces, or interrupted, has the interval of timing.speedup, over its rounds.
    """
    if len(baseline.pieces) < PIECES:
        return timing.speedup(baseline.whole, candidate.whole)
    return timing.speedup_across_repeats(baseline.pieces, candidate.pieces)


def _require(names: Sequence[Name], workers: Mapping[Name, Any]) -> None:
    for name in names:
        if name not in workers:
            raise WorkerEnded(name, f"a process of {name} did not start again")


def _together(taken: Sequence[Latency], lengths: Sequence[int]) -> Timed:
    """The pieces of one file; the last one is left out of `pieces` if it was interrupted."""
    warm_up = replace(taken[0].warm_up, steady=all(one.warm_up.steady for one in taken))
    whole = Latency(
        np.concatenate([one.samples_ns for one in taken]),
        np.concatenate([one.cpu_ns for one in taken]),
        np.concatenate([one.round_ns for one in taken]),
        warm_up,
        taken[0].threads,
    )
    complete = [one for one, length in zip(taken, lengths) if len(one.samples_ns) == length]
    return Timed(tuple(complete), whole)
