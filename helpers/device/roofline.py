"""The limits of one core for a roofline: arithmetic and memory bandwidth."""

import json
import sys
from dataclasses import dataclass

from modelfiles.programs import run_program


@dataclass(frozen=True)
class Peak:
    """The best rates of one core.

    A multiply-accumulate is two operations; bytes are read plus written. `int8_ops_per_s` is None
    without ONNX Runtime. `measured_with` names the library and the size behind each rate, by field.
    """

    flops_per_s: float
    int8_ops_per_s: float | None
    bytes_per_s: float
    measured_with: dict[str, str]


def measure_roofline(seconds: float = 0.4) -> Peak:
    """The limits of one core of this machine: the best of many short calls.

    Seven measurements take `seconds` each: matrix products of numpy and, if it is installed, of
    ONNX Runtime (on some machines twice as fast), and a copy of 64 MB. The calls are short, because
    a busy machine interrupts any call that is longer than the scheduler's time slice. They run in
    their own process, because numpy reads its number of threads only when it is loaded.
    ProgramFailed if that process fails.
    """
    one_thread = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
        "1",
    )
    command = [sys.executable, "-m", "helpers.device.peak_process", str(seconds)]
    answer = run_program(command, "the measuring process", settings=one_thread)
    return Peak(**json.loads(answer))
