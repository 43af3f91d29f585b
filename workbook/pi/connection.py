"""A connected Pi. One connection serves all requests, and no shell reads them.

OpenSSH runs the Pi's own python3 with the text of on_device.answers, which answers on standard
output. Passwords are never asked for.
"""

import base64
import contextlib
import json
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

from workbook.pi import ssh_problems
from workbook.pi.on_device import answers, evaluations, files, jobs, live
from workbook.pi.on_device.answers import RESULT
from workbook.pi.openssh import QUIET, PiError, Program, options, target, why_not_connected

START_S = 90  # until the Pi's python3 answers: the connection, its login shell, Python on a busy Pi
# quotes that every login shell reads in the same way, be it bash, fish or csh
PYTHON = "python3 -c 'exec(input())'"
LOST = (
    "the connection was lost. A job that was started there keeps running: run the same command "
    "again to reattach"
)


class Pi:
    """The Pi `host`, connected: "user@name", "user@name:port" or a name from ~/.ssh/config.

    Use it in a `with` block. Every method raises PiError if the Pi cannot do what is asked, or if
    the connection breaks.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self.folder = ""
        command = ["ssh", *options(host), *QUIET, *target(host), PYTHON]
        self._ssh = Program(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._requests = cast(IO[bytes], self._ssh.stdin)
        self._answers = cast(IO[bytes], self._ssh.stdout)
        stop_waiting = threading.Timer(START_S, self._ssh.kill)
        stop_waiting.start()
        printed_at_login: list[str] = []
        try:
            self._write(_program().encode() + b"\n")
            started = self._read(printed_at_login.append) is not None
        finally:
            stop_waiting.cancel()
        if not started:
            problem = self._why_not_started(printed_at_login)
            self._ssh.end()
            raise PiError(f"{host}: {problem}")

    def __enter__(self) -> "Pi":
        return self

    def __exit__(self, *_: object) -> None:
        self._ssh.end()

    @property
    def is_connected(self) -> bool:
        """False once the connection is known to be broken."""
        return self._ssh.poll() is None

    def ask(
        self,
        command: str,
        say: Callable[[str], None] | None = None,
        body: bytes = b"",
        progress: Callable[[int], None] | None = None,
        **request: object,
    ) -> dict:
        """The answer of the Pi's `command`; lines that it prints before are passed to `say`.

        `body` follows the request; `progress` is called with the number of its bytes sent so far.
        """
        self._write(json.dumps({"command": command, **request}).encode() + b"\n")
        for start in range(0, len(body), 2**20):
            self._write(body[start : start + 2**20])
            if progress:
                progress(start)
        line = self._read(say)
        if line is None:
            raise PiError(f"{self.host}: {self._why_ended()}")
        answer = json.loads(line)
        if "problem" in answer:
            raise PiError(f"{self.host}: {answer['problem']}")
        return answer

    def put(self, local: Path, path: str, progress: Callable[[int], None] | None = None) -> None:
        """Copy a file to `path` in the workbook's folder there: all of it or nothing."""
        body = local.read_bytes()
        self.ask("receive", body=body, progress=progress, path=path, size=len(body))

    def get(self, path: str) -> bytes:
        """The content of the file at `path` in the workbook's folder there."""
        return base64.b64decode(self.ask("send", path=path)["base64"])

    def _write(self, content: bytes) -> None:
        with contextlib.suppress(OSError):  # the answer will be missing: _read finds out why
            self._requests.write(content)
            self._requests.flush()

    def _read(self, say: Callable[[str], None] | None) -> str | None:
        """The next answer; None if the connection ends before it."""
        for line in iter(self._answers.readline, b""):
            text, mark, answer = line.decode(errors="replace").partition(RESULT)
            if mark:
                return answer
            if say:
                say(text.rstrip())
        self._ssh.wait()
        return None

    def _why_not_started(self, printed: list[str]) -> str:
        code = self._ssh.returncode
        complaint = self._ssh.complaint()
        if code < 0:
            return (
                f"its login shell did not start python3 within {START_S} s: does ~/.bashrc or "
                "another login script there wait for something, or start another shell?"
            )
        if code == 255:
            return why_not_connected(self.host, complaint)
        return ssh_problems.no_python(code, complaint.splitlines() or printed)

    def _why_ended(self) -> str:
        lines = self._ssh.complaint().splitlines()
        if self._ssh.returncode == 1 and lines:
            return ssh_problems.no_python(1, lines)
        return LOST


def _program() -> str:
    """One line of Python that loads the modules for the Pi and answers requests."""
    sources = [("workbook", ""), ("workbook.pi", ""), ("workbook.pi.on_device", "")]
    for module in (jobs, files, evaluations, live, answers):
        sources.append((module.__name__, Path(str(module.__file__)).read_text(encoding="utf-8")))
    loader = f"""
import sys, types
for name, source in {sources!a}:
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, "exec"), vars(module))
module.serve()
"""
    return f"exec({loader!a})"
