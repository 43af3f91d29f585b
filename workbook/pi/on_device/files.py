"""The files of the workbook on the Pi: which ones it needs, and which ones to bring back.

Standard library only, in the syntax of Python 3.7.
"""

import base64
import os
import shutil
import sys

from workbook.pi.on_device import jobs
from workbook.pi.on_device.jobs import FOLDER, STATE, Problem, read_state, write_state

ENVIRONMENT_BYTES = 1_300_000_000  # 700 MB of packages, their downloads, and some room
TORCH_BYTES = 1_500_000_000  # the same for PyTorch and ExecuTorch


def plan(request):
    """Which of `files` {path: [sha256, bytes]} must be sent: {"send", "kept", "rsync"}.

    "kept" are the notebooks that were changed here; "rsync" says whether this Pi has rsync.
    """
    jobs.make_state()
    sent = read_state("sent.json")
    send = []
    kept = []
    for path, (digest, _) in request["files"].items():
        here = jobs.digest(FOLDER / path)
        if here == digest:
            continue
        if path.endswith(".ipynb") and here is not None and here not in sent.get(path, []):
            kept.append(path)
        else:
            send.append(path)
    _require_room(request, send)
    for path in send:
        (FOLDER / path).parent.mkdir(parents=True, exist_ok=True)
    _remove_old_code(sent, request["files"])
    for path, (digest, _) in request["files"].items():
        if path not in kept:
            sent[path] = sorted({*sent.get(path, []), digest})
    write_state("sent.json", sent)
    for left_over in (STATE / "incoming").iterdir():  # of a copy that a power cut ended
        left_over.unlink()
    if not send:
        shutil.rmtree(STATE / "partial", ignore_errors=True)
    return {"send": send, "kept": kept, "rsync": bool(shutil.which("rsync"))}


def _remove_old_code(sent, files):
    """Delete modules that an earlier version of the workbook sent and this one no longer has.

    An old package would hide a module of its name. Notebooks, models and changed files stay.
    """
    for path in set(sent) - set(files):
        is_as_sent = jobs.digest(FOLDER / path) in sent[path]
        if path.endswith(".py") and is_as_sent:
            (FOLDER / path).unlink()


def _require_room(request, send):
    room = sum(request["files"][path][1] for path in send)
    words = request["requirements"].split()
    if not jobs.is_set_up(" ".join(word for word in words if word != jobs.TORCH)):
        room += ENVIRONMENT_BYTES
    if jobs.TORCH in words and not jobs.is_set_up(request["requirements"]):
        room += TORCH_BYTES
    free = jobs.free_bytes()
    if send and free < room:
        raise Problem(
            f"its disk is too full: {free // 10**6:,} MB are free and "
            f"{room // 10**6 + 1:,} MB are needed; make room there"
        )


def receive(request):
    """Store the `size` bytes that follow the request at `path`: all of them or none."""
    remaining = request["size"]
    part = STATE / "incoming" / "part"
    try:
        jobs.make_state()
        with open(part, "wb") as file:
            while remaining:
                piece = sys.stdin.buffer.read(min(remaining, 2**16))
                if not piece:
                    sys.exit("the connection was lost")
                remaining -= len(piece)
                file.write(piece)
            jobs.flush(file)
        (FOLDER / request["path"]).parent.mkdir(parents=True, exist_ok=True)
        os.replace(part, FOLDER / request["path"])
    finally:
        # the next request comes after the bytes that could not be stored
        while remaining and sys.stdin.buffer.read(min(remaining, 2**16)):
            remaining -= min(remaining, 2**16)
        jobs.delete_state("incoming/part")
    return {}


def send(request):
    """The content of the file at `path`: {"base64"}."""
    return {"base64": base64.b64encode((FOLDER / request["path"]).read_bytes()).decode()}


def found(request):
    """What there is to bring back, as paths in the folder: {"records", "notebooks"}.

    The notebooks are those that `run` executed and those that were changed by hand.
    """
    sent = read_state("sent.json")
    notebooks = list((STATE / "executed").glob("*.ipynb"))
    for path in (FOLDER / "notebooks").glob("*.ipynb"):
        if jobs.digest(path) not in sent.get(f"notebooks/{path.name}", []):
            notebooks.append(path)
    return {
        "records": _relative((FOLDER / "build/results").glob("*.jsonl")),
        "notebooks": _relative(notebooks),
    }


def _relative(paths):
    return sorted(path.relative_to(FOLDER).as_posix() for path in paths)
