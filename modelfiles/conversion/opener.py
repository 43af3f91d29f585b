"""Open and run a model file in a separate process, because loaders crash on damaged files.

The process is `python -m modelfiles.conversion.opener`. It reads one JSON request per line and
answers with one line. Images and outputs are passed as .npy files.
"""

import atexit
import contextlib
import importlib
import json
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from modelfiles.child_process import ChildProcess, ProcessEnded, only_answers_on_stdout, send
from modelfiles.errors import ConversionError

TORCH_SUFFIXES = (".pt2", ".torchscript", ".pte")  # they share a process with torch
# the process imports this while the network is being converted
PRELOAD = {
    ".pt2": "torch._dynamo",
    ".torchscript": "torch._dynamo",
    ".pte": "torch._dynamo",
    ".onnx": "onnxruntime",
    ".tflite": "ai_edge_litert.interpreter",
    ".ncnn.param": "ncnn",
    ".mnn": "MNN",
}
IDLE_S = 60  # the shared process is closed after this time
LIMIT_S = 600  # for one request, including the import of a runtime


class Opener:
    """The process, for files that end in `suffix`.

    `answers` runs a file on images, `input_shape` only opens it.
    """

    def __init__(self, suffix: str) -> None:
        self._process = ChildProcess(
            [sys.executable, "-m", "modelfiles.conversion.opener", PRELOAD[suffix]]
        )

    @property
    def is_running(self) -> bool:
        """Whether the process is still running."""
        return self._process.is_running

    def input_shape(self, path: Path) -> tuple[int | None, ...] | None:
        """The input's shape, NCHW, with None for a free size; None if it is unknown."""
        shape = self._ask(path)["input_shape"]
        if shape is None:
            return None
        return tuple(shape)

    def answers(self, path: Path, images: np.ndarray) -> np.ndarray:
        """The outputs of the file at `path` for `images`, float32 N x channels x height x width.

        Raises ConversionError if the file cannot be opened or run, or if it ends the process, and
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
        self._process.close()

    def _ask(self, path: Path, *files: str) -> dict:
        timer = threading.Timer(LIMIT_S, self._process.kill)
        timer.start()
        try:
            reply = self._process.ask(str(Path(path).resolve()), *files)
        except ProcessEnded as error:
            raise ConversionError(f"opening or running it ends the process ({error})") from error
        finally:
            timer.cancel()
        if "missing" in reply:
            raise ImportError(reply["missing"])
        if "error" in reply:
            raise ConversionError(reply["error"])
        return reply


@contextlib.contextmanager
def opener(suffix: str) -> Iterator[Opener]:
    """An Opener for files that end in `suffix`: a new process, or the shared one with torch."""
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
    """An Opener that is kept for the next file and closed after IDLE_S without one."""

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

    answers = only_answers_on_stdout()
    for module in sys.argv[1:]:
        with contextlib.suppress(ImportError):  # open_model reports it
            importlib.import_module(module)
    for line in sys.stdin:
        send(answers, _reply(runtimes, *json.loads(line)))


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
