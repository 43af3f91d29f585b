"""`--tune`: search for settings that make a file faster, and do not find what is not there.

1. Search. All settings run in turns for a few rounds, the better half stays, with twice as many
   rounds, until one is left: successive halving (Jamieson and Talwalkar, 2016). First threads and
   cores are searched, then one option of the runtime at a time.
2. Final. The winner of a search looks faster than it is, because the luckiest of many was chosen.
   So its times of the search are not used. Default and winner are measured again, in fresh
   processes, three times. There is a gain only if the interval of their ratio is above LEAST_GAIN
   each time. Without a gain, one interval is above 1 by chance in 2.5 % of cases, and three are
   only if the three pairs of processes are lucky independently. Two processes with the same file
   differ a little for as long as they live, by where their memory is; that is why there are three
   pairs, and why a ratio below LEAST_GAIN is not called a gain: with two identical candidates, the
   worst of 15 ratios was 0.85 % off (facts of the timer, on two cores of an AMD EPYC).
"""

import math
import signal
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from helpers import timing
from helpers.workers import Worker
from modelfiles.errors import reason
from workbook.evaluate import settings
from workbook.evaluate.candidates import Candidate
from workbook.evaluate.interleaved import WorkerEnded, measure
from workbook.evaluate.settings import Setting

FIRST_ROUNDS = 4
PAIRS = 3
LEAST_GAIN = 1.01
TOLERANCE = 1e-3  # of the largest answer: a setting must not change the answers
Start = Callable[[Setting], AbstractContextManager]


@dataclass(frozen=True)
class Tuning:
    """The result for one file. `ratio` is p50 of the default over p50 of `best`, in the final.

    `low` and `high` are the lowest and the highest end of the intervals of the pairs. Without a
    gain, `best` is the setting that the search preferred.
    """

    default: Setting
    best: Setting
    ratio: float
    low: float
    high: float
    is_gain: bool
    tried: int
    skipped: tuple[str, ...] = ()

    def __str__(self) -> str:
        measured = f"{self.ratio:.2f} [{self.low:.2f}, {self.high:.2f}]"
        if self.is_gain:
            return f"{self.best}: {measured} times as fast as the default, {self.default}"
        if self.best == self.default:
            return f"no gain: of {self.tried} settings, none was faster than the default"
        return (
            f"no gain: of {self.tried} settings, {self.best} looked best, and measured again it is "
            f"{measured} times as fast as the default"
        )


def tune(
    default: Setting,
    placements: Sequence[Setting],
    variants: Callable[[Setting], Sequence[Setting]],
    start: Start,
    *,
    rounds: int,
    say: Callable[[str], None],
    keep: Callable[[Setting, Any, timing.Latency], None] | None = None,
    min_round_s: float = 0.02,
) -> Tuning:
    """Search `placements`, then `variants` of the best one, and compare it with the default.

    `start` starts a worker with a setting, for a `with` block; RuntimeError or ValueError if that
    is impossible. `rounds` are those of each pair of the final. `keep` gets what the final measured
    of each worker.
    """
    skipped: list[str] = []
    say(f"trying {len(placements)} numbers of threads and cores ...")
    placed = halving(placements, start, skipped, say, min_round_s)
    others = list(variants(placed))
    best = placed
    if len(others) > 1:
        say(f"trying {len(others)} options with {placed} ...")
        best = halving(others, start, skipped, say, min_round_s)
    tried = len({*placements, *others})
    if best == default:
        return Tuning(default, best, 1.0, 1.0, 1.0, False, tried, tuple(skipped))
    say(f"measuring again: the default and {best} ...")
    ratios = [_pair(default, best, start, rounds, keep, min_round_s) for _ in range(PAIRS)]
    low = min(ratio.low for ratio in ratios)
    return Tuning(
        default,
        best,
        median(ratio.value for ratio in ratios),
        low,
        max(ratio.high for ratio in ratios),
        low > LEAST_GAIN,
        tried,
        tuple(skipped),
    )


def halving(
    candidates: Sequence[Setting],
    start: Start,
    skipped: list[str],
    say: Callable[[str], None],
    min_round_s: float = 0.02,
) -> Setting:
    """The best setting by successive halving; the first one if no other can be started.

    `skipped` gets a sentence for each setting that cannot be used.
    """
    with ExitStack() as stack:
        running: dict[Setting, Any] = {}
        for setting in candidates:
            try:
                running[setting] = stack.enter_context(start(setting))
            except (RuntimeError, ValueError, OSError) as error:
                skipped.append(f"{setting}: {reason(error)}")
        rounds = FIRST_ROUNDS
        while len(running) > 1:
            try:
                latencies = _measured(running, rounds, min_round_s)
            except WorkerEnded as error:
                skipped.append(f"{error.name}: {error}")
                del running[error.name]
                continue
            ranked = sorted(running, key=lambda one: latencies[one].percentile(50))
            running = {one: running[one] for one in ranked[: math.ceil(len(ranked) / 2)]}
            rounds *= 2
            say(f"{len(running)} of {len(candidates)} settings are left")
    return next(iter(running), candidates[0])


def _pair(
    default: Setting,
    best: Setting,
    start: Start,
    rounds: int,
    keep: Callable[[Setting, Any, timing.Latency], None] | None,
    min_round_s: float,
) -> timing.Ratio:
    """The speed of `best` relative to the default, in fresh processes."""
    with start(default) as first, start(best) as second:
        workers = {default: first, best: second}
        latencies = _measured(workers, rounds, min_round_s)
        if keep:
            for setting, worker in workers.items():
                keep(setting, worker, latencies[setting])
    return timing.speedup(latencies[default], latencies[best])


def _measured(
    workers: dict[Setting, Any], rounds: int, min_round_s: float
) -> dict[Setting, timing.Latency]:
    latencies, done = measure(workers, rounds, lambda number: None, min_round_s=min_round_s)
    if done < rounds:  # Ctrl-C: half a search is of no use
        raise KeyboardInterrupt
    return latencies


class RestingWorker(Worker):
    """A worker whose process is stopped between requests.

    With OMP_WAIT_POLICY=active, threads spin while they wait, also when another setting has its
    turn, and would slow that one down. Windows cannot stop a process.
    """

    def _ask(self, *request: object) -> Any:
        self._send("SIGCONT")
        try:
            return super()._ask(*request)
        finally:
            self._send("SIGSTOP")

    def _send(self, name: str) -> None:
        if hasattr(signal, name):
            self._process._process.send_signal(getattr(signal, name))


def starter(candidate: Candidate, x: np.ndarray, wanted: np.ndarray) -> Start:
    """A function that starts the candidate's file with a setting and checks its answers for `x`.

    It raises ValueError if they differ from `wanted`.
    """
    path = candidate.path
    assert path is not None

    def start(setting: Setting) -> Worker:
        with settings.pinned(setting.cores):
            worker = RestingWorker(path, setting.threads, settings=setting.variables())
        try:
            difference = float(np.abs(worker.predict(x) - wanted).max())
            if not difference <= TOLERANCE * float(np.abs(wanted).max()):
                raise ValueError(f"its answers differ by {difference:.2g}")
        except BaseException:
            worker.close()
            raise
        return worker

    return start
