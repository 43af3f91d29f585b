"""Run another program, with a clear message if it fails."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from modelfiles.errors import WorkbookError
from modelfiles.places import ROOT


class ProgramFailed(WorkbookError, RuntimeError):
    """A program failed. `output` is everything that it printed."""

    def __init__(self, message: str, output: str) -> None:
        super().__init__(message)
        self.output = output


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with `settings`; PYTHONPATH includes this workbook."""
    places = filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places), **settings}


def run_program(
    command: Sequence[str],
    name: str,
    *,
    settings: Mapping[str, str] | None = None,
    question: str | None = None,
    folder: Path | None = None,
) -> str:
    """Run `command` until it ends and return its standard output.

    `settings` are environment variables, `question` is its standard input, `folder` its working
    directory. If it fails, raises ProgramFailed with `name`, its status and last line of output.
    """
    done = subprocess.run(
        command,
        env=environment(settings or {}),
        input=question,
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        output = done.stdout + done.stderr
        raise ProgramFailed(f"{name} failed ({outcome(done.returncode, output)})", output)
    return done.stdout


def outcome(status: int, output: str) -> str:
    """How a program ended, with the last line of its output, in words."""
    how = f"exit status {status}"
    if status < 0:
        how = f"signal {-status}"
    lines = output.strip().splitlines() or ["no output; out of memory?"]
    return f"{how}: {lines[-1][:200]}"
