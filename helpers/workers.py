"""Time each model file in its own process, so that runtimes do not disturb each other.

Two runtimes in one process compete for threads, and one can slow the other down many times
(notebook 03 shows this). A Worker loads one file with one thread count in a fresh process and reads
the clocks there.

The process is Python with modelfiles.runtimes, or a program with the same protocol, such as those
of cpp/, started as `PROGRAM MODEL THREADS`. It writes a line of JSON about the model. Then it
answers each line of standard input with one line. A request is a JSON list: a command and its
arguments. Images and outputs are passed in files of raw numbers: float32, or the type in the answer
to "predict".
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from helpers import timing
from helpers.paths import ROOT, display_path
from modelfiles import child_process
from modelfiles.child_process import ChildProcess, ProcessEnded
from modelfiles.limits import NO_LIMITS, Limits
from modelfiles.runtimes import pyarmnn_file
from modelfiles.runtimes.opening import check_threads

# Not under WORKBOOK_BUILD: the programs contain no results, and compiling them again takes minutes.
CPP_FOLDER = ROOT / "build" / "cpp"
Name = TypeVar("Name")


def cpp_program(runtime: str) -> Path:
    """The path of the C++ program for "libtorch", "ncnn" or "mnn", which `make cpp` builds."""
    return CPP_FOLDER / f"bench_{runtime}"


class Worker:
    """The model at `path` in its own process, a candidate for timing.benchmark.

    It times calls with one fixed random image. Use it in a `with` block: the process ends with the
    block. `runtime`, `version`, `precision` and `input_shape` describe the model; `load_ns` is the
    time to import the runtime and load the file. A `program`, such as cpp_program("ncnn"), replaces
    Python; `delegate` is that of runtimes.open_model, and "pyarmnn" starts the system's Python. The
    process gets `limits`, for files of unknown origin, and `settings` as environment variables.
    `example` is the shape of an input, for sizes that the file leaves free. `rounds` is whether the
    file takes whole numbers without a scale.

    ValueError if the model cannot be opened, RuntimeError if the process cannot be started or ends.
    """

    def __init__(
        self,
        path: Path | str,
        threads: int = 1,
        program: Path | str | None = None,
        delegate: str | None = None,
        limits: Limits = NO_LIMITS,
        settings: Mapping[str, str] | None = None,
        example: tuple[int, ...] = (),
    ) -> None:
        if program and delegate:
            raise ValueError(f"{Path(program).name} takes no delegate: pass only one of the two")
        self.path = Path(path)
        self.threads = check_threads(threads)
        file = [str(self.path.resolve()), str(threads)]
        if program:
            command = [str(program), *file]
        else:
            python = pyarmnn_file.python() if delegate == "pyarmnn" else sys.executable
            command = [python, "-m", "helpers.workers", *file, delegate or "", json.dumps(example)]
        try:
            self._process = ChildProcess(command, self.threads, limits, settings)
        except OSError as error:
            raise RuntimeError(
                f"{display_path(command[0])} cannot be started ({error.strerror}): "
                "`make cpp` builds it"
            ) from error
        try:
            info = self._checked(self._process.receive)
            self.runtime = info["runtime"]
            self.version = info["version"]
            self.precision = info["precision"]
            self.input_shape = tuple(info["input_shape"])
            self.load_ns = info["load_ns"]
            self.rounds = info.get("rounds", False)
            with tempfile.TemporaryDirectory() as folder:
                image = Path(folder, "image")
                np.random.default_rng(0).standard_normal(self.input_shape, np.float32).tofile(image)
                self._ask("image", str(image))
        except BaseException:
            self.close()
            raise

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The outputs for the images `x`, float32 N x channels x height x width.

        Shape and type are those of runtimes.Model.predict. For a file that takes integers they are
        rounded and clipped. ValueError for wrong images.
        """
        given = type(x).__name__
        if isinstance(x, np.ndarray):
            given = f"{x.dtype} {x.shape}"
        is_float32 = isinstance(x, np.ndarray) and x.dtype == np.float32 and x.size > 0
        if not is_float32 or x.shape[1:] != self.input_shape[1:]:
            wanted = " x ".join(map(str, self.input_shape[1:]))
            raise ValueError(f"{self.path.name} takes images as float32 N x {wanted}, not {given}")
        if not np.isfinite(x).all():
            raise ValueError(
                f"the images for {self.path.name} contain NaN or infinity; "
                "check how they were normalized"
            )
        with tempfile.TemporaryDirectory() as folder:
            images = Path(folder, "images")
            logits = Path(folder, "logits")
            x.tofile(images)
            info: Any = self._ask("predict", str(images), str(logits))
            if not isinstance(info, dict):  # a C++ program: always float32 logits
                info = {"dtype": "float32", "shape": (len(x), -1)}
            return np.fromfile(logits, info["dtype"]).reshape(info["shape"])

    def warm_up(self) -> timing.WarmUp:
        """Run timing.warm_up in the worker process."""
        return timing.WarmUp(**self._ask("warm_up"))

    def time_calls(self, calls: int, discard: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run timing.time_calls in the worker process; the same three int64 arrays."""
        wall, cpu, whole = self._ask("time_calls", calls, discard)
        return np.array(wall, np.int64), np.array(cpu, np.int64), np.array(whole, np.int64)

    def peak_rss(self) -> int | None:
        """The peak memory of the process so far in bytes; None if the system does not report it."""
        return self._ask("peak_rss")

    def close(self) -> None:
        """End the process."""
        self._process.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, *request: object) -> Any:
        return self._checked(self._process.ask, *request)

    def _checked(self, exchange: Callable[..., Any], *request: object) -> Any:
        """The answer. ValueError for the process's error, RuntimeError if it has ended."""
        try:
            answer = exchange(*request)
        except ProcessEnded as error:
            raise RuntimeError(f"the process of {self.path.name} ended ({error})") from error
        if isinstance(answer, dict) and "error" in answer:
            raise ValueError(answer["error"])
        return answer


@contextmanager
def start_all(starters: Mapping[Name, Callable[[], Worker]]) -> Iterator[dict[Name, Worker]]:
    """{name: Worker}, two processes starting at a time; they end with the `with` block.

    `starters` has functions that start one, such as partial(Worker, path). If one raises an error,
    so does this function, and the others end.
    """
    with ExitStack() as stack:
        with ThreadPoolExecutor(2) as pool:
            starting = {name: pool.submit(start) for name, start in starters.items()}
        for future in starting.values():
            if not future.exception():
                stack.enter_context(future.result())
        yield {name: future.result() for name, future in starting.items()}


def _serve(path: str, threads: int, delegate: str, example: str) -> None:
    import signal
    import time

    from helpers import device, runtimes

    # a terminal sends Ctrl-C to all processes; the one that started this one ends it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    send = partial(child_process.send, child_process.only_answers_on_stdout())
    start = time.perf_counter_ns()
    try:
        opened = runtimes.open_model(path, threads, delegate or None)
        model = opened.for_floats(json.loads(example))
    except (OSError, ValueError, ImportError) as error:
        send({"error": str(error)})
        return
    if not model.input_shape or None in model.input_shape:
        problem = (
            f"{model.path.name} does not contain its input shape, so it cannot be timed: export it "
            "with fixed sizes (only the number of images may be free)"
        )
        send({"error": problem})
        return
    send(
        {
            "runtime": model.runtime,
            "version": model.version,
            "precision": model.precision,
            "input_shape": model.input_shape,
            "rounds": model.rounds,
            "load_ns": time.perf_counter_ns() - start,
        }
    )
    shape = tuple(size for size in model.input_shape if size is not None)
    image = np.zeros(shape, np.float32)

    def images(file: str) -> np.ndarray:
        return np.fromfile(file, np.float32).reshape(-1, *shape[1:])

    def call() -> None:
        model.run(image)

    def handle(request: list) -> object:
        nonlocal image
        match request:
            case ["image", file]:
                image = images(file)
                return None
            case ["predict", file, logits]:
                answer = model.predict(images(file))
                answer.tofile(logits)
                return {"dtype": answer.dtype.name, "shape": answer.shape}
            case ["warm_up"]:
                return vars(timing.warm_up(call))
            case ["time_calls", calls, discard]:
                return [part.tolist() for part in timing.time_calls(call, calls, discard)]
            case ["peak_rss"]:
                return device.peak_rss_of_this_process()
            case unknown:
                raise ValueError(f"unknown request {unknown}")

    for line in sys.stdin.buffer:  # always UTF-8, unlike the encoding of this process
        try:
            send(handle(json.loads(line)))
        except ValueError as error:
            send({"error": str(error)})


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]), *sys.argv[3:5])
