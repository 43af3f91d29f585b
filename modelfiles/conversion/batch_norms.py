"""Batch normalizations of exported graphs: written out as a product and a sum, or folded faster."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch.fx import GraphModule, Node
from torch.fx.node import Argument

BATCH_NORM = torch.ops.aten.batch_norm.default


def write_out(graph: GraphModule) -> None:
    """Replace each batch normalization of an exported graph in eval mode by x * scale + shift.

    prepare_pt2e has folded those that follow a convolution. For each remaining one, convert_pt2e
    would export 96 small networks to search for patterns of training graphs, which takes half a
    minute.
    """
    left = [node for node in graph.graph.nodes if node.target is BATCH_NORM]
    for number, node in enumerate(left):
        _replace(graph, node, f"batch_norm_{number}")
    if left:
        graph.graph.eliminate_dead_code()
        graph.recompile()


@contextmanager
def skip_absent_convolutions() -> Iterator[None]:
    """Inside, convert_pt2e folds batch normalizations only into convolutions that the graph has.

    After quantization-aware training it searches for each of four kinds of convolution (one and two
    dimensions, and their transposes), and exports 24 small networks for each as patterns. This
    takes about ten seconds per kind; most networks have one.
    """
    from torchao.quantization.pt2e import qat_utils

    search: Any = qat_utils._fold_conv_bn_qat_helper

    def search_if_present(graph: GraphModule, kind: Any, *args: Any, **kwargs: Any) -> GraphModule:
        targets = {str(node.target) for node in graph.graph.nodes}
        if not any(target.startswith(f"aten.{kind.__name__}.") for target in targets):
            return graph
        return search(graph, kind, *args, **kwargs)

    qat_utils._fold_conv_bn_qat_helper = search_if_present
    try:
        yield
    finally:
        qat_utils._fold_conv_bn_qat_helper = search


def _replace(graph: GraphModule, node: Node, name: str) -> None:
    x, *parameters = node.args
    weight, bias, mean, variance = (_tensor(graph, parameter) for parameter in parameters[:4])
    eps = cast(float, node.args[7])
    scale = torch.rsqrt(variance + eps)  # [channels]
    if weight is not None:
        scale = scale * weight
    shift = -mean * scale
    if bias is not None:
        shift = shift + bias
    per_channel = (1, -1) + (1,) * (node.meta["val"].dim() - 2)  # N x channels x ...
    graph.register_buffer(f"{name}_scale", scale.detach().reshape(per_channel))
    graph.register_buffer(f"{name}_shift", shift.detach().reshape(per_channel))
    with graph.graph.inserting_before(node):
        factor = graph.graph.get_attr(f"{name}_scale")
        product = graph.graph.call_function(torch.ops.aten.mul.Tensor, (x, factor))
        summand = graph.graph.get_attr(f"{name}_shift")
        total = graph.graph.call_function(torch.ops.aten.add.Tensor, (product, summand))
    total.meta = dict(node.meta)
    node.replace_all_uses_with(total)
    graph.graph.erase_node(node)


def _tensor(graph: GraphModule, argument: Argument) -> Any:
    """The parameter or buffer that a node of the graph reads; None if there is none."""
    if not isinstance(argument, Node):
        return None
    value: Any = graph
    for part in str(argument.target).split("."):
        value = getattr(value, part)
    return value
