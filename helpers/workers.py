"""A model file in a process of its own, to be timed beside others without disturbing them.

Two runtimes in one process compete for threads, and one can slow the other many times over (notebook 03 shows
it). A Worker loads one file with one thread count in a fresh process and reads the clocks there.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from helpers import timing
from helpers.paths import ROOT


class Worker:
    """The model at `path`, loaded in a process of its own and fed one fixed random image; a candidate for benchmark.

    Use it in a `with` block: the process ends with the block. `runtime`, `version`, `precision` and `input_shape`
    say what was loaded, `load_ns` how long importing the runtime and loading took.
    """

    def __init__(self, path: Path | str, threads: int = 1) -> None:
        self.path, self.threads = Path(path), threads
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
        self._log = tempfile.TemporaryFile("w+", errors="replace")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "helpers.workers", str(self.path.resolve()), str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, env=environment)
        try:
            about = self._receive()
            self.runtime, self.version, self.precision = about["runtime"], about["version"], about["precision"]
            self.input_shape, self.load_ns = tuple(about["input_shape"]), about["load_ns"]
        except BaseException:
            self.close()
            raise

    def warm_up(self) -> timing.WarmUp:
        """timing.warm_up, there."""
        return timing.WarmUp(**self._ask("warm_up"))

    def time_calls(self, calls: int, discard: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """timing.time_calls, there: wall and CPU nanoseconds of each call and of the round, int64."""
        wall, cpu, whole = (np.array(part, np.int64) for part in self._ask("time_calls", calls, discard))
        return wall, cpu, whole

    def peak_rss(self) -> int | None:
        """The most memory that the process has held so far, in bytes; None where the system does not tell."""
        return self._ask("peak_rss")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        with contextlib.suppress(BrokenPipeError):  # a request that the process can no longer read
            self._process.stdin.close()
        self._log.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, *request: object):
        with contextlib.suppress(BrokenPipeError):  # the process is gone: reading below says how it ended
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        return self._receive()

    def _receive(self):
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self._log.seek(0)
            last = (self._log.read().strip().splitlines() or ["it said nothing; was memory short?"])[-1]
            raise RuntimeError(f"the process that runs {self.path.name} died (exit status {code}): {last}")
        answer = json.loads(line)
        if isinstance(answer, dict) and "error" in answer:
            raise ValueError(answer["error"])
        return answer


def _serve(path: str, threads: int) -> None:
    import time

    from helpers import device, runtimes

    # answers go to the real standard output; whatever a runtime prints goes to the error stream
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(content: object) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    start = time.perf_counter_ns()
    try:
        model = runtimes.open_model(path, threads)
    except (OSError, ValueError, ImportError) as error:
        return answer({"error": str(error)})
    if not model.input_shape or None in model.input_shape:
        return answer({"error": f"{model.path.name} does not say how large its input is, so nothing can be fed to it"})
    answer({"runtime": model.runtime, "version": model.version, "precision": model.precision,
            "input_shape": model.input_shape, "load_ns": time.perf_counter_ns() - start})
    image = np.random.default_rng(0).standard_normal(model.input_shape, np.float32)

    def call() -> None:
        model.run(image)

    for line in sys.stdin:
        command, *arguments = json.loads(line)
        if command == "warm_up":
            answer(vars(timing.warm_up(call)))
        elif command == "time_calls":
            answer([part.tolist() for part in timing.time_calls(call, *arguments)])
        elif command == "peak_rss":
            answer(device.peak_rss_of_this_process())


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
