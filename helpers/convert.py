"""One trained PyTorch network to the file that each runtime reads.

Every `to_*` takes the network, an example input (float32 tensor, 1 x channels x height x width: its shape becomes
the file's input shape) and the path to write; to_onnx and to_executorch also take what quantize_pt2e returns. Every
`to_*_int8` takes a float file or network and `calibration`, float32 N x channels x height x width, images of all
classes as the network sees them. They return the path, write the whole file or none, install nothing, and keep the
converters' logs to themselves unless one fails.
"""

import contextlib
import os
import tempfile
from pathlib import Path

import numpy as np
import torch

from helpers.quiet import quiet


@contextlib.contextmanager
def _writing(path: Path):
    """A scratch file beside `path` that takes its place at the end; an error leaves nothing behind."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, quiet():
        scratch = Path(folder, path.name)
        yield scratch
        for written in Path(folder).glob(path.name.split(".")[0] + ".*"):
            written.replace(path.with_name(written.name))


def to_pt2(model: torch.nn.Module, example: torch.Tensor, path: Path) -> Path:
    """PyTorch's own file: the traced graph and its weights, no Python classes needed to run it."""
    with _writing(path) as scratch:
        torch.export.save(torch.export.export(model.eval(), (example,)), scratch)
    return path


def to_torchscript(model: torch.nn.Module, example: torch.Tensor, path: Path) -> Path:
    """TorchScript, which C++ reads too: the traced graph, weights frozen in, with the example's shape beside it.

    PyTorch calls it deprecated. It stays for what .pt2 cannot do: the same file runs in Python and in C++, anywhere.
    """
    with _writing(path) as scratch:
        frozen = torch.jit.freeze(torch.jit.trace(model.eval(), example))
        torch.jit.save(frozen, scratch, _extra_files={"input_shape": " ".join(map(str, example.shape))})
    return path


def to_onnx(model: torch.nn.Module, example: torch.Tensor, path: Path) -> Path:
    """ONNX, for ONNX Runtime and as a way to others. Input "input", output "logits"."""
    with _writing(path) as scratch:
        torch.onnx.export(_ready(model), (example,), scratch, input_names=["input"], output_names=["logits"],
                          dynamo=True, external_data=False, verbose=False)
    return path


def _ready(model: torch.nn.Module) -> torch.nn.Module:
    """`model` in eval mode; an exported graph has no modes, and raises where one asks for them."""
    return model if isinstance(model, torch.fx.GraphModule) else model.eval()


def to_tflite(model: torch.nn.Module, example: torch.Tensor, path: Path) -> Path:
    """TFLite, for LiteRT, straight from PyTorch; the input stays NCHW."""
    with _writing(path) as scratch:
        import litert_torch

        litert_torch.config.show_progress = False  # it draws into a notebook by itself, past any redirection
        litert_torch.convert(model.eval(), (example,)).export(str(scratch))
    return path


def to_ncnn(model: torch.nn.Module, example: torch.Tensor, path: Path) -> Path:
    """ncnn's pair NAME.ncnn.param (the layers, as text; this is `path`) and NAME.ncnn.bin (the weights, float32)."""
    if not str(path).endswith(".ncnn.param"):
        raise ValueError(f"an ncnn model is named NAME.ncnn.param, not {Path(path).name}")
    with _writing(path) as scratch, tempfile.TemporaryDirectory() as other:
        import pnnx

        stem = os.path.join(other, "model")
        # half-precision weights are pnnx's default: half the file, and logits that differ in the third digit
        pnnx.export(model.eval(), stem + ".pt", (example,), fp16=False, ncnnparam=str(scratch),
                    ncnnbin=str(scratch)[: -len("param")] + "bin", ncnnpy=stem + "_ncnn.py", pnnxparam=stem + ".pnnx.param",
                    pnnxbin=stem + ".pnnx.bin", pnnxpy=stem + "_pnnx.py", pnnxonnx=stem + ".onnx")
        # the input's width, height and channels, which pnnx leaves out, so that the file says what it takes
        _, channels, height, width = example.shape
        text = scratch.read_text()
        scratch.write_text(text.replace(" 0 1 in0\n", f" 0 1 in0 0={width} 1={height} 2={channels}\n", 1))
    return path


