"""ONNX with float16 weights, by the converter in ONNX Runtime's package."""

from pathlib import Path

from modelfiles.conversion import compare, inputs, onnx_source
from modelfiles.conversion.writing import check, writing


def to_onnx_half(onnx_file: Path | str, path: Path | str) -> Path:
    """A float32 .onnx file with its weights and layers as float16; input and output stay float32.

    On a CPU, ONNX Runtime computes most layers in float32 between casts: the file is half as large,
    and rarely faster.
    """
    with writing(path, ".onnx") as (scratch, process):
        onnx_source.check_is_float(onnx_file)
        shape = onnx_source.input_shape(onnx_file)
        images = inputs.random_images(tuple(size or 32 for size in shape))
        wanted = process.answers(Path(onnx_file), images)

        import onnx
        from onnxruntime.transformers.float16 import convert_float_to_float16

        model = convert_float_to_float16(onnx_source.load(onnx_file), keep_io_types=True)
        onnx.save(model, scratch)
        check(scratch, process, images, wanted, compare.half_fault)
    return Path(path)
