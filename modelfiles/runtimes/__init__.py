"""One way to open and run a model file in any runtime: open_model(path).predict(images).

opening        open_model: from a file's name to a loaded model
model          Model: inputs, outputs, and their checks
torch_files    .pt2, .torchscript and .pte
onnx_file      .onnx; onnx_grid reads the scale of an integer input
tflite_file    .tflite; armnn is Arm's own kernels for it, as a delegate
pyarmnn_file   .tflite in Arm NN itself, in the system's Python
ncnn_file      .ncnn.param
mnn_file       .mnn
options        settings that differ from the book's, for a process that tries them out
"""

from modelfiles.runtimes.model import Model, dequantize, quantize
from modelfiles.runtimes.opening import OPENERS, open_model

__all__ = ["OPENERS", "Model", "dequantize", "open_model", "quantize"]
