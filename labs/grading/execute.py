"""The student's notebook executed from top to bottom in the jail, for the feedback page: no points depend on it."""

import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat

from labs.grading import jail as jails
from labs.grading.jail import HERE, Limits
from labs.grading.process import stage
from labs.grading.watch import Watch

MAX_BYTES = 20 << 20


def execute(folder: Path, notebook: str, jail: bool, limits: Limits) -> tuple[str, list[str], float]:
    """The notebook as executed, JSON; why it could not be run to its end, if so; processor time in s."""
    with tempfile.TemporaryDirectory(prefix="execute-") as staged:
        stage(folder, Path(staged), limits)
        arguments = [notebook, json.dumps(limits.rlimits(limits.notebook_s)), str(limits.notebook_s)]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "start_new_session": True}
        if jail:
            process = jails.start([sys.executable, "-I", "/jail/grader/run_notebook.py", *arguments], staged, limits.disk_mb, **pipes)
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
    try:
        executed = json.loads(text)
        same = [c["source"] if isinstance(c["source"], str) else "".join(c["source"]) for c in executed["cells"]] == [c.source for c in handed_in.cells]
    except (ValueError, TypeError, KeyError, RecursionError):
        same = False
    if not same:
        reason = watch.reason or "it took too long or ended the process that runs it"
        return nbformat.writes(handed_in), [f"the notebook could not be run to its end: {reason}"], watch.cpu_s
    for cell, ran in zip(handed_in.cells, executed["cells"]):  # its outputs are all that is taken from the jail
        if cell.cell_type == "code":
            cell.outputs = _outputs(ran.get("outputs"))
            count = ran.get("execution_count")
            cell.execution_count = count if isinstance(count, int) else None
    stopped = [f"the notebook was stopped: {o.text.strip().removeprefix('Stopped here: ')}" for c in handed_in.cells if c.cell_type == "code"
               for o in c.outputs if o.output_type == "stream" and o.text.startswith("Stopped here: ")]
    return nbformat.writes(handed_in), stopped[:1], watch.cpu_s


def _read(process: subprocess.Popen, ends: float) -> bytes:
    data = bytearray()
    while (left := ends - time.monotonic()) > 0 and len(data) <= MAX_BYTES:
        if select.select([process.stdout], [], [], left)[0]:
            piece = os.read(process.stdout.fileno(), 1 << 20)
            if not piece:
                return bytes(data)
            data += piece
    return b""


def _outputs(outputs) -> list[nbformat.NotebookNode]:
    """Text and pictures of the outputs, rebuilt: a page of feedback must not run a stranger's script."""
    kept = []
    for output in outputs if isinstance(outputs, list) else []:
        try:
            kind = output["output_type"]
            if kind == "stream":
                name = "stderr" if output["name"] == "stderr" else "stdout"
                kept.append(nbformat.v4.new_output("stream", name=name, text=_text(output["text"])))
            elif kind == "error":
                lines = [_text(line) for line in output["traceback"]]
                kept.append(nbformat.v4.new_output("error", ename="", evalue="", traceback=lines))
            elif kind in ("execute_result", "display_data"):
                data = {"text/plain": _text(output["data"].get("text/plain", ""))}
                picture = re.sub(r"\s", "", _text(output["data"].get("image/png", "")))
                if picture and re.fullmatch(r"[A-Za-z0-9+/]+=*", picture):
                    data["image/png"] = picture
                kept.append(nbformat.v4.new_output("display_data", data=data))
        except (TypeError, AttributeError, KeyError):  # not what Jupyter writes: left out
            continue
    return kept


def _text(text) -> str:
    return text if isinstance(text, str) else "".join(map(str, text))
