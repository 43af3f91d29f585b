"""The student process: loads what a notebook's functions need, and answers calls.

worker_client.py starts it, inside the jail:

    python -I worker.py code|model NOTEBOOK LIMITS_AS_JSON

The grader trusts nothing here: a student's code in this process can replace all of it. But the
process knows no expected value, no check and no file except the submission.
"""

import json
import os
import resource
import shutil
import sys
import types
from pathlib import Path

HERE = str(Path(__file__).resolve().parent)


def main(kind: str, notebook: str, limits: dict) -> None:
    requests, answers = _take_over_pipes()
    copy_submission()
    sys.path.insert(0, HERE)
    # this imports numpy: before the limits, and before any file of the student's can be imported
    import messages
    import notebook_loader

    os.dup2(0, 2)  # until here the grader can read what is wrong with the jail
    sys.path.remove(HERE)
    if kind == "code":  # where models run, no file of the student's may be imported
        sys.path.append(os.getcwd())
    restrict(limits)
    # what was loaded for each function: none has to wait for another's globals
    namespaces: dict[str, dict] = {}
    while True:
        request = messages.decode(
            messages.read_frame(lambda n: _read(requests, n)), lists_to_arrays=False
        )
        answer = {"id": request["id"]}
        try:
            frame = messages.encode(
                answer | {"result": _answer(request, notebook, namespaces, notebook_loader)}
            )
        except BaseException as error:
            frame = messages.encode(answer | {"error": _describe(error, notebook_loader)})
        view = memoryview(frame)
        while view:
            view = view[os.write(answers, view) :]


def copy_submission() -> None:
    """Copy the submitted files into the working folder, where a notebook expects them."""
    if os.path.isdir("/jail/submission"):  # without a jail the grader copied them
        for name in os.listdir("/jail/submission"):
            shutil.copyfile(f"/jail/submission/{name}", name)


def _take_over_pipes() -> tuple[int, int]:
    """Move the pipes of the protocol to other descriptors.

    The student's code prints to /dev/null, and input() reads from it.
    """
    requests = os.dup(0)
    answers = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(null, descriptor)
    return requests, answers


def _read(descriptor: int, n: int) -> bytes:
    data = bytearray()
    while len(data) < n:
        piece = os.read(descriptor, min(n - len(data), 1 << 20))
        if not piece:
            os._exit(0)  # the grader has ended
        data += piece
    return bytes(data)


def hide() -> None:
    """Let no other process look into this one or take its pipes.

    A student's kernel runs as the same user.
    """
    import ctypes

    PR_SET_DUMPABLE = 4
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0)


def restrict(limits: dict) -> None:
    """Limits of this process and its children that they cannot lift again."""
    for name, value in limits.items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(kind, (value, value))


def _answer(request: dict, notebook: str, namespaces: dict[str, dict], notebook_loader):
    if "ready" in request:
        return True
    if "load" in request:
        module = types.ModuleType("__main__")
        sys.modules["__main__"] = module  # as in a kernel: dataclasses look for theirs
        namespace = vars(module)
        namespace["display"] = print
        namespaces[request["load"]] = namespace
        return notebook_loader.load(notebook, request["load"], namespace, request["plain"])
    if "predict" in request:
        from helpers.runtimes import open_model

        return open_model(request["predict"], threads=1).predict(request["images"])
    if "constant" in request:
        name = request["constant"]
        if name not in namespaces[name]:
            raise Missing
        return namespaces[name][name]
    name = request["call"]
    function = namespaces[name].get(name)
    if not callable(function):
        raise Missing
    return function(*request["args"], **request["kwargs"])


class Missing(Exception):
    """The notebook does not define what was asked for."""


def _describe(error: BaseException, notebook_loader) -> dict:
    """What the grader may pass on.

    Of a function's error that is the kind and the line: its text could quote hidden inputs.
    """
    traced = notebook_loader.where(error)
    description = {"kind": type(error).__name__[:50], "where": traced, "text": ""}
    if not traced:
        description["text"] = str(error)[:300]
    return description


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
