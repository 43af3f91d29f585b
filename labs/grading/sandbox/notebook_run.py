"""The student's notebook executed from top to bottom in the jail, for the feedback page.

No points depend on it.
"""

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat

from labs.grading.sandbox import outputs, sandbox
from labs.grading.sandbox.limits import Limits, Watch
from labs.grading.sandbox.sandbox import HERE
from labs.grading.sandbox.staging import stage

MAX_BYTES = 40 << 20
STOPPED = "Stopped here: "


def execute(
    folder: Path, notebook: str, jail: bool, limits: Limits
) -> tuple[str, list[str], float]:
    """Execute `notebook` in `folder`.

    Returns the notebook as executed, JSON; a list with the reason why it could not be run to its
    end, or an empty one; and the processor time in s.
    """
    with tempfile.TemporaryDirectory(prefix="execute-") as staged:
        stage(folder, Path(staged), limits)
        rlimits = json.dumps(limits.rlimits(limits.notebook_s))
        arguments = [notebook, rlimits, str(limits.notebook_s)]
        pipes = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.DEVNULL,
            "start_new_session": True,
        }
        if jail:
            argv = [sys.executable, "-I", "/jail/grader/worker_notebook.py", *arguments]
            process = sandbox.start(argv, staged, limits.disk_mb, **pipes)
        else:
            argv = [sys.executable, "-I", str(HERE / "worker_notebook.py"), *arguments]
            process = subprocess.Popen(argv, cwd=staged, env=os.environ | {"HOME": staged}, **pipes)
        watch = Watch(process, limits)
        try:
            text = _read(process, time.monotonic() + limits.notebook_s + limits.load_s)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
    submitted = nbformat.read(folder / notebook, 4)
    ran = _cells(text, submitted)
    stopped = []
    if not ran:
        reason = watch.reason or "it took too long or ended the process that runs it"
        stopped.append(f"the notebook could not be run to its end: {reason}")
    for cell, executed in zip(submitted.cells, ran or [{}] * len(submitted.cells)):
        if cell.cell_type != "code":
            continue
        # only its outputs and its number are taken from the jail
        count = executed.get("execution_count")
        was_run = isinstance(count, int)
        new = outputs.clean(executed.get("outputs"))
        stopped += [
            f"the notebook was stopped: {o.text.strip().removeprefix(STOPPED)}"
            for o in new
            if o.output_type == "stream" and o.text.startswith(STOPPED)
        ]
        cell.outputs = _with_submitted(new, cell.outputs, was_run)
        cell.execution_count = count if was_run else None
    return nbformat.writes(submitted), stopped[:1], watch.cpu_s


def _cells(text: bytes, submitted: nbformat.NotebookNode) -> list[dict] | None:
    """The executed cells; None if they are not those of the submitted notebook."""
    try:
        cells = json.loads(text)["cells"]
        sources = [outputs.text_of(cell["source"]) for cell in cells]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if sources != [cell.source for cell in submitted.cells]:
        return None
    return cells


def _with_submitted(new: list, old: list, was_run: bool) -> list:
    """The outputs `new`, and the submitted ones if the cell was not run or fails only here."""
    fails_here = _has_error(new) and not _has_error(old)
    if not old or (was_run and not fails_here):
        return new
    why = "This cell fails here." if fails_here else "This cell was not run here."
    note = nbformat.v4.new_output("stream", text=f"{why} Its submitted outputs:\n")
    return [*new, note, *old]


def _has_error(outputs_of_cell: list) -> bool:
    return any(output.output_type == "error" for output in outputs_of_cell)


def _read(process: subprocess.Popen, ends: float) -> bytes:
    data = bytearray()
    while (left := ends - time.monotonic()) > 0 and len(data) <= MAX_BYTES:
        if select.select([process.stdout], [], [], left)[0]:
            piece = os.read(process.stdout.fileno(), 1 << 20)
            if not piece:
                return bytes(data)
            data += piece
    return b""
