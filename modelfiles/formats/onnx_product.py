"""An ONNX file with one matrix product, written without the onnx package, which no Pi needs."""

import numpy as np

from modelfiles.formats.protobuf import field


def product_model(operator: str, a: np.ndarray, b: np.ndarray) -> bytes:
    """An ONNX file with one node, product = operator(a, b), all of one square size.

    `b` is a constant, like weights, which is faster. The fields have the numbers of onnx.proto.
    """
    kinds = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6}
    size = len(b)

    def value(name: str, dtype: str) -> bytes:
        shape = 2 * field(1, field(1, size))
        return field(1, name) + field(2, field(1, field(1, kinds[dtype]) + field(2, shape)))

    node = field(1, "a") + field(1, "b") + field(2, "product") + field(4, operator)
    constant = 2 * field(1, size) + field(2, kinds[b.dtype.name])
    constant += field(8, "b") + field(9, b.tobytes())
    result = value("product", "float32" if operator == "MatMul" else "int32")
    graph = field(1, node) + field(2, "product") + field(5, constant)
    graph += field(11, value("a", a.dtype.name)) + field(12, result)
    format_version = field(1, 9)
    operator_set = field(8, field(2, 17))
    return format_version + field(7, graph) + operator_set
