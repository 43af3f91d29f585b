"""TFLite files in Arm NN itself, through PyArmNN, Debian's package for the system's Python.

    sudo apt install python3-pyarmnn libarmnntfliteparser22 libarmnn-cpuref-backend22 python3-psutil
    sudo apt install libarmnn-cpuacc-backend22    # on a Pi: the fast kernels

These packages are in Debian 12 and in Raspberry Pi OS bookworm, 64-bit. They are Arm NN 20.08,
older than most .tflite files: its parser rejects layers without a bias, and files with the int8 or
float16 weights of the present converters. convert.to_tflite writes a bias of zeros where a layer
has none. A virtual environment does not contain the packages, so a process of the system's Python
runs them: workers.Worker(path, delegate="pyarmnn").
"""

import os
import re
import subprocess
import threading
from functools import cache
from pathlib import Path

import numpy as np

from modelfiles.runtimes.armnn import DelegateUnavailable
from modelfiles.runtimes.model import Model, Unsupported, check_one_input

PACKAGES = "python3-pyarmnn libarmnntfliteparser22 libarmnn-cpuref-backend22 python3-psutil"
VARIABLE = "PYARMNN_PYTHON"
FLOAT32 = 1  # Arm NN's number for the type
# what the parser of 2020 says about files that it does not support, and what it means
REFUSALS = {
    "must be non-negative": "has a layer without a bias, which Arm NN's parser does not support; "
    "convert.to_tflite writes a bias of zeros there",
    "has 0 bytes": "has an empty buffer, as the present converters write it into int8 files; Arm "
    "NN's parser does not support that",
    "inputs.size()": "has an operator that Arm NN's parser takes for another one, as the present "
    "converters write it into files with float16 weights",
    "Unsupported data type": "has numbers of a type that Arm NN's parser does not support",
    "not supported": "has an operator that Arm NN's parser does not support",
    "Operator code": "has an operator that Arm NN's parser does not support",
}
OPERATOR = re.compile(r"Operator not supported.* / (\w+)")
_runtimes: list = []  # Arm NN registers its kernels only once per process


class PyArmnnMissing(DelegateUnavailable):
    """PyArmNN is not installed in this Python; the message says what to do."""


def python() -> str:
    """The Python that has PyArmNN: the system's, or the one that PYARMNN_PYTHON names.

    PyArmnnMissing if it cannot import what it needs.
    """
    program = os.environ.get(VARIABLE) or "/usr/bin/python3"
    if not _has_pyarmnn(program):
        raise PyArmnnMissing(
            f"{program} does not have PyArmNN: sudo apt install {PACKAGES} (Debian 12 or Raspberry "
            f"Pi OS bookworm; {VARIABLE} names another Python)"
        )
    return program


@cache
def _has_pyarmnn(program: str) -> bool:
    try:
        tried = subprocess.run(
            [program, "-c", "import pyarmnn, numpy, psutil"], capture_output=True
        )
    except OSError:
        return False
    return tried.returncode == 0


def refusal(said: str) -> str | None:
    """What a file has that the parser does not support, from its message; None if unknown."""
    operator = OPERATOR.search(said)
    if operator:
        return f"has the operator {operator[1]}, which Arm NN's parser does not support"
    return next((reason for words, reason in REFUSALS.items() if words in said), None)


def open_pyarmnn(path: Path, threads: int) -> Model:
    """A float32 .tflite file in Arm NN: its NEON kernels where they are installed, else CpuRef.

    `runtime` names the backend. CpuRef is Arm's reference: its outputs are right, and it is slow.
    Arm NN 20.08 starts as many threads as it may use cores, so this process is restricted to
    `threads` cores.
    """
    try:
        import pyarmnn
    except ImportError as error:
        raise PyArmnnMissing(
            f"{path.name}: PyArmNN is not in this Python; start it in the system's with "
            'workers.Worker(path, delegate="pyarmnn")'
        ) from error
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:threads])
    parser = pyarmnn.ITfLiteParser()
    try:
        network = parser.CreateNetworkFromBinaryFile(str(path))
    except RuntimeError as error:
        reason = refusal(str(error))
        if reason is None:
            raise
        raise Unsupported(reason) from error
    names = list(parser.GetSubgraphInputTensorNames(0))
    check_one_input(names)
    entry = parser.GetNetworkInputBindingInfo(0, names[0])
    if entry[1].GetDataType() != FLOAT32:
        raise Unsupported("does not take float32, which is all that the book runs in Arm NN")
    outputs = [
        parser.GetNetworkOutputBindingInfo(0, name)
        for name in parser.GetSubgraphOutputTensorNames(0)
    ]
    if not _runtimes:
        _runtimes.append(pyarmnn.IRuntime(pyarmnn.CreationOptions()))
    runtime = _runtimes[0]
    backend, number = _load(runtime, network, pyarmnn)
    results = pyarmnn.make_output_tensors(outputs)
    lock = threading.Lock()  # one set of output buffers

    def run_all(x: np.ndarray) -> list[np.ndarray]:
        with lock:
            runtime.EnqueueWorkload(number, pyarmnn.make_input_tensors([entry], [x]), results)
            return [np.array(part) for part in pyarmnn.workload_tensors_to_ndarray(results)]

    def run(x: np.ndarray) -> np.ndarray:
        return run_all(x)[0]

    shape = tuple(int(n) for n in _sizes(entry[1].GetShape()))
    version = pyarmnn.__version__
    return Model(path, f"Arm NN ({backend})", version, "float32", threads, shape, run, run_all)


def _sizes(shape) -> list[int]:
    return [shape[axis] for axis in range(shape.GetNumDimensions())]


def _load(runtime, network, pyarmnn) -> tuple[str, int]:
    """The backend that takes the network, and the network's number in the runtime."""
    specification = runtime.GetDeviceSpec()
    known = str(specification)
    backends = [name for name in ("CpuAcc", "CpuRef") if name in known]
    chosen = [pyarmnn.BackendId(name) for name in backends]
    options = pyarmnn.OptimizerOptions()
    optimized, _ = pyarmnn.Optimize(network, chosen, specification, options)
    number, _ = runtime.LoadNetwork(optimized)
    return backends[0], number
