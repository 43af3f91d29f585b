"""The content of a submitted .onnx file, read from its protobuf alone.

Nothing in it is run, and no other file is read. The grader's own process reads it, so its size and
its number of fields are checked before it is parsed.
"""

import math
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 10_000_000
MAX_FIELDS = 300_000  # an empty message of two bytes takes 160 in memory
MAX_RANK = 16  # the product of a million dimensions would take hours
LARGE = 4096  # elements: a larger flat table is weights, not a bias or a scale
INTEGERS = {"INT8": 8, "UINT8": 8, "INT4": 4, "UINT4": 4, "INT2": 2, "UINT2": 2}
OTHER_BITS = 32  # of the types that are not in BITS
BITS = INTEGERS | {
    "FLOAT16": 16,
    "BFLOAT16": 16,
    "INT16": 16,
    "UINT16": 16,
    "INT64": 64,
    "UINT64": 64,
    "DOUBLE": 64,
}
QUANTIZING = ("QuantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger")
FIXED = {1: 8, 5: 4}  # protobuf's wire types of fixed size


@dataclass(frozen=True)
class Content:
    """What the outputs depend on.

    used: the bytes of all numbers that they depend on, so that padding does not count.
    operators: their types. weights: the count of weights. int8: that of weights of at most 8 bits.
    """

    used: int
    operators: frozenset[str]
    weights: int
    int8: int

    @property
    def is_int8(self) -> bool:
        """Whether weights are stored in 8 bits or fewer, and activations quantized."""
        quantizing = any(o.startswith("QLinear") or o in QUANTIZING for o in self.operators)
        return quantizing and self.weights > 0 and self.int8 >= 0.8 * self.weights


def read(path: Path, max_bytes: int = MAX_BYTES, limit: str = "10 MB") -> Content:
    """The content of the file at `path`.

    AssertionError, with a sentence, if it is not an ONNX file, is too large or does not contain its
    weights.
    """
    import onnx

    assert path.stat().st_size <= max_bytes, f"{path.name} has more than {limit}"
    data = path.read_bytes()
    try:
        _count(memoryview(data), onnx.ModelProto.DESCRIPTOR, [MAX_FIELDS])
        model = onnx.ModelProto.FromString(data)
    except Exception as error:  # protobuf has several, in C and in Python
        raise AssertionError(
            f"{path.name} is not an ONNX file, or has far too many parts"
        ) from error
    assert model.graph.output, f"{path.name} is not an ONNX file: it has no outputs"
    functions = [node for function in model.functions for node in function.node]
    everything = [*_tensors(model.graph), *_in_nodes(functions)]
    external = onnx.TensorProto.EXTERNAL
    assert not any(t.external_data or t.data_location == external for t in everything), (
        f"{path.name} keeps its weights in another file: export it with external_data=False"
    )
    assert all(len(t.dims) <= MAX_RANK for t in everything), (
        f"{path.name} contains a table of more than {MAX_RANK} dimensions"
    )
    live = _live(model.graph)
    names = {name for node in live for name in _inputs(node)}
    names |= {output.name for output in model.graph.output}
    tables = [t for t in _own(model.graph) if t.name in names]
    tables += _in_nodes([*live, *functions])
    types = {number: name for name, number in onnx.TensorProto.DataType.items()}
    counted = []  # numbers, their type, rank
    for t in tables:
        counted.append((math.prod(max(0, d) for d in t.dims), types.get(t.data_type), len(t.dims)))
    for node in [*live, *functions]:  # the lists of Constant nodes count like tables
        counted += [(len(a.floats), "FLOAT", 1) for a in node.attribute if a.floats]
    bits = 0
    weights = 0
    int8 = 0
    for count, kind, rank in counted:
        bits += count * BITS.get(kind, OTHER_BITS)
        if rank >= 2 or count > LARGE:
            weights += count
            if kind in INTEGERS:
                int8 += count
    return Content(bits // 8, frozenset(node.op_type for node in live), weights, int8)


def _live(graph) -> list:
    """The nodes that some output depends on."""
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    found = set()
    waiting = [output.name for output in graph.output]
    while waiting:
        index = makers.get(waiting.pop())
        if index is not None and index not in found:
            found.add(index)
            waiting += _inputs(graph.node[index])
    return [graph.node[index] for index in sorted(found)]


def _inputs(node) -> list[str]:
    """Names that the node reads, those inside its branches and loops among them."""
    found = list(node.input)
    for graph in _graphs(node):
        for part in graph.node:
            found += _inputs(part)
        found += [output.name for output in graph.output]
    return found


def _graphs(node) -> list:
    """The graphs of the node's branches and loops."""
    found = []
    for a in node.attribute:
        if a.HasField("g"):
            found.append(a.g)
        found += a.graphs
    return found


def _tensors(graph) -> list:
    """All tables of numbers of a graph."""
    return _own(graph) + _in_nodes(graph.node)


def _own(graph) -> list:
    return [*graph.initializer, *_of_sparse(graph.sparse_initializer)]


def _of_sparse(tensors) -> list:
    found = []
    for sparse in tensors:
        found += [sparse.values, sparse.indices]
    return found


def _in_nodes(nodes) -> list:
    """Tables in nodes: those of Constant, and those of graphs in branches and loops."""
    found = []
    for node in nodes:
        for a in node.attribute:
            if a.HasField("t"):
                found.append(a.t)
            found += a.tensors
            if a.HasField("sparse_tensor"):
                found += _of_sparse([a.sparse_tensor])
            found += _of_sparse(a.sparse_tensors)
        for graph in _graphs(node):
            found += _tensors(graph)
    return found


def _count(data: memoryview, descriptor, left: list[int]) -> None:
    """Walk through the fields of a message, and of the messages in it.

    ValueError after `left[0]` fields, or if it is not such a message.
    """
    place = 0
    while place < len(data):
        left[0] -= 1
        if left[0] < 0:
            raise ValueError("too many fields")
        key, place = _varint(data, place)
        kind = key & 7
        field = descriptor.fields_by_number.get(key >> 3)
        if kind == 0:
            _, place = _varint(data, place)
        elif kind in FIXED:
            place += FIXED[kind]
        elif kind == 2:
            length, place = _varint(data, place)
            if length > len(data) - place:
                raise ValueError("cut short")
            if field is not None and field.message_type is not None:
                _count(data[place : place + length], field.message_type, left)
            place += length
        else:
            raise ValueError("a wire type that ONNX does not use")


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = 0
    shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, place
        if shift > 63:
            raise ValueError("a number of more than ten bytes")
