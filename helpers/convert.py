"""One trained PyTorch network to the file that each runtime reads.

Every `to_*` takes the network, an example input (float32 tensor, N x channels x height x width: its
shape becomes the file's input shape) and the path to write. to_onnx and to_executorch also take
what quantize_pt2e returns. Every `to_*_int8` takes a float file or network and `calibration`,
float32 N x channels x height x width, images of all classes as the network takes them. All return
the path.

A file is opened and run in a process of its own before it gets its name. Its answers to the example
and to random images must be the network's; an int8 file's answers to calibration images must be
near them. Otherwise nothing is written, and ConversionError says what is wrong. Networks, examples
and images stay as they were. Nothing is installed, and a converter's log is shown only if it fails.
"""

from modelfiles.conversion.converters import (
    to_executorch,
    to_ncnn,
    to_onnx,
    to_pt2,
    to_tflite,
    to_torchscript,
)
from modelfiles.conversion.int8_forms import (
    quantize_pt2e,
    to_executorch_int8,
    to_mnn,
    to_onnx_int8,
    to_tflite_int8,
    xnnpack_quantizer,
)
from modelfiles.errors import ConversionError

__all__ = [
    "ConversionError",
    "quantize_pt2e",
    "to_executorch",
    "to_executorch_int8",
    "to_mnn",
    "to_ncnn",
    "to_onnx",
    "to_onnx_int8",
    "to_pt2",
    "to_tflite",
    "to_tflite_int8",
    "to_torchscript",
    "xnnpack_quantizer",
]
