"""Settings of a runtime that differ from the book's, for a process that tries them out.

The environment variable WORKBOOK_RUNTIME_OPTIONS holds a JSON object {name: value}. `workbook
evaluate --tune` sets it for the processes that it starts. Without it, every runtime has the
settings of the book.

name                runtimes       meaning
spinning            ONNX Runtime   false: waiting threads sleep at once
denormals_as_zero   ONNX Runtime, PyTorch   numbers below 1e-38 are computed as 0
memory_arena        ONNX Runtime   false: memory is taken from the system for each call
memory_pattern      ONNX Runtime   false: memory of a call is not planned as one block
xnnpack             LiteRT         false: LiteRT's own kernels instead of XNNPACK's
winograd, sgemm, packing_layout, lightmode   ncnn   true or false, as in ncnn's Option
blocktime           ncnn           milliseconds that a waiting thread spins
fp16_packed, fp16_storage, fp16_arithmetic   ncnn   true: half precision if the processor has it
power, memory       MNN            "low", "normal" or "high"
precision           MNN            "low": half precision if the processor has it
"""

import json
import os

VARIABLE = "WORKBOOK_RUNTIME_OPTIONS"


def chosen() -> dict:
    """The settings of this process, {name: value}; {} without the variable."""
    return json.loads(os.environ.get(VARIABLE) or "{}")
