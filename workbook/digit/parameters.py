"""The integers of an int8 LeNet, read from a file, and their form for network.js."""

import base64
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.data import PIXEL_MEAN, PIXEL_STD
from modelfiles.errors import ModelFileError
from modelfiles.integers.operations import Grid

SHAPES = {
    "conv1": (6, 1, 5, 5),
    "conv2": (16, 6, 5, 5),
    "fc1": (120, 256),
    "fc2": (84, 120),
    "fc3": (10, 84),
}
# the width of a layer's input
WIDTHS = {"conv1": 28, "pool1": 24, "conv2": 12, "pool2": 8}
POOLED = {"conv1": "pool1", "conv2": "pool2"}
ADVICE = "Run notebook 05b_integer_only_inference, which writes the int8 files of LeNet."


@dataclass(frozen=True)
class Weighted:
    """A convolution or a dense layer.

    `weight` is int8, outputs x inputs (x height x width); `bias` int32, one per output, or None;
    `weight_scale` float32, one per output or one for all. `rule` names a rule of network.js.
    """

    weight: np.ndarray
    bias: np.ndarray | None
    weight_scale: np.ndarray
    input: Grid
    output: Grid
    rule: str

    def as_json(self, name: str) -> dict:
        """What network.js reads."""
        outputs = len(self.weight)
        bias = np.zeros(outputs, np.int32) if self.bias is None else self.bias
        described = {
            "name": name,
            "kind": "convolution" if self.weight.ndim == 4 else "dense",
            "weights": base64.b64encode(np.ascontiguousarray(self.weight).tobytes()).decode(),
            "bias": bias.tolist(),
            "zero": self.input.zero,
            "grid": _grid_json(self.output),
            "rule": self.rule,
        }
        if self.weight.ndim == 4:
            _, channels, size, _ = self.weight.shape
            described |= {"width": WIDTHS[name], "size": size, "channels": channels}
        if self.rule == "float32":
            # each step rounded to float32, as in the runtimes
            m = self.input.scale * self.weight_scale / self.output.scale
            return described | {"M": np.broadcast_to(m, outputs).astype(np.float64).tolist()}
        m0, n = fixed_point(np.broadcast_to(self.multipliers(), outputs))
        return described | {"M0": m0.tolist(), "n": n.tolist()}

    def multipliers(self) -> np.ndarray:
        """M in float64: the scales of weights and input, divided by that of the output."""
        scale = np.asarray(self.weight_scale, np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            return scale * self.input.scale / self.output.scale


@dataclass(frozen=True)
class Network:
    """The input's grid and the five layers with weights, by name."""

    path: Path
    input: Grid
    layers: dict[str, Weighted]

    def as_json(self) -> dict:
        """What network.js reads, with the pools between the layers."""
        layers = []
        for name, layer in self.layers.items():
            layers.append(layer.as_json(name))
            if name in POOLED:
                pool = POOLED[name]
                layers.append({"name": pool, "kind": "pool", "width": WIDTHS[pool]})
        normalized = {"grid": _grid_json(self.input), "mean": PIXEL_MEAN, "std": PIXEL_STD}
        return {
            "file": self.path.name,
            "bytes": self.path.stat().st_size,
            "input": normalized,
            "layers": layers,
        }


def fixed_point(real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers between 0 and 1 as M0 / 2**n: int64, M0 with exactly 31 bits."""
    fraction, exponent = np.frexp(real)  # real = fraction * 2**exponent, fraction from 1/2 to 1
    m0 = np.floor(fraction * 2.0**31 + 0.5).astype(np.int64)
    too_long = m0 >> 31  # 1 where rounding made it 2**31: halve it
    return m0 >> too_long, 31 - exponent - too_long


def check(path: Path, what: str, found: object, expected: object) -> None:
    """ModelFileError if a file is not the int8 LeNet, with what differs."""
    if found != expected:
        raise ModelFileError(
            f"{path.name} is not the int8 LeNet: {what} {found}, not {expected}. {ADVICE}"
        )


def _grid_json(grid: Grid) -> dict:
    """What network.js reads. Every float32 is a float64, so that nothing is rounded."""
    return {"scale": float(grid.scale), "zero": grid.zero, "low": grid.low, "high": grid.high}


def lenet(path: Path, image: Grid, found: list[Weighted]) -> Network:
    """The network of five layers; ModelFileError if their shapes or grids are not LeNet's."""
    layers = dict(zip(SHAPES, found))
    before = image
    for name, layer in layers.items():
        check(path, f"the weights of {name} have shape", layer.weight.shape, SHAPES[name])
        check(path, f"the weights of {name} are", layer.weight.dtype, np.dtype(np.int8))
        scales = np.size(layer.weight_scale)
        outputs = len(layer.weight)
        if scales != 1:
            check(path, f"the number of weight scales of {name} is", scales, outputs)
        multipliers = layer.multipliers()
        if not ((multipliers > 0) & (multipliers < 1)).all():
            raise ModelFileError(
                f"{path.name} is not the int8 LeNet: a scale of {name} is 0, negative, too large "
                f"or not a number. {ADVICE}"
            )
        source = (layer.input.scale, layer.input.zero)
        check(path, f"the grid that {name} reads is", source, (before.scale, before.zero))
        before = layer.output
    return Network(path, image, layers)
