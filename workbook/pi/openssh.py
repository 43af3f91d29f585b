"""OpenSSH's client: the user's configuration, keys and known hosts decide how a Pi is reached."""

import atexit
import contextlib
import os
import re
import shlex
import subprocess
import tempfile
import weakref

from modelfiles.errors import WorkbookError
from workbook.pi import ssh_problems

FIXED = (
    "BatchMode=yes",
    "ConnectTimeout=15",
    "ServerAliveInterval=15",  # an unplugged Pi does not close the connection
    "ServerAliveCountMax=3",
    "ControlMaster=no",  # use a connection that the user keeps open, and leave none behind
    "PermitLocalCommand=no",
)
QUIET = ("-o", "LogLevel=ERROR", "-o", "ClearAllForwardings=yes")
# Settings that would keep a command from running. Passed only if `ssh -G` lists another value,
# since an older ssh does not know all of them.
NEEDED = {
    "remotecommand": "none",
    "sessiontype": "default",
    "stdinnull": "no",
    "forkafterauthentication": "no",
}
NEVER_ASK = {"SSH_ASKPASS": "false", "SSH_ASKPASS_REQUIRE": "force"}  # for a ProxyJump, too


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
        raise PiError(f"{host!r} is not a host: use user@name, such as pi@raspberrypi.local")
    if port:
        return ["-p", port, name]
    return [name]


def _shell_form(host: str) -> str:
    """`host` as it is typed after `ssh`."""
    return shlex.join(target(host))


def settings(host: str) -> list[tuple[str, str]]:
    """What ssh's configuration says about `host`, as (name in lower case, value)."""
    command = ["ssh", "-G", *target(host)]
    listed = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if listed.returncode:
        raise PiError(f"{host}: {ssh_problems.wrong_settings(listed.stderr)}")
    pairs = [line.partition(" ") for line in listed.stdout.splitlines()]
    return [(name, value) for name, space, value in pairs if space]


def options(host: str) -> list[str]:
    """The options with which ssh runs a command on `host`, regardless of its configuration."""
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
    """A program that ends when this one does. It has no terminal, so it cannot ask questions."""

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
        """What it has written to standard error so far."""
        size = os.fstat(self.error_file.fileno()).st_size
        return os.pread(self.error_file.fileno(), size, 0).decode(errors="replace")

    def end(self) -> None:
        """End it and close its files."""
        self.terminate()
        try:
            self.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()
            self.wait()
        for pipe in (self.stdin, self.stdout, self.error_file):
            with contextlib.suppress(OSError):  # bytes that it never read
                if pipe:
                    pipe.close()


@atexit.register
def _end_programs() -> None:
    for program in list(_programs):
        if program.poll() is None:
            program.terminate()
