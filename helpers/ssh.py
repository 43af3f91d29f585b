"""A Pi over SSH. OpenSSH itself connects, with the user's configuration, keys and known hosts.

One connection serves all requests: it runs the Pi's own python3 with the text of pi_answers, which
answers on standard output. No shell reads a request, and passwords are never asked for.
"""

import atexit
import base64
import contextlib
import json
import os
import re
import shlex
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

from helpers import pi_answers, pi_files, pi_host, ssh_problems
from helpers.pi_answers import RESULT
from modelfiles.errors import WorkbookError

START_S = 90  # until the Pi's python3 answers: the connection, its login shell, Python on a busy Pi
FIXED = (
    "BatchMode=yes",
    "ConnectTimeout=15",
    "ServerAliveInterval=15",  # an unplugged Pi does not end the connection
    "ServerAliveCountMax=3",
    "ControlMaster=no",  # a connection that the user keeps open is used; none is left behind
    "PermitLocalCommand=no",
)
QUIET = ("-o", "LogLevel=ERROR", "-o", "ClearAllForwardings=yes")
# Settings with which a command could not run. Passed only if `ssh -G` lists another value, since an
# older ssh does not know all of them.
NEEDED = {
    "remotecommand": "none",
    "sessiontype": "default",
    "stdinnull": "no",
    "forkafterauthentication": "no",
}
# quotes that every login shell reads in the same way, be it bash, fish or csh
PYTHON = "python3 -c 'exec(input())'"
NEVER_ASK = {"SSH_ASKPASS": "false", "SSH_ASKPASS_REQUIRE": "force"}  # for a ProxyJump, too
LOST = (
    "the connection is lost. What runs there goes on: give the same command again, and it goes "
    "on from where it was"
)


class PiError(WorkbookError, RuntimeError):
    """What is wrong with a Pi, and what to do: one sentence."""


def target(host: str) -> list[str]:
    """`host` ("user@name", "user@name:port", "user@[IPv6]:port") as the arguments of ssh."""
    name = host
    port = None
    if host.count(":") == 1 or "]:" in host:  # an IPv6 address without brackets has no port
        name, _, port = host.rpartition(":")
    name = name.replace("[", "").replace("]", "")
    is_name = name and not name.startswith("-") and not re.search(r"\s", name)
    if not is_name or not (port is None or port.isdigit()):
        raise PiError(f"{host!r} is no host: give user@name, such as pi@raspberrypi.local")
    if port:
        return ["-p", port, name]
    return [name]


def _shell_form(host: str) -> str:
    """`host` as it is typed after `ssh`."""
    return shlex.join(target(host))


def settings(host: str) -> list[tuple[str, str]]:
    """What ssh's configuration says about `host`, as (name in small letters, value)."""
    command = ["ssh", "-G", *target(host)]
    listed = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if listed.returncode:
        raise PiError(f"{host}: {ssh_problems.wrong_settings(listed.stderr)}")
    pairs = [line.partition(" ") for line in listed.stdout.splitlines()]
    return [(name, value) for name, space, value in pairs if space]


def options(host: str) -> list[str]:
    """The options with which ssh runs a command on `host`, whatever its configuration says."""
    needed = [
        f"{name}={NEEDED[name]}"
        for name, value in settings(host)
        if name in NEEDED and value != NEEDED[name]
    ]
    words = ["-T", "-x", "-a"]
    for option in (*FIXED, *needed):
        words += ["-o", option]
    return words


def why_not_connected(host: str, complaint: str) -> str:
    """The cause in `complaint`, what ssh wrote to standard error, as one sentence."""
    return ssh_problems.sentence(complaint, _shell_form(host), lambda: settings(host))


_programs: weakref.WeakSet = weakref.WeakSet()


class Program(subprocess.Popen):
    """A program that ends with this one. It has no terminal, so it cannot ask for anything."""

    def __init__(self, command: list[str], stdin: int, stdout: int) -> None:
        self.error_file = tempfile.TemporaryFile()  # noqa: SIM115  (`end` closes it)
        super().__init__(
            command,
            stdin=stdin,
            stdout=stdout,
            stderr=self.error_file,
            start_new_session=True,
            env=os.environ | NEVER_ASK,
        )
        _programs.add(self)

    def complaint(self) -> str:
        """What it has written to standard error until now."""
        size = os.fstat(self.error_file.fileno()).st_size
        return os.pread(self.error_file.fileno(), size, 0).decode(errors="replace")

    def end(self) -> None:
        """End it, and forget what it has written."""
        self.terminate()
        try:
            self.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()
            self.wait()
        for pipe in (self.stdin, self.stdout, self.error_file):
            with contextlib.suppress(OSError):  # what was written too late for it
                if pipe:
                    pipe.close()


@atexit.register
def _end_programs() -> None:
    for program in list(_programs):
        if program.poll() is None:
            program.terminate()


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

        `body` follows the request; `progress` gets the number of its bytes that are on their way.
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
    sources = [("helpers", "")]
    for module in (pi_host, pi_files, pi_answers):
        sources.append((module.__name__, Path(str(module.__file__)).read_text(encoding="utf-8")))
    loader = f"""
import sys, types
for name, source in {sources!a}:
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, "exec"), vars(module))
module.serve()
"""
    return f"exec({loader!a})"
