"""Read an int8 .tflite file, through the schema that comes with the runtime.

The file is a flatbuffer: a list of operators, a list of tensors with their scales, and buffers of
bytes. Channels are last, and a ReLU is a property of the operator before it.
"""

from pathlib import Path

import numpy as np

from modelfiles.integers.operations import (
    Grid,
    MaxPool,
    Network,
    Operation,
    Rearrange,
    StoredLayer,
    require,
)

LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
DISTANCES = ("strideW", "strideH", "dilationWFactor", "dilationHFactor")


def open_tflite(path: Path):
    """The file as an object of its schema, with all its buffers."""
    from ai_edge_litert import schema_py_generated as schema

    raw = Path(path).read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(raw, 0))
    for buffer in model.buffers:
        if buffer.offset > 1:  # a large tensor is stored behind the flatbuffer: bring it in
            buffer.data = np.frombuffer(raw, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def packed(model) -> bytes:
    """The bytes of a .tflite file with the contents of `model`."""
    import flatbuffers

    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def read_tflite(path: Path, layer: type[StoredLayer] = StoredLayer) -> Network:
    """The network in the file, a chain; ModelFileError if an operator is unknown."""
    from ai_edge_litert import schema_py_generated as schema

    model = open_tflite(path)
    graph = model.subgraphs[0]
    before = graph.inputs[0]
    is_int8 = graph.tensors[before].type == schema.TensorType.INT8
    require(is_int8, "a file that does not take int8")
    operations = []
    for step in graph.operators:
        require(step.inputs[0] == before, "a network that is not a chain")
        operations.append(_operation(model, step, layer))
        before = step.outputs[0]
    source = str(graph.inputs[0])
    ends = (grid_of(model, graph.inputs[0]), grid_of(model, graph.outputs[0]))
    return Network(operations, source, *ends, np.int8)


def _operation(model, step, layer: type[StoredLayer]) -> Operation:
    from ai_edge_litert import schema_py_generated as schema

    code = model.operatorCodes[step.opcodeIndex].builtinCode
    name = name_of(schema.BuiltinOperator, code)
    options = step.builtinOptions
    reads = (str(step.inputs[0]),)
    writes = str(step.outputs[0])
    if name in LAYERS:
        return _layer(name, model, step, layer)
    if name == "MAX_POOL_2D":
        size = options.filterWidth
        is_square = {options.filterHeight, options.strideW, options.strideH} == {size}
        is_plain = is_square and options.padding == schema.Padding.VALID
        require(is_plain, "pools that overlap, are not square, or have padding")
        return MaxPool(name, reads, writes, size)
    if name == "RESHAPE":
        axes = tuple(range(len(model.subgraphs[0].tensors[step.inputs[0]].shape)))
        result = model.subgraphs[0].tensors[step.outputs[0]]
        return Rearrange(name, reads, writes, axes, tuple(int(n) for n in result.shape[1:]))
    require(name == "TRANSPOSE", f"the TFLite operator {name}")
    order = tuple(array_of(model, step.inputs[1], np.int32).tolist())
    return Rearrange(name, reads, writes, order)


def _layer(name: str, model, step, layer: type[StoredLayer]) -> StoredLayer:
    """A dense layer or a convolution, also a depthwise one that has a single input channel."""
    from ai_edge_litert import schema_py_generated as schema

    weight = array_of(model, step.inputs[1], np.int8)  # outputs first, except if depthwise
    stored = model.subgraphs[0].tensors[step.inputs[1]].quantization
    options = step.builtinOptions
    require(not np.any(stored.zeroPoint), "weights with a zero point")
    require(getattr(options, "padding", schema.Padding.VALID) == schema.Padding.VALID, "padding")
    require({getattr(options, key, 1) for key in DISTANCES} == {1}, "strides or dilations")
    if name == "DEPTHWISE_CONV_2D":
        has_one_input = options.depthMultiplier == weight.shape[3]
        require(has_one_input, "a depthwise layer with several input channels")
        weight = weight.transpose(3, 1, 2, 0)  # from 1 x height x width x outputs
    known = schema.ActivationFunctionType
    activation = options.fusedActivationFunction
    require(activation in (known.NONE, known.RELU), "activation functions other than a ReLU")
    bias = np.zeros(len(weight), np.int32)
    if len(step.inputs) > 2 and step.inputs[2] >= 0:
        bias = array_of(model, step.inputs[2], np.int32)
    return layer(
        operator=name,
        reads=(str(step.inputs[0]),),
        writes=str(step.outputs[0]),
        weight=weight.reshape(len(weight), -1).T,
        bias=bias,
        kernel=weight.shape[1:3] if weight.ndim == 4 else None,
        input=grid_of(model, step.inputs[0]),
        weight_scale=stored.scale,
        output=grid_of(model, step.outputs[0], relu=activation == known.RELU),
    )


def array_of(model, index: int, dtype: type) -> np.ndarray:
    """The constant tensor number `index`."""
    tensor = model.subgraphs[0].tensors[index]
    return np.frombuffer(bytes(model.buffers[tensor.buffer].data), dtype).reshape(tensor.shape)


def grid_of(model, index: int, relu: bool = False) -> Grid:
    """The grid of the int8 tensor number `index`."""
    stored = model.subgraphs[0].tensors[index].quantization
    return Grid.stored(stored.scale, stored.zeroPoint, np.int8, relu)


def name_of(enumeration: type, code: int) -> str:
    """The name of a value in an enumeration of the schema."""
    return next(name for name, value in vars(enumeration).items() if value == code)
