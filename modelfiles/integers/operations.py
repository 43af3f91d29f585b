"""What an int8 network consists of. Activations are N x height x width x channels, or N x features.

Every operation has the name of its `operator` in the file, the names of the tensors that it
`reads`, and of the one that it `writes`.
"""

from dataclasses import dataclass

import numpy as np

from modelfiles.errors import ModelFileError


@dataclass(frozen=True)
class Grid:
    """The real numbers scale * (q - zero) for the integers q from low to high."""

    scale: np.float32
    zero: int
    low: int
    high: int

    @classmethod
    def stored(cls, scale, zero, dtype, relu: bool = False) -> "Grid":
        """The grid of a tensor in a file; a fused ReLU raises its low end to the zero point."""
        limits = np.iinfo(dtype)
        zero = int(np.ravel(zero)[0])
        low = max(zero, limits.min) if relu else limits.min
        return cls(np.float32(np.ravel(scale)[0]), zero, int(low), int(limits.max))


@dataclass
class Operation:
    """An operator of the file."""

    operator: str
    reads: tuple[str, ...]
    writes: str


@dataclass
class StoredLayer(Operation):
    """A convolution or a dense layer, with the grids of its input and output.

    `weight` is int8, one column per output; its rows are the kernel's height x width x inputs, or
    the inputs of a dense layer. A depthwise layer has one input per output, so its rows are height
    x width. `bias` is int32, one per output. `kernel` is (height, width), None for a dense layer.
    `weight_scale` is float32, one per output or one for all. `strides` are (vertical, horizontal),
    `padding` (top, left, bottom, right).
    """

    weight: np.ndarray
    bias: np.ndarray
    kernel: tuple[int, ...] | None
    input: Grid
    weight_scale: np.ndarray
    output: Grid
    strides: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    is_depthwise: bool = False


@dataclass
class MaxPool(Operation):
    """The largest of every `size` x `size` square."""

    size: int


@dataclass
class AveragePool(Operation):
    """The mean of each channel over the whole image, on a grid of its own."""

    input: Grid
    output: Grid


@dataclass
class Addition(Operation):
    """The sum of two tensors of one shape, each of the three on a grid of its own."""

    inputs: tuple[Grid, Grid]
    output: Grid


@dataclass
class Rearrange(Operation):
    """Axes in another order, then, unless it is None, another shape."""

    axes: tuple[int, ...]
    shape: tuple[int, ...] | None = None


@dataclass
class Network:
    """Operations in the order in which they run, and the grids at both ends.

    `source` is the name of the input, `dtype` the type of all activations.
    """

    operations: list[Operation]
    source: str
    input: Grid
    output: Grid
    dtype: type


def require(condition: object, what: str) -> None:
    """ModelFileError "this reader does not know WHAT" unless the condition holds."""
    if not condition:
        raise ModelFileError(f"this reader does not know {what}")
