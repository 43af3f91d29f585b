"""Run another program, with a clear message if it fails."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from modelfiles.errors import WorkbookError
from modelfiles.limits import NO_LIMITS, Limits
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
    limits: Limits = NO_LIMITS,
) -> str:
    """Run `command` until it ends and return its standard output.

    `settings` are environment variables, `question` is its standard input, `folder` its working
    directory. If it fails or breaks `limits`, raises ProgramFailed with `name`, its status and last
    line of output.
    """
    with subprocess.Popen(
        command,
        env=environment(settings or {}),
        cwd=folder,
        stdin=None if question is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        limits.apply_to(process.pid)
        try:
            printed, errors = process.communicate(question, limits.seconds)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise ProgramFailed(f"{name} did not end within {limits.seconds:g} s", "") from error
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        output = printed + errors
        why = limits.broken(output) or outcome(process.returncode, output)
        raise ProgramFailed(f"{name} failed ({why})", output)
    return printed


def outcome(status: int, output: str) -> str:
    """How a program ended, with the last line of its output, in words."""
    how = f"exit status {status}"
    if status < 0:
        how = f"signal {-status}"
    lines = output.strip().splitlines() or ["no output; out of memory?"]
    return f"{how}: {lines[-1][:200]}"
