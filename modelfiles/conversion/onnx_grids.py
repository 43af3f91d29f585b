"""Write a float ONNX network as int8: pairs of quantize and dequantize operators (QDQ form).

ONNX Runtime computes a convolution with integers if such pairs stand before and behind it.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

CLIPPING = ("Relu", "Clip")  # computed together with the convolution before them
SMALLEST_SPAN = 1e-8  # of a range, so that no step is zero


def copy_of(message):
    """An independent copy of a part of an ONNX network."""
    copied = type(message)()
    copied.CopyFrom(message)
    return copied


def write(
    model: "ModelProto",
    tensors: Collection[str],
    ranges: Mapping[str, tuple[float, float]],
    kept: Collection[str],
    bits: int,
    per_channel: bool,
) -> "ModelProto":
    """`model` in int8, but the nodes `kept` in float. See OnnxLayers.quantized for the rest.

    `tensors` are the float tensors that nodes exchange, the input first.
    """
    return _Writer(model, tensors, ranges, kept, bits, per_channel).result


def _on_grid(name: str) -> str:
    return f"{name}_on_grid"


@dataclass
class _Writer:
    """Writes the int8 network node by node, each after what it reads."""

    model: "ModelProto"
    tensors: Collection[str]
    ranges: Mapping[str, tuple[float, float]]
    kept: Collection[str]
    bits: int
    per_channel: bool
    result: "ModelProto" = field(init=False)

    def __post_init__(self) -> None:
        from onnx import numpy_helper

        self.result = copy_of(self.model)
        self.graph = self.result.graph
        del self.graph.node[:]
        self.stored = {item.name: numpy_helper.to_array(item) for item in self.graph.initializer}
        nodes = self.model.graph.node
        self.is_int8 = {node.name: node.name not in self.kept for node in nodes}
        self.step: dict[str, np.float32] = {}  # of each tensor with a grid
        self.producer = {name: node.name for node in nodes for name in node.output}
        with_grid = self._with_grid()
        outputs = {value.name for value in self.graph.output}
        entry = self.graph.input[0].name
        if entry in with_grid:
            self._add_grid(entry, entry, _on_grid)
        for node in nodes:
            self._add_node(node)
            for name in node.output:
                if name in with_grid and name in outputs:  # the output keeps its name
                    self.graph.node[-1].output[0] = f"{name}_exact"
                    self._add_grid(name, f"{name}_exact", str)
                elif name in with_grid:
                    self._add_grid(name, name, _on_grid)
        self._drop_unused()

    def _with_grid(self) -> set[str]:
        """What int8 nodes read or write, except between a convolution and its ReLU."""
        nodes = self.model.graph.node
        readers: dict[str, list[NodeProto]] = {}
        for node in nodes:
            for name in node.input:
                readers.setdefault(name, []).append(node)
        found = set()
        for node in nodes:
            if self.is_int8[node.name]:
                found |= {*node.input, *node.output} & set(self.tensors)
        for node in nodes:
            after = readers.get(node.output[0], [])
            fused = node.op_type == "Conv" and len(after) == 1 and after[0].op_type in CLIPPING
            if fused:
                found.discard(node.output[0])
        return found

    def _add_node(self, node: "NodeProto") -> None:
        """The node. In float it reads exact numbers, unless an int8 node computed them."""
        copied = copy_of(node)
        for place, name in enumerate(node.input):
            made_by_int8 = self.is_int8.get(self.producer.get(name, ""), False)
            if name in self.step and (made_by_int8 or self.is_int8[node.name]):
                copied.input[place] = _on_grid(name)
        if node.op_type == "Conv" and self.is_int8[node.name]:
            self._add_weights(node, copied)
        self.graph.node.append(copied)

    def _add_weights(self, node: "NodeProto", copied: "NodeProto") -> None:
        """int8 weights, and the bias as int32 in units of the products of both steps."""
        weights = self.stored[node.input[1]]
        rows = weights.reshape(len(weights), -1)
        largest = np.abs(rows).max(axis=1)
        if not self.per_channel:
            largest = np.full_like(largest, largest.max())
        top = 2 ** (self.bits - 1) - 1
        step = (np.maximum(largest, SMALLEST_SPAN) / top).astype(np.float32)
        rounded = np.rint(rows / step[:, None]).clip(-top, top).reshape(weights.shape)
        copied.input[1] = self._stored(f"{node.name}_weights", rounded.astype(np.int8), step)
        if len(node.input) > 2:
            bias_step = (step * self.step[node.input[0]]).astype(np.float32)
            bias = np.rint(self.stored[node.input[2]] / bias_step).clip(-(2**31), 2**31 - 1)
            copied.input[2] = self._stored(f"{node.name}_bias", bias.astype(np.int32), bias_step)

    def _stored(self, name: str, integers: np.ndarray, steps: np.ndarray) -> str:
        """Integers in the file and the node that makes them floats; the name of the result."""
        zeros = np.zeros(len(steps), integers.dtype)
        inputs = [
            self._constant(f"{name}_int", integers),
            self._constant(f"{name}_step", steps),
            self._constant(f"{name}_zero", zeros),
        ]
        self._append("DequantizeLinear", inputs, name, axis=0)
        return name

    def _add_grid(self, name: str, source: str, result_name: Callable[[str], str]) -> None:
        """`source` rounded to the grid of the tensor `name`, as integers and as floats again."""
        low, high = self.ranges[name]
        levels = 2**self.bits - 1
        low = min(float(low), 0.0)
        step = np.float32(max(max(float(high), 0.0) - low, SMALLEST_SPAN) / levels)
        zero = np.uint8(min(levels, round(-low / float(step))))
        self.step[name] = step
        if self.bits < 8:  # uint8 has more levels than the grid
            ends = {"lowest": -step * zero, "highest": step * (levels - zero)}
            limits = [self._constant(f"{name}_{k}", np.float32(end)) for k, end in ends.items()]
            self._append("Clip", [source, *limits], f"{name}_clipped")
            source = f"{name}_clipped"
        scale = self._constant(f"{name}_step", step)
        offset = self._constant(f"{name}_zero", zero)
        self._append("QuantizeLinear", [source, scale, offset], f"{name}_int")
        self._append("DequantizeLinear", [f"{name}_int", scale, offset], result_name(name))

    def _append(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> None:
        from onnx import helper

        self.graph.node.append(helper.make_node(operator, inputs, [output], **attributes))

    def _constant(self, name: str, value: np.ndarray | np.generic) -> str:
        from onnx import numpy_helper

        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _drop_unused(self) -> None:
        """The float weights that int8 weights have replaced, and shapes of old tensors."""
        used = {name for node in self.graph.node for name in node.input}
        left = [item for item in self.graph.initializer if item.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(left)
        del self.graph.value_info[:]
