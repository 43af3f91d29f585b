"""Batch normalizations of exported graphs: written out as a product and a sum, or folded faster."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
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
    """Inside, quantization-aware training searches only for convolutions that the graph has.

    prepare_qat_pt2e and convert_pt2e look for batch normalizations behind four kinds of convolution
    (one and two dimensions, and their transposes). They export 24 and 96 small networks as
    patterns: with and without bias, per channel and per tensor, and so on. This takes half a
    minute. Most networks have one kind of convolution, and need eight of these patterns.
    """
    from executorch.backends.xnnpack.quantizer import xnnpack_quantizer_utils
    from torchao.quantization.pt2e import qat_utils

    annotators: Any = xnnpack_quantizer_utils
    tools: Any = qat_utils
    annotate: Any = annotators._do_annotate_conv_bn
    fuse: Any = tools._fuse_conv_bn_qat_helper
    fold: Any = tools._fold_conv_bn_qat_helper

    def annotate_present(graph: GraphModule, *args: Any, **kwargs: Any) -> list:
        def product(kinds: list, *options: Any) -> Iterator[tuple]:
            return itertools.product([kind for kind in kinds if _of_kind(graph, kind[0])], *options)

        with _product_of(annotators, product):
            return annotate(graph, *args, **kwargs)

    def fuse_if_present(graph: GraphModule, kind: Any, *args: Any, **kwargs: Any) -> GraphModule:
        return fuse(graph, kind, *args, **kwargs) if _of_kind(graph, kind) else graph

    def fold_if_present(graph: GraphModule, kind: Any, *args: Any, **kwargs: Any) -> GraphModule:
        if not _of_kind(graph, kind):
            return graph
        with _product_of(tools, lambda *_: _patterns(graph, kind)):
            return fold(graph, kind, *args, **kwargs)

    annotators._do_annotate_conv_bn = annotate_present
    tools._fuse_conv_bn_qat_helper = fuse_if_present
    tools._fold_conv_bn_qat_helper = fold_if_present
    try:
        yield
    finally:
        annotators._do_annotate_conv_bn = annotate
        tools._fuse_conv_bn_qat_helper = fuse
        tools._fold_conv_bn_qat_helper = fold


@contextmanager
def _product_of(module: Any, product: Any) -> Iterator[None]:
    """Inside, itertools.product of `module` is another function: it says what is searched."""
    module.itertools = SimpleNamespace(product=product)
    try:
        yield
    finally:
        module.itertools = itertools


def _of_kind(graph: GraphModule, kind: Any) -> list[Node]:
    """The nodes of `graph` that call the convolution `kind`, such as F.conv2d."""
    return [node for node in graph.graph.nodes if f"aten.{kind.__name__}." in str(node.target)]


def _patterns(graph: GraphModule, kind: Any) -> list[tuple[bool, ...]]:
    """What convolutions of this kind have: the four options of torchao's search after training.

    They are: weights per channel, a bias, a quantized bias, and batch normalization in training
    mode, which matches both modes.
    """
    found = set()
    for node in _of_kind(graph, kind):
        weight, bias, *_ = (*node.args[1:], None)
        has_bias = bias is not None
        per_channel = "per_channel" in str(getattr(weight, "target", ""))
        found |= {(per_channel, has_bias, quantized, True) for quantized in {False, has_bias}}
    return sorted(found, reverse=True)  # a quantized bias also matches the pattern of a plain one


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
