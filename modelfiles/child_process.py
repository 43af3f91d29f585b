"""A child process that answers requests: one line of JSON to it, one line of JSON back.

The workers that time a model, the process that opens converted files and the C++ programs use this
protocol.
"""

import contextlib
import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from typing import IO, Any, cast

from modelfiles.limits import NO_LIMITS, Limits
from modelfiles.programs import environment, outcome


class ProcessEnded(Exception):
    """The process ended instead of answering. The message has its status and last output line."""


class ChildProcess:
    """`command`, running with `threads` OpenMP threads and this workbook in PYTHONPATH.

    It is killed when it breaks one of `limits`. `settings` are more environment variables. OSError
    if it cannot be started.
    """

    def __init__(
        self,
        command: list[str],
        threads: int = 1,
        limits: Limits = NO_LIMITS,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._limits = limits
        self._is_late = False
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  for close()
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
                encoding="utf-8",
                env=environment({"OMP_NUM_THREADS": str(threads), **(settings or {})}),
            )
        except OSError:
            self._log.close()
            raise
        limits.apply_to(self._process.pid)
        self._requests = cast(IO[str], self._process.stdin)
        self._answers = cast(IO[str], self._process.stdout)

    @property
    def is_running(self) -> bool:
        """Whether the process is still running."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def ask(self, *request: object) -> Any:
        """The answer to `request`; ProcessEnded if there is none."""
        # if the process has ended, receive raises ProcessEnded
        with contextlib.suppress(BrokenPipeError):
            self._requests.write(json.dumps(request, ensure_ascii=False) + "\n")
            self._requests.flush()
        return self.receive()

    def receive(self) -> Any:
        """The next answer; ProcessEnded if there is none."""
        timer = None
        if self._limits.seconds is not None:
            timer = threading.Timer(self._limits.seconds, self._kill_late)
            timer.start()
        try:
            line = self._answers.readline()
        finally:
            if timer:
                timer.cancel()
        if not line:
            raise ProcessEnded(self._how_it_ended())
        return json.loads(line)

    def _kill_late(self) -> None:
        self._is_late = True
        self.kill()

    def _how_it_ended(self) -> str:
        status = self._process.wait()
        if self._is_late:
            return f"no answer within {self._limits.seconds:g} s"
        self._log.seek(0)
        output = self._log.read()
        return self._limits.broken(output) or outcome(status, output)

    def kill(self) -> None:
        """End the process; a thread that waits for an answer gets ProcessEnded."""
        self._process.kill()

    def close(self) -> None:
        """End the process and release its resources."""
        self.kill()
        self._process.wait()
        self._answers.close()
        with contextlib.suppress(BrokenPipeError):  # an unread request
            self._requests.close()
        self._log.close()


def only_answers_on_stdout() -> IO[str]:
    """In the child process: the stream for its answers.

    From now on, output of libraries to standard output goes to standard error.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def send(answers: IO[str], content: object) -> None:
    """Write one answer."""
    answers.write(json.dumps(content) + "\n")
    answers.flush()
