"""A model file opened and run in a process of its own: loaders of damaged or odd files crash.

The process is `python -m modelfiles.conversion.opener`. It reads one JSON request per line and
answers with one line. Images and answers travel as .npy files.
"""

import atexit
import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import numpy as np

from modelfiles.errors import ConversionError
from modelfiles.places import ROOT

TORCH_SUFFIXES = (".pt2", ".torchscript", ".pte")  # they share a process that has loaded torch
# what a process imports while the network is still being converted
PRELOAD = {
    ".pt2": "torch._dynamo",
    ".torchscript": "torch._dynamo",
    ".pte": "torch._dynamo",
    ".onnx": "onnxruntime",
    ".tflite": "ai_edge_litert.interpreter",
    ".ncnn.param": "ncnn",
    ".mnn": "MNN",
}
IDLE_S = 60  # after which the shared process is closed
LIMIT_S = 600  # for one request, importing a runtime included


class Opener:
    """The process, for files that end in `suffix`.

    `answers` runs a file on images, `input_shape` only opens it.
    """

    def __init__(self, suffix: str) -> None:
        places = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  (close ends it)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "modelfiles.conversion.opener", PRELOAD[suffix]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": places},
        )
        self._requests = cast(IO[str], self._process.stdin)
        self._replies = cast(IO[str], self._process.stdout)

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def input_shape(self, path: Path) -> tuple[int | None, ...] | None:
        """The input's shape, NCHW; None in it is a free size, None instead of it an unknown one."""
        shape = self._ask(path)["input_shape"]
        if shape is None:
            return None
        return tuple(shape)

    def answers(self, path: Path, images: np.ndarray) -> np.ndarray:
        """What the file at `path` answers to `images`, float32 N x channels x height x width.

        Raises ConversionError if the file cannot be opened or run, or ends the process, and
        ImportError if its runtime is not installed.
        """
        with tempfile.TemporaryDirectory() as folder:
            sent = Path(folder, "images.npy")
            received = Path(folder, "answers.npy")
            np.save(sent, images, allow_pickle=False)
            self._ask(path, str(sent), str(received))
            return np.load(received, allow_pickle=False)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._replies.close()
        with contextlib.suppress(BrokenPipeError):
            self._requests.close()
        self._log.close()

    def _ask(self, path: Path, *files: str) -> dict:
        timer = threading.Timer(LIMIT_S, self._process.kill)
        timer.start()
        try:
            with contextlib.suppress(BrokenPipeError):  # reading below says how the process ended
                self._requests.write(json.dumps([str(Path(path).resolve()), *files]) + "\n")
                self._requests.flush()
            line = self._replies.readline()
        finally:
            timer.cancel()
        if not line:
            raise ConversionError(self._how_it_ended())
        reply = json.loads(line)
        if "missing" in reply:
            raise ImportError(reply["missing"])
        if "error" in reply:
            raise ConversionError(reply["error"])
        return reply

    def _how_it_ended(self) -> str:
        status = self._process.wait()
        self._log.seek(0)
        words = self._log.read().strip().splitlines() or ["no output"]
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        return f"opening or running it ends the process ({how}: {words[-1][:200]})"


@contextlib.contextmanager
def opener(suffix: str) -> Iterator[Opener]:
    """An Opener for files that end in `suffix`: a fresh one, or the one that has loaded torch."""
    if suffix in TORCH_SUFFIXES:
        with _shared.borrowed(suffix) as process:
            yield process
        return
    process = Opener(suffix)
    try:
        yield process
    finally:
        process.close()


class _Shared:
    """An Opener that is kept for the next file, and closed when none comes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: Opener | None = None
        self._timer: threading.Timer | None = None

    @contextlib.contextmanager
    def borrowed(self, suffix: str) -> Iterator[Opener]:
        """The process, for one file at a time."""
        with self._lock:
            if self._timer:
                self._timer.cancel()
            if self._process and not self._process.is_running:
                self._close()
            if not self._process:
                self._process = Opener(suffix)
            try:
                yield self._process
            finally:
                self._timer = threading.Timer(IDLE_S, self.close)
                self._timer.daemon = True
                self._timer.start()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._process:
            self._process.close()
            self._process = None


_shared = _Shared()
atexit.register(_shared.close)


def _serve() -> None:
    from modelfiles import runtimes

    # replies go to the real standard output; what a runtime prints goes to the error stream
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for module in sys.argv[1:]:
        with contextlib.suppress(ImportError):  # open_model says what to install
            importlib.import_module(module)
    for line in sys.stdin:
        replies.write(json.dumps(_reply(runtimes, *json.loads(line))) + "\n")
        replies.flush()


def _reply(runtimes, path: str, images: str | None = None, answers: str | None = None) -> dict:
    try:
        model = runtimes.open_model(path)
        if images and answers:
            found = model.predict(np.load(images, allow_pickle=False))
            np.save(answers, found, allow_pickle=False)
    except ImportError as error:
        return {"missing": str(error)}
    except Exception as error:
        words = str(error).strip().splitlines() or [type(error).__name__]
        return {"error": words[0][:300]}
    return {"input_shape": model.input_shape}


if __name__ == "__main__":
    _serve()
