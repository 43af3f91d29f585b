"""Convert a trained PyTorch network to a file for each runtime.

Every `to_*` takes the network, an example input and the path to write. The example is a float32
tensor, N x channels x height x width or N x features; its shape becomes the input shape of the
file. to_onnx and to_executorch also take the result of quantize_pt2e. Every `to_*_int8` takes a
float file or network and `calibration`: images of all classes, float32 N x channels x height x
width, normalized as for the network. All return the path.

Each file is opened and run in a separate process before it gets its name. Its outputs for the
example and for random images must equal the network's. The outputs of an int8 file for calibration
images must be close to them. Otherwise nothing is written and ConversionError gives the reason.
Networks, examples and images are not changed. Nothing is installed. A converter's log is shown only
if it fails.

read_layers gives the layers of an ONNX file, and int8 for any of them, with ranges of your own.
"""

from modelfiles.conversion.batch_norms import skip_absent_convolutions
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
    to_tflite_half,
    to_tflite_int8,
    xnnpack_quantizer,
)
from modelfiles.conversion.onnx_layers import OnnxLayers, read_layers
from modelfiles.errors import ConversionError

__all__ = [
    "ConversionError",
    "OnnxLayers",
    "quantize_pt2e",
    "read_layers",
    "skip_absent_convolutions",
    "to_executorch",
    "to_executorch_int8",
    "to_mnn",
    "to_ncnn",
    "to_onnx",
    "to_onnx_int8",
    "to_pt2",
    "to_tflite",
    "to_tflite_half",
    "to_tflite_int8",
    "to_torchscript",
    "xnnpack_quantizer",
]
