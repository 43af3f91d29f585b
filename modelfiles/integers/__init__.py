"""Int8 networks as integers: what a file contains, and what each operator of it puts out.

Notebook 05b computes such networks itself and compares every tensor.

operations   what a network consists of: grids, layers, pools, additions
onnx_chain   read an ONNX file in the QOperator form
tflite_chain  read an int8 .tflite file
exposed      run a file in its runtime and return the output of every operator
ties         copies of files with powers of two as scales, in which ties are frequent
operators    which operators an ONNX file has
forms        other forms of int8: signed, unsigned, 7-bit weights
single       ONNX files with one integer operator

read_network picks the reader by the file's suffix.
"""

from pathlib import Path

from modelfiles.errors import ModelFileError
from modelfiles.integers.exposed import (
    KERNELS,
    exposed_onnx,
    run_exposed_onnx,
    run_onnx,
    run_tflite,
)
from modelfiles.integers.forms import other_forms, quantize_onnx
from modelfiles.integers.onnx_chain import INPUTS, read_onnx
from modelfiles.integers.operations import (
    Addition,
    AveragePool,
    Grid,
    MaxPool,
    Network,
    Rearrange,
    StoredLayer,
)
from modelfiles.integers.operators import operators, with_average_pool
from modelfiles.integers.single import (
    addition_file,
    exhaustive_sums,
    quantized_by_operator,
    run_addition,
)
from modelfiles.integers.tflite_chain import open_tflite, packed, read_tflite
from modelfiles.integers.ties import provoke_onnx, provoke_tflite

__all__ = [
    "INPUTS",
    "KERNELS",
    "Addition",
    "AveragePool",
    "Grid",
    "MaxPool",
    "Network",
    "Rearrange",
    "StoredLayer",
    "addition_file",
    "exhaustive_sums",
    "exposed_onnx",
    "open_tflite",
    "operators",
    "other_forms",
    "packed",
    "provoke_onnx",
    "provoke_tflite",
    "quantize_onnx",
    "quantized_by_operator",
    "read_network",
    "read_onnx",
    "read_tflite",
    "run_addition",
    "run_exposed_onnx",
    "run_onnx",
    "run_tflite",
    "with_average_pool",
    "with_ties",
]


def read_network(path: Path | str, layer: type[StoredLayer] = StoredLayer) -> Network:
    """The integer network in an int8 .onnx (QOperator form) or .tflite file.

    Convolutions and dense layers become objects of the class `layer`. ModelFileError for other
    files, and for operators that this package does not know.
    """
    path = Path(path)
    if path.suffix == ".onnx":
        return read_onnx(path, layer)
    if path.suffix == ".tflite":
        return read_tflite(path, layer)
    raise ModelFileError(f"{path.name} is not an .onnx or .tflite file. Use one of these formats.")


def with_ties(path: Path) -> Path:
    """A copy of an int8 file in which ties are frequent, next to it; its name begins with ties_."""
    provoke = provoke_onnx if path.suffix == ".onnx" else provoke_tflite
    return provoke(path, path.with_stem(f"ties_{path.stem}"))
