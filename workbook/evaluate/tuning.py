"""Tune every file of a command, store the records of the finals, and say what was found."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from helpers import device, results
from helpers.workers import Worker
from modelfiles.errors import reason
from workbook.evaluate import settings, tune
from workbook.evaluate.candidates import Candidate
from workbook.evaluate.examples import Examples
from workbook.evaluate.measured import record_of
from workbook.evaluate.runtimes import RUNTIMES
from workbook.evaluate.settings import Setting
from workbook.evaluate.tune import Tuning

CHECKED = 16  # examples whose answers every setting must give


def run(
    candidates: Sequence[Candidate],
    examples: Examples,
    *,
    threads: int,
    rounds: int,
    store: Path,
    say: Callable[[str], None],
) -> list[dict]:
    """For each candidate what was found, in plain values; "text" says it in words."""
    found = []
    for candidate in candidates:
        if candidate.path is None:
            found.append(_row(candidate, candidate.problem))
            continue
        say(f"tuning {candidate.path.name} ...")
        try:
            tuned = _tune(candidate, examples.x, threads, rounds, store, say)
            found.append(_row(candidate, tuned))
        except (RuntimeError, ValueError) as error:
            found.append(_row(candidate, reason(error)))
    return found


def _tune(
    candidate: Candidate,
    x: np.ndarray,
    threads: int,
    rounds: int,
    store: Path,
    say: Callable[[str], None],
) -> Tuning:
    assert candidate.path is not None
    default = Setting(threads)
    with Worker(candidate.path, threads) as worker:
        batch = worker.input_shape[0]  # a file takes whole batches only
        x = x[: max(1, CHECKED // batch) * batch]
        wanted = worker.predict(x)
    before = device.conditions()

    def keep(setting: Setting, worker: Worker, latency) -> None:
        after = device.conditions()
        facts = setting.facts()
        record = record_of(candidate, worker, latency, before, after, options=facts or None)
        results.append_result(store, record)

    return tune.tune(
        default,
        settings.placements(default, settings.cores_here()),
        lambda base: settings.variants(candidate.runtime, base),
        tune.starter(candidate, x, wanted),
        rounds=rounds,
        say=say,
        keep=keep,
    )


def as_text(found: Sequence[dict]) -> str:
    """A line for each file."""
    lines = []
    for row in found:
        lines.append(f"{row['file'] or row['runtime']}: {row['text']}")
        lines += [f"  skipped: {sentence}" for sentence in row.get("skipped", [])]
    return "\n".join(lines)


def _row(candidate: Candidate, tuning: Tuning | str) -> dict:
    row: dict = {
        "runtime": RUNTIMES[candidate.runtime].title,
        "file": candidate.path.name if candidate.path else None,
        "text": str(tuning),
    }
    if isinstance(tuning, str):
        return row
    return row | {
        "default": _facts(tuning.default),
        "best": _facts(tuning.best),
        "ratio": tuning.ratio,
        "ratio_low": tuning.low,
        "ratio_high": tuning.high,
        "gain": tuning.is_gain,
        "tried": tuning.tried,
        "skipped": list(tuning.skipped),
    }


def _facts(setting: Setting) -> dict:
    return {"threads": setting.threads, **setting.facts()}
