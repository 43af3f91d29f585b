"""Check an ONNX file that is the source of a conversion: its existence, input and type."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from modelfiles.errors import ConversionError
from modelfiles.places import display_path

QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantize", "QLinear", "QGemm")


def input_shape(onnx_file: Path | str) -> tuple[int | None, ...]:
    """The shape of the only input, NCHW, with None for a free size.

    Raises ConversionError for any other inputs.
    """
    entry = image_input(load(onnx_file), onnx_file)
    sizes = entry.type.tensor_type.shape.dim
    return tuple(size.dim_value or None for size in sizes)


def check_is_float(onnx_file: Path | str) -> None:
    """Raise ConversionError if the file has quantize operators already."""
    operators = {node.op_type for node in load(onnx_file).graph.node}
    found = sorted(name for name in operators if name.startswith(QUANTIZED))
    if found:
        raise ConversionError(
            f"{display_path(onnx_file)} is int8 already ({', '.join(found)}); "
            "start from the float file."
        )


@contextlib.contextmanager
def prepared(onnx_file: Path | str) -> Iterator[tuple[Path, str]]:
    """A copy of the file with inferred shapes and no weights among its inputs; the input's name."""
    import onnx
    from onnx import version_converter
    from onnxruntime.quantization.shape_inference import quant_pre_process

    model = load(onnx_file)
    if any(entry.domain in ("", "ai.onnx") and entry.version < 13 for entry in model.opset_import):
        model = version_converter.convert_version(model, 17)  # 13 has int8 per channel
    entry = image_input(model, onnx_file)
    # before IR version 4, files listed their weights among the inputs
    del model.graph.input[:]
    model.graph.input.append(entry)
    model.ir_version = max(model.ir_version, 4)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, "plain.onnx")
        ready = Path(folder, "prepared.onnx")
        onnx.save(model, plain)
        quant_pre_process(str(plain), str(ready))
        yield ready, entry.name


def load(onnx_file: Path | str):
    import onnx

    if not Path(onnx_file).is_file():
        raise ConversionError(f"{display_path(onnx_file)} does not exist.")
    try:
        return onnx.load(onnx_file)
    except Exception as error:
        raise ConversionError(f"{display_path(onnx_file)} is not an ONNX file: {error}") from error


def image_input(model, onnx_file: Path | str):
    """The only input that is not a weight."""
    weights = {weight.name for weight in model.graph.initializer}
    entries = [entry for entry in model.graph.input if entry.name not in weights]
    if len(entries) != 1 or len(entries[0].type.tensor_type.shape.dim) < 2:
        raise ConversionError(
            f"{display_path(onnx_file)} must have one input, N x channels x height x width or "
            f"N x features; it has {', '.join(_described(entry) for entry in entries) or 'none'}."
        )
    return entries[0]


def _described(entry) -> str:
    sizes = (size.dim_value or size.dim_param or "any" for size in entry.type.tensor_type.shape.dim)
    return f"{entry.name} ({' x '.join(map(str, sizes))})"
