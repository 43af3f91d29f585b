"""An ONNX network layer by layer: its activations, and int8 for any part of it.

Converters decide on their own which layers become int8 and from which range of numbers. Here the
caller decides both: `OnnxLayers.quantized` takes the range of each tensor, and the layers that stay
in float.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modelfiles.conversion import onnx_grids, onnx_source
from modelfiles.errors import ConversionError

if TYPE_CHECKING:
    from onnx import ModelProto

ACTIVATIONS = ("Relu", "LeakyRelu", "Clip", "HardSwish", "HardSigmoid", "Sigmoid", "Mul")
OPSET = 17  # scales per channel need 13 or later; files of detectors often have 11


@dataclass(frozen=True)
class OnnxLayers:
    """A float network, and which of its nodes form a layer.

    `layers` is {layer: its nodes}: a convolution and the activation behind it, which have the name
    of the convolution; any other node is a layer of its own. `macs` is {layer: multiply-accumulates
    of its convolution}, 0 for the others. `tensors` are the float tensors that nodes exchange, the
    input first.
    """

    model: "ModelProto"
    layers: dict[str, list[str]]
    macs: dict[str, int]
    tensors: list[str]

    @property
    def input(self) -> str:
        """The name of the input."""
        return self.tensors[0]

    def weights(self) -> dict[str, np.ndarray]:
        """{name: numbers} of everything that is stored in the file."""
        from onnx import numpy_helper

        return {item.name: numpy_helper.to_array(item) for item in self.model.graph.initializer}

    def activations(self, images: list[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """For each image {tensor: its numbers}. An image is float32, 1 x channels x H x W."""
        import onnx

        watched = onnx_grids.copy_of(self.model)
        del watched.graph.output[:]
        watched.graph.output.extend(
            onnx.helper.make_empty_tensor_value_info(name) for name in self.tensors[1:]
        )
        session = _session(watched)
        for image in images:
            values = session.run(self.tensors[1:], {self.input: image})
            yield dict(zip(self.tensors, [image, *values]))

    def quantized(
        self,
        ranges: Mapping[str, tuple[float, float]],
        keep: Collection[str] = (),
        bits: int = 8,
        per_channel: bool = True,
    ) -> "ModelProto":
        """The network in int8 (QDQ form), except for the layers `keep`, which stay in float.

        `ranges` is {tensor: (lowest, highest)}; each is widened to contain 0. Activations are
        uint8, with one scale per tensor; the weights of convolutions int8, symmetric, with a scale
        per output channel, or one with per_channel=False. Fewer `bits`, from 2 on, are simulated
        and stored in 8. ValueError for an unknown layer and for a tensor without a range.
        """
        unknown = set(keep) - set(self.layers)
        missing = set(self.tensors) - set(ranges)
        if unknown or missing or not 2 <= bits <= 8:
            raise ValueError(
                f"unknown layers {sorted(unknown)}, tensors without a range {sorted(missing)}, "
                f"or bits outside 2 to 8 ({bits})"
            )
        kept = {name for layer in keep for name in self.layers[layer]}
        return onnx_grids.write(self.model, self.tensors, ranges, kept, bits, per_channel)


def read_layers(onnx_file: Path | str) -> OnnxLayers:
    """The layers of an ONNX file. ConversionError for an int8 file and for one of free size."""
    import onnx
    from onnx import version_converter

    onnx_source.check_is_float(onnx_file)
    if None in onnx_source.input_shape(onnx_file):
        raise ConversionError(f"{Path(onnx_file).name} has a free input size: export it with one")
    model = onnx_source.load(onnx_file)
    entry = onnx_source.image_input(model, onnx_file)
    if model.opset_import[0].version < OPSET:
        model = version_converter.convert_version(model, OPSET)
    # old files list their weights among the inputs
    del model.graph.input[:]
    model.graph.input.append(entry)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
    model = onnx.shape_inference.infer_shapes(model)
    shown = [*model.graph.value_info, *model.graph.output]
    sizes = {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in shown
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    made = [name for node in model.graph.node for name in node.output if name in sizes]
    network = OnnxLayers(model, _layers(model), {}, [entry.name, *made])
    stored = network.weights()
    network.macs.update(dict.fromkeys(network.layers, 0))
    for node in model.graph.node:
        if node.op_type == "Conv":
            pixels = int(np.prod(sizes[node.output[0]][2:]))
            network.macs[node.name] = pixels * stored[node.input[1]].size
    return network


def _layers(model: "ModelProto") -> dict[str, list[str]]:
    layers: dict[str, list[str]] = {}
    layer_of: dict[str, str] = {}  # of the tensors that a convolution and its activation make
    for node in model.graph.node:
        inputs = node.input[:1] if node.op_type == "Clip" else node.input  # the rest are its limits
        sources = {layer_of.get(name, "") for name in inputs}
        layer = node.name
        if node.op_type in ACTIVATIONS and len(sources) == 1 and "" not in sources:
            layer = sources.pop()
        layers.setdefault(layer, []).append(node.name)
        if node.op_type == "Conv" or layer != node.name:
            layer_of[node.output[0]] = layer
    return layers


def _session(model: "ModelProto"):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    content = model.SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
