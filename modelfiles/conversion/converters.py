"""Convert a network to a file for each runtime. helpers.convert describes the common rules."""

from functools import partial
from pathlib import Path

import torch

from modelfiles.conversion import compare, ncnn_form, tflite_biases, tracing
from modelfiles.conversion.lowering import lower_to_xnnpack
from modelfiles.conversion.writing import write_network


def to_pt2(model: torch.nn.Module, example: torch.Tensor, path: Path | str) -> Path:
    """PyTorch's format: the exported graph and its weights. It runs without the Python classes."""
    return write_network(model, example, path, ".pt2", _write_pt2)


def to_torchscript(model: torch.nn.Module, example: torch.Tensor, path: Path | str) -> Path:
    """TorchScript: the traced graph, its weights, and the example's shape.

    A network with an `if` on the values in its images is rejected: a trace keeps only one branch.
    PyTorch has deprecated it. Unlike .pt2, one file works in both Python and C++.
    """
    return write_network(model, example, path, ".torchscript", _write_torchscript)


def to_onnx(model: torch.nn.Module, example: torch.Tensor, path: Path | str) -> Path:
    """ONNX, for ONNX Runtime and as the source of other files. Input "input", output "logits"."""
    return write_network(model, example, path, ".onnx", _write_onnx)


def to_tflite(model: torch.nn.Module, example: torch.Tensor, path: Path | str) -> Path:
    """TFLite, for LiteRT, directly from PyTorch. The input stays NCHW.

    A dense layer without a bias gets one of zeros, so that Arm NN can read the file, too.
    """
    return write_network(model, example, path, ".tflite", _write_tflite)


def to_ncnn(
    model: torch.nn.Module, example: torch.Tensor, path: Path | str, half: bool = False
) -> Path:
    """ncnn's pair NAME.ncnn.param (the layers, as text) and NAME.ncnn.bin (the weights).

    `path` is that of NAME.ncnn.param. ncnn takes one image per call. The weights are float32, with
    `half` float16.
    """
    write = partial(ncnn_form.write, half=half)
    find_fault = compare.half_fault if half else compare.float_fault
    return write_network(model, example, path, ".ncnn.param", write, find_fault)


def to_executorch(model: torch.nn.Module, example: torch.Tensor, path: Path | str) -> Path:
    """An ExecuTorch program that computes its layers with XNNPACK, the kernels of LiteRT."""
    return write_network(model, example, path, ".pte", lower_to_xnnpack)


def _write_pt2(network: torch.nn.Module, example: torch.Tensor, scratch: Path) -> None:
    torch.export.save(torch.export.export(network, (example,)), scratch)


def _write_torchscript(network: torch.nn.Module, example: torch.Tensor, scratch: Path) -> None:
    frozen = torch.jit.freeze(tracing.trace(network, example))
    shape = " ".join(map(str, example.shape))
    torch.jit.save(frozen, scratch, _extra_files={"input_shape": shape})


def _write_onnx(network: torch.nn.Module, example: torch.Tensor, scratch: Path) -> None:
    torch.onnx.export(
        network,
        (example,),
        scratch,
        input_names=["input"],
        output_names=["logits"],
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def _write_tflite(network: torch.nn.Module, example: torch.Tensor, scratch: Path) -> None:
    import litert_torch

    litert_torch.config.show_progress = False  # its progress bar ignores redirection
    litert_torch.convert(network, (example,)).export(str(scratch))
    tflite_biases.add_zero_biases(scratch)
