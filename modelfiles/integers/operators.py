"""The operators of an ONNX file, and another name for one of them."""

from collections import Counter
from pathlib import Path


def operators(path: Path) -> str:
    """How often each operator occurs in an ONNX file, in the order in which they first run."""
    import onnx

    counted = Counter(node.op_type for node in onnx.load(path).graph.node)
    return ", ".join(f"{count} {name}" for name, count in counted.items())


def with_average_pool(path: Path, result: Path) -> Path:
    """Write a copy of an ONNX file in which a mean over the image is a GlobalAveragePool.

    torch.onnx.export writes AdaptiveAvgPool2d(1) as ReduceMean, of which ONNX Runtime's quantizer
    has no integer form. The network has no other ReduceMean. Returns `result`.
    """
    import onnx

    model = onnx.load(path)
    for node in model.graph.node:
        if node.op_type == "ReduceMean":
            pool = onnx.helper.make_node("GlobalAveragePool", node.input[:1], node.output)
            unused = node.input[1:]  # the axes
            node.CopyFrom(pool)
            for tensor in [part for part in model.graph.initializer if part.name in unused]:
                model.graph.initializer.remove(tensor)
    onnx.save(model, result)
    return result