def to_mnn(onnx_file: Path, path: Path, weight_bits: int = 32) -> Path:
    """MNN's file from the ONNX file of the network; with `weight_bits` 8 its weights are stored as int8."""
    with _writing(path) as scratch:
        # MNN.tools, which the mnnconvert command runs, installs packages and reports home; this module does not
        import MNN  # noqa: F401  (loads the library that _tools links to)
        import _tools

        options = ["--weightQuantBits", "8"] if weight_bits == 8 else []
        _tools.mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile", str(onnx_file), "--MNNModel", str(scratch),
                           "--bizCode", "workbook", *options])
        if not scratch.exists():
            raise RuntimeError(f"MNN cannot convert {Path(onnx_file).name}")
    return path


def to_executorch(model: torch.nn.Module, example: torch.Tensor, path: Path) -> Path:
    """ExecuTorch's program, its layers handed to XNNPACK, the same kernels that LiteRT uses."""
    with _writing(path) as scratch:
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        exported = torch.export.export(_ready(model), (example,))
        lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
        scratch.write_bytes(lowered.to_executorch().buffer)
    return path


def to_onnx_int8(onnx_file: Path, path: Path, calibration: np.ndarray, *, per_channel: bool = True,
                 qdq: bool = True, unsigned_activations: bool | None = None, ranges: str = "MinMax") -> Path:
    """Static int8 by ONNX Runtime: int8 weights, ranges from `calibration`, float32 in and out.

    `ranges` is how they are chosen: "MinMax", "Entropy" or "Percentile" (ONNX Runtime's CalibrationMethod).
    With qdq=False the file holds integer operators (QLinearConv) instead of pairs of quantize and dequantize
    around float ones. Activations are uint8 where that is quicker (x86) and int8 elsewhere, unless said.
    """
    import platform

    if unsigned_activations is None:
        unsigned_activations = platform.machine() in ("x86_64", "AMD64")
    with _writing(path) as scratch:
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        prepared = scratch.with_name("prepared.onnx")
        quant_pre_process(str(onnx_file), str(prepared))
        quantize_static(str(prepared), str(scratch), _Feed(_input_name(prepared), calibration), per_channel=per_channel,
                        quant_format=QuantFormat.QDQ if qdq else QuantFormat.QOperator,
                        calibrate_method=CalibrationMethod[ranges], weight_type=QuantType.QInt8,
                        activation_type=QuantType.QUInt8 if unsigned_activations else QuantType.QInt8)
    return path


def _input_name(onnx_file: Path) -> str:
    import onnx

    return onnx.load(onnx_file).graph.input[0].name


class _Feed:
    """Calibration images one by one, as ONNX Runtime's quantizer asks for them."""

    def __init__(self, name: str, images: np.ndarray) -> None:
        self._batches = iter([{name: images[i:i + 1]} for i in range(len(images))])

    def get_next(self) -> dict | None:
        return next(self._batches, None)


def to_tflite_int8(tflite_file: Path, path: Path, calibration: np.ndarray) -> Path:
    """Static int8 by Google's quantizer of .tflite files: int8 weights (per channel) and activations."""
    with _writing(path) as scratch:
        from ai_edge_litert.interpreter import Interpreter
        from ai_edge_quantizer import quantizer, recipe

        signature, names = next(iter(Interpreter(str(tflite_file)).get_signature_list().items()))
        tool = quantizer.Quantizer(str(tflite_file))
        tool.load_quantization_recipe(recipe.static_wi8_ai8())
        ranges = tool.calibrate({signature: [{names["inputs"][0]: calibration[i:i + 1]} for i in range(len(calibration))]})
        tool.quantize(ranges).export_model(str(scratch), overwrite=True)
    return path


def quantize_pt2e(model: torch.nn.Module, calibration: np.ndarray, *, per_channel: bool = True) -> torch.nn.Module:
    """`model` quantized by PyTorch for XNNPACK: static int8, weights and activations; it takes one image at a time.

    The exported graph gets observers, sees `calibration`, and is converted (torchao's PT2E): int8 weights, with
    quantize and dequantize operators around every layer. It computes what the file will, in float and slowly: look
    at its logits, and time the file that to_executorch or to_onnx makes of it.
    """
    with quiet():
        from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
            XNNPACKQuantizer, get_symmetric_quantization_config)
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        images = torch.from_numpy(calibration)
        graph = torch.export.export(model.eval(), (images[:1],)).module()
        quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=per_channel))
        observed = prepare_pt2e(graph, quantizer)
        with torch.no_grad():
            for image in images.split(1):
                observed(image)
        return convert_pt2e(observed)


def to_executorch_int8(model: torch.nn.Module, path: Path, calibration: np.ndarray) -> Path:
    """Static int8 by PyTorch, lowered to XNNPACK: quantize_pt2e, then to_executorch."""
    return to_executorch(quantize_pt2e(model, calibration), torch.from_numpy(calibration[:1]), path)
