"""The timers of the runtimes' authors, next to ours: for the same file, in turns."""

import hashlib
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.intervals import Interval, student_t
from helpers.workers import Worker
from modelfiles.errors import WorkbookError
from modelfiles.programs import ProgramFailed, run_program

ROUND_S = 0.3  # a round of either timer lasts about this long
MOST_CALLS = 2000


class NoTimer(WorkbookError):
    """There is no other timer for a file here; the message says how to get one."""


@dataclass(frozen=True)
class Timer:
    """A program of others: mean_ms(calls, threads) runs it, and returns the mean time of a call.

    `remark` is what to know when its times are compared with ours.
    """

    name: str
    mean_ms: Callable[[int, int], float]
    remark: str = ""


def timer_for(path: Path) -> Timer:
    """The other timer for a model file; NoTimer if there is none."""
    if path.name.endswith(".tflite"):
        program = os.environ.get("BENCHMARK_MODEL")
        return _benchmark_model(_existing(program), path) if program else _litert_benchmark(path)
    if path.name.endswith(".ncnn.param"):
        program = os.environ.get("BENCHNCNN")
        if not program:
            raise NoTimer(
                "ncnn's package contains no benchncnn: build it from ncnn's repository (cmake with "
                "-DNCNN_BUILD_BENCHMARK=ON), and set BENCHNCNN to its path"
            )
        return _benchncnn(_existing(program), path)
    raise NoTimer(
        f"no other timer is known for {path.name}: there is one for .tflite and for .ncnn.param"
    )


def take_turns(timer: Timer, worker: Worker, rounds: int) -> np.ndarray:
    """Mean times of a call in ms, rounds x 2: by `timer` and by `worker`, who take turns."""
    worker.warm_up()
    typical_ns = float(np.median(worker.time_calls(5, discard=1)[0]))
    calls = int(np.clip(ROUND_S * 1e9 / max(typical_ns, 1.0), 10, MOST_CALLS))
    pairs = []
    for number in range(rounds):
        if number % 2:  # neither is always the first
            ours = _ours_ms(worker, calls)
            theirs = timer.mean_ms(calls, worker.threads)
        else:
            theirs = timer.mean_ms(calls, worker.threads)
            ours = _ours_ms(worker, calls)
        pairs.append((theirs, ours))
    return np.array(pairs)


def _ours_ms(worker: Worker, calls: int) -> float:
    return float(worker.time_calls(calls, discard=5)[0].mean()) / 1e6


def ratio(pairs: np.ndarray) -> Interval:
    """Theirs / ours with its 95 % interval: Student's t for the mean logarithm of the rounds.

    >>> ratio(np.array([[2.0, 1.0]] * 6))
    Interval(value=2.0, low=2.0, high=2.0)
    """
    logs = np.log(pairs[:, 0]) - np.log(pairs[:, 1])
    n = len(logs)
    half = student_t(n - 1) * logs.std(ddof=1) / np.sqrt(n)
    low, value, high = np.exp([logs.mean() - half, logs.mean(), logs.mean() + half])
    return Interval(float(value), float(low), float(high))


def _existing(program: str) -> Path:
    path = Path(program).resolve()
    if not path.is_file() or not os.access(path, os.X_OK):
        raise NoTimer(f"{program} is no program that can be run: is it executable (chmod +x)?")
    return path


def _benchmark_model(program: Path, path: Path) -> Timer:
    digest = hashlib.sha256(program.read_bytes()).hexdigest()

    def mean_ms(calls: int, threads: int) -> float:
        command = [
            str(program),
            f"--graph={path.resolve()}",
            f"--num_threads={threads}",
            f"--num_runs={calls}",
            "--min_secs=0",
            "--warmup_min_secs=0.1",
        ]
        found = re.findall(r"Inference \(avg\):\s*([\d.e+]+)", _output(command, program.name))
        return _number(found, program.name) / 1e3  # in microseconds

    return Timer(program.name, mean_ms, f"SHA-256 of {program.name}: {digest}")


def _litert_benchmark(path: Path) -> Timer:
    name = "litert-benchmark"

    def mean_ms(calls: int, threads: int) -> float:
        command = [sys.executable, "-m", "ai_edge_litert.tools.benchmark_litert_model"]
        command += [f"--model={path.resolve()}", f"--num_runs={calls}", f"--num_threads={threads}"]
        found = re.findall(r"Inference \(avg\):\s+([\d.]+) ms", _output(command, name))
        return _number(found, name)

    remark = (
        f"{name} rounds to 0.01 ms, which limits the ratio of fast files. It times the call alone; "
        "ours includes copying the input and the output. For LiteRT's program in C++, set "
        "BENCHMARK_MODEL: see `workbook timers --help`."
    )
    return Timer(name, mean_ms, remark)


def _benchncnn(program: Path, path: Path) -> Timer:
    shape = _ncnn_shape(path)

    def mean_ms(calls: int, threads: int) -> float:
        # loops, threads, power mode, GPU (-1: none), cooling down, then the file
        command = [str(program), str(calls), str(threads), "0", "-1", "0"]
        command += [f"param={path.resolve()}", f"shape=[{shape}]"]
        found = re.findall(r"avg\s+=\s*([\d.]+)", _output(command, program.name))
        return _number(found, program.name)

    remark = (
        "benchncnn replaces the weights by zeros and rounds to 0.01 ms. It may use half precision, "
        "which ours switches off."
    )
    return Timer(program.name, mean_ms, remark)


def _ncnn_shape(path: Path) -> str:
    """Width, height and channels of the input, as benchncnn takes them."""
    line = next(line for line in path.read_text().splitlines() if line.startswith("Input "))
    fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
    if not {"0", "1", "2"} <= set(fields):
        raise NoTimer(f"{path.name} does not contain the size of its input")
    return ",".join(fields[axis] for axis in ("0", "1", "2"))


def _output(command: list[str], name: str) -> str:
    """What a program prints, also to standard error: the programs differ in that."""
    shell = ["sh", "-c", 'exec "$@" 2>&1', "sh", *command]
    try:
        return run_program(shell, name)
    except ProgramFailed as error:
        raise NoTimer(str(error)) from error


def _number(found: list[str], name: str) -> float:
    if not found:
        raise NoTimer(f"{name} printed no mean time: is it another version than the known one?")
    return float(found[-1])
