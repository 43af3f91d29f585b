"""`--plan`: what would run, how long it would take, and whether it fits into memory.

Nothing is converted or raced. If MODEL is a file, one process opens it and times a few calls. All
other figures are estimates: COST has what was measured on one machine (two cores of an AMD EPYC
with AVX-512, 2026, MnistNet). A file that was converted before has its own figure.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.workers import Worker
from modelfiles.errors import reason
from workbook.evaluate import kept, reuse
from workbook.evaluate.pieces import split
from workbook.evaluate.progress import duration
from workbook.evaluate.runtimes import RUNTIMES, runtime_of
from workbook.evaluate.source import Source
from workbook.evaluate.starting import STARTING

ROUND_S = 0.02  # what timing.benchmark gives a candidate in a round, with at least MIN_CALLS calls
MIN_CALLS = 10
WARM_UP_S = 0.3
CONVERTING_MB = 1600  # torch, a converter and the process that opens the file


@dataclass(frozen=True)
class Cost:
    """Seconds to convert to a runtime and to int8, seconds to start it, and its memory in MB."""

    convert_s: float
    int8_s: float
    start_s: float
    memory_mb: float


# facts: conversion of a process that has torch loaded; start and memory of a process with MnistNet
COST = {
    "torch": Cost(3, 0, 4, 250),
    "onnx": Cost(7, 3, 1, 70),
    "tflite": Cost(12, 6, 1, 60),
    "ncnn": Cost(5, 0, 1, 50),
    "mnn": Cost(1, 1, 1, 55),
    "executorch": Cost(13, 30, 8, 390),
}
OTHER = Cost(10, 10, 4, 300)


@dataclass(frozen=True)
class Step:
    """A file: what happens to it, how long it takes, and the memory of its process in MB."""

    text: str
    convert_s: float
    start_s: float
    memory_mb: float


def plan(
    model: str,
    source: Callable[[], Source],
    runtimes: Sequence[str] | None,
    x: np.ndarray,
    calibration: np.ndarray | None,
    folder: Path,
    threads: int,
    rounds: int,
    free_bytes: int,
    half: bool = False,
) -> str:
    """The plan in lines. `x` are the examples, `free_bytes` is the memory that is free."""
    own = runtime_of(Path(model))
    call_s, basis = _call_s(model, threads)
    names = runtimes or reuse.possible(model, source)
    steps = [
        step
        for name in names
        for step in _steps(model, own, name, x[:1], calibration, folder, half)
    ]
    lines = [f"{len(steps)} files, {len(x)} examples, {rounds} rounds, {threads} thread(s) each"]
    lines += [f"  {step.text}" for step in steps]
    convert_s = sum(step.convert_s for step in steps)
    start_s = sum(step.start_s for step in steps) / min(STARTING, os.cpu_count() or 1)
    start_s *= len(split(rounds))
    round_s = max(ROUND_S, MIN_CALLS * call_s)
    answer_s = len(steps) * len(x) * call_s
    race_s = len(steps) * (WARM_UP_S * len(split(rounds)) + rounds * round_s)
    total_s = convert_s + start_s + answer_s + race_s
    lines.append(
        f"Time, an estimate: {duration(total_s)} (converting {duration(convert_s)}, starting "
        f"processes {duration(start_s)}, answering {duration(answer_s)}, racing "
        f"{duration(race_s)}); {basis}"
    )
    memory_mb = sum(step.memory_mb for step in steps)
    if convert_s:
        memory_mb = max(memory_mb, CONVERTING_MB)
    lines.append(_memory_line(memory_mb, free_bytes, len(steps)))
    lines.append("Nothing was converted or raced: run the command without --plan.")
    return "\n".join(lines)


def _steps(
    model: str,
    own: str | None,
    runtime: str,
    example: np.ndarray,
    calibration: np.ndarray | None,
    folder: Path,
    half: bool,
) -> list[Step]:
    cost = COST.get(runtime, OTHER)
    size = Path(model).stat().st_size if Path(model).is_file() else 0
    # a process holds the file and, in most runtimes, its weights in another order
    memory_mb = cost.memory_mb + 2 * size / 1e6
    if own is None or not Path(model).is_file():
        texts = [(f"{runtime}: convert", cost.convert_s)]
        if calibration is not None and RUNTIMES[runtime].has_int8:
            texts.append((f"{runtime}, int8: convert", cost.int8_s))
        if half and RUNTIMES[runtime].has_half:
            texts.append((f"{runtime}, float16: convert", cost.convert_s))
        return [Step(f"{text}, {duration(s)}", s, cost.start_s, memory_mb) for text, s in texts]
    steps = []
    files = reuse.kept_files(Path(model), runtime, example, folder, calibration, half)
    for precision, path, recipe in files:
        form = "" if precision == "float32" else f", {precision}"
        seconds = 0.0
        if recipe is None:
            text = "MODEL itself"
        elif kept.is_current(path, recipe):
            text = f"{path.name} exists and is used again"
        else:
            usual_s = cost.int8_s if precision == "int8" else cost.convert_s
            seconds = kept.seconds_of(path) or usual_s
            text = f"convert to {path.name}, {duration(seconds)}"
        steps.append(Step(f"{runtime}{form}: {text}", seconds, cost.start_s, memory_mb))
    return steps


def _call_s(model: str, threads: int) -> tuple[float, str]:
    """The seconds of a call, and in words where this figure is from."""
    path = Path(model)
    if runtime_of(path) and path.is_file():
        try:
            with Worker(path, threads) as worker:
                wall, _, _ = worker.time_calls(5, discard=1)
            found = float(np.median(wall)) / 1e9
            return found, f"a call of {path.name} took {found * 1e3:.3g} ms just now"
        except (RuntimeError, ValueError, OSError) as error:
            return 0.01, f"a call is assumed to take 10 ms ({reason(error)})"
    return 0.01, "a call is assumed to take 10 ms: MODEL was not run"


def _memory_line(memory_mb: float, free_bytes: int, count: int) -> str:
    free_mb = free_bytes / 1e6
    start = f"Memory, an estimate: {memory_mb:,.0f} MB for {count} processes at once"
    if memory_mb <= free_mb:
        return f"{start}; {free_mb:,.0f} MB are free, so it fits"
    return (
        f"{start}; only {free_mb:,.0f} MB are free, so it does not fit: name fewer --runtimes, "
        "or close other programs"
    )
