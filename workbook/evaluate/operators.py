"""Which operators of a file a delegate computes, and the share of time in int8.

Each runtime reports something else, and some report nothing: then a figure is None. Nothing is
guessed from the file's name.

LiteRT        its operators that XNNPACK computes, from the tensors that it reads and writes
ExecuTorch    the same, from the file
ONNX Runtime  its operators on the CPU provider, and the time in integer kernels, by its profiler
others        nothing: MNN and ncnn name their layers, but not the arithmetic in them
"""

import json
import os
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelfiles.formats import pte
from modelfiles.profiling import KINDS
from modelfiles.quiet import quiet
from modelfiles.runtimes.onnx_file import open_session
from workbook.evaluate import isolated

CALLS = 20  # of the profiled file
LIMIT_S = 120


@dataclass(frozen=True)
class Operators:
    """`delegated` of `all` operators run in `delegate`; `int8_share` is that of the time.

    A field is None if the runtime does not report it.
    """

    delegate: str | None = None
    delegated: int | None = None
    all: int | None = None
    int8_share: float | None = None


UNKNOWN = Operators()


def of_files(files: Sequence[tuple[Path, tuple[int, ...]]]) -> list[Operators]:
    """What the runtimes report about each (file, shape of one input), in another process."""
    found = [result for _, result in isolated.results(_of_file, files, LIMIT_S)]
    return [UNKNOWN if isinstance(result, isolated.Crashed) else result for result in found]


def _of_file(file: tuple[Path, tuple[int, ...]]) -> Operators:
    path, shape = file
    try:
        with quiet():
            if path.name.endswith(".tflite"):
                return _of_tflite(path)
            if path.name.endswith(".pte"):
                return _of_pte(path)
            if path.name.endswith(".onnx"):
                return _of_onnx(path, shape)
    except (ImportError, OSError, ValueError, RuntimeError, KeyError, IndexError, struct.error):
        return UNKNOWN  # the race has its own message about files that cannot be opened
    return UNKNOWN


def _of_tflite(path: Path) -> Operators:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    listed = interpreter._get_ops_details()  # the file's operators, then the delegate's parts
    own = [operator for operator in listed if operator["op_name"] != "DELEGATE"]
    parts = [operator for operator in listed if operator["op_name"] == "DELEGATE"]
    delegated = set().union(*(_inside(part, own) for part in parts))
    return Operators("XNNPACK", len(delegated), len(own))


def _inside(part: dict, operators: list[dict]) -> set[int]:
    """The numbers of the operators between a part's outputs and its inputs."""
    source = {
        int(tensor): number
        for number, operator in enumerate(operators)
        for tensor in operator["outputs"]
    }
    inputs = {int(tensor) for tensor in part["inputs"]}
    found: set[int] = set()
    todo = [int(tensor) for tensor in part["outputs"]]
    while todo:
        tensor = todo.pop()
        number = source.get(tensor)
        if number is None or tensor in inputs or number in found:
            continue
        found.add(number)
        todo += [int(read) for read in operators[number]["inputs"]]
    return found


def _of_pte(path: Path) -> Operators:
    counted = pte.count_operators(path.read_bytes())
    return Operators("XNNPACK", *counted) if counted else UNKNOWN


def _of_onnx(path: Path, shape: tuple[int, ...]) -> Operators:
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(path, threads=1, profile_prefix=os.path.join(folder, "profile"))
        entry = session.get_inputs()[0].name
        image = np.random.default_rng(0).standard_normal(shape, np.float32)
        for _ in range(CALLS):
            session.run(None, {entry: image})
        events = json.loads(Path(session.end_profiling()).read_text())
    ran = [event for event in events if event["name"].endswith("_kernel_time")]
    on_cpu = [event for event in ran if event["args"]["provider"] == "CPUExecutionProvider"]
    integer = [event for event in ran if event["args"]["op_name"].startswith(KINDS["integer"])]
    total = sum(event["dur"] for event in ran)
    share = sum(event["dur"] for event in integer) / total if total else None
    return Operators("CPU provider", len(on_cpu) // CALLS, len(ran) // CALLS, share)
