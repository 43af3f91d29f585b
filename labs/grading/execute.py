"""The student's notebook executed from top to bottom in the jail, for the feedback page: no points depend on it."""

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat

from labs.grading import jail as jails
from labs.grading import outputs
from labs.grading.jail import HERE, Limits
from labs.grading.process import stage
from labs.grading.watch import Watch

MAX_BYTES = 40 << 20
STOPPED = "Stopped here: "


def execute(
    folder: Path, notebook: str, jail: bool, limits: Limits
) -> tuple[str, list[str], float]:
    """The notebook as executed, JSON; why it could not be run to its end, if so; processor time in s."""
    with tempfile.TemporaryDirectory(prefix="execute-") as staged:
        stage(folder, Path(staged), limits)
        arguments = [
            notebook,
            json.dumps(limits.rlimits(limits.notebook_s)),
            str(limits.notebook_s),
        ]
        pipes = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.DEVNULL,
            "start_new_session": True,
        }
        if jail:
            process = jails.start(
                [sys.executable, "-I", "/jail/grader/run_notebook.py", *arguments],
                staged,
                limits.disk_mb,
                **pipes,
            )
        else:
            argv = [sys.executable, "-I", str(HERE / "run_notebook.py"), *arguments]
            process = subprocess.Popen(argv, cwd=staged, env=os.environ | {"HOME": staged}, **pipes)
        watch = Watch(process, limits)
        try:
            text = _read(process, time.monotonic() + limits.notebook_s + limits.load_s)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
    handed_in = nbformat.read(folder / notebook, 4)
    ran = _cells(text, handed_in)
    reason = watch.reason or "it took too long or ended the process that runs it"
    stopped = [] if ran else [f"the notebook could not be run to its end: {reason}"]
    for cell, executed in zip(handed_in.cells, ran or [None] * len(handed_in.cells)):
        if cell.cell_type == "code":  # its outputs are all that is taken from the jail
            count = (executed or {}).get("execution_count")
            new = outputs.clean((executed or {}).get("outputs"))
            stopped += [
                f"the notebook was stopped: {o.text.strip().removeprefix(STOPPED)}"
                for o in new
                if o.output_type == "stream" and o.text.startswith(STOPPED)
            ]
            cell.outputs = _with_handed_in(new, cell.outputs, was_run=isinstance(count, int))
            cell.execution_count = count if isinstance(count, int) else None
    return nbformat.writes(handed_in), stopped[:1], watch.cpu_s


def _cells(text: bytes, handed_in: nbformat.NotebookNode) -> list[dict] | None:
    """The executed cells; None where they are not those of the notebook that was handed in."""
    try:
        cells = json.loads(text)["cells"]
        same = [outputs.text_of(cell["source"]) for cell in cells] == [
            cell.source for cell in handed_in.cells
        ]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return cells if same else None


def _with_handed_in(new: list, old: list, was_run: bool) -> list:
    """The outputs `new`; below them those handed in, where the cell was not run here or fails only here."""
    fails_here = any(o.output_type == "error" for o in new) and not any(
        o.output_type == "error" for o in old
    )
    if not old or (was_run and not fails_here):
        return new
    why = "This cell fails here." if fails_here else "This cell was not run here."
    note = nbformat.v4.new_output("stream", text=f"{why} What was handed in with it:\n")
    return [*new, note, *old]


def _read(process: subprocess.Popen, ends: float) -> bytes:
    data = bytearray()
    while (left := ends - time.monotonic()) > 0 and len(data) <= MAX_BYTES:
        if select.select([process.stdout], [], [], left)[0]:
            piece = os.read(process.stdout.fileno(), 1 << 20)
            if not piece:
                return bytes(data)
            data += piece
    return b""
