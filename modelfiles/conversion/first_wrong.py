"""Find the first layer whose outputs are wrong in a file, by converting beginnings of the network.

A beginning ends with one operator, and its file returns the output of this operator. Bisection
finds the shortest beginning whose file is wrong: its last operator is named. A wrong output reaches
all later layers, so everything before is right.
"""

import copy
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from modelfiles.conversion import inputs, onnx_source
from modelfiles.errors import ConversionError, WrongAnswers
from modelfiles.quiet import quiet

LIMIT_S = 60  # after this time no further beginning is converted

# converts the beginning that ends with the operator of this number
Attempt = Callable[[int], object]
ConvertNetwork = Callable[[torch.nn.Module, torch.Tensor, Path], object]


def of_network(
    network: torch.nn.Module, example: torch.Tensor, suffix: str, convert: ConvertNetwork
) -> str:
    """A sentence that names the first wrong layer of a network's file; "" if it cannot be found.

    `example` is float32 with a first axis of 1. `suffix` is that of the file, and convert(network,
    example, path) writes it, or raises WrongAnswers.
    """
    try:
        with quiet():
            ready = inputs.reference(network, example).network
            graph = torch.export.export(ready, (example,)).module()
    except Exception:  # torch.export has its own limits; then no layer is named
        return ""
    nodes = [node for node in graph.graph.nodes if _is_image_output(node)]
    with tempfile.TemporaryDirectory() as folder:

        def attempt(number: int) -> None:
            with quiet():
                beginning = _beginning(graph, nodes[number].name)
            convert(beginning, example, Path(folder, f"beginning{suffix}"))

        return _search([_layer_name(node) for node in nodes], attempt)


def of_onnx(onnx_file: Path, suffix: str, convert: Callable[[Path, Path], object]) -> str:
    """The same for a file that is made from an ONNX file by convert(ONNX file, path)."""
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx_source.load(onnx_file))
    entry = onnx_source.image_input(model, onnx_file)
    known = {
        value.name
        for value in (*model.graph.value_info, *model.graph.output)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    nodes = [node for node in model.graph.node if node.output and node.output[0] in known]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "beginning.onnx")

        def attempt(number: int) -> None:
            extractor = onnx.utils.Extractor(model)
            part = extractor.extract_model([entry.name], [nodes[number].output[0]])
            onnx.save(part, source)
            convert(source, Path(folder, f"beginning{suffix}"))

        names = [f"{node.name or node.output[0]} ({node.op_type})" for node in nodes]
        return _search(names, attempt)


def _search(names: Sequence[str], attempt: Attempt) -> str:
    """The sentence about the first of `names` whose beginning is wrong, by bisection."""
    end = time.monotonic() + LIMIT_S
    places = list(range(len(names)))
    right = -1
    wrong = len(places)
    found: WrongAnswers | None = None
    while wrong - right > 1 and time.monotonic() < end:
        middle = (right + wrong) // 2
        try:
            attempt(places[middle])
            right = middle
        except WrongAnswers as error:
            found = error
            wrong = middle
        except ConversionError:  # a beginning that cannot be converted shows nothing
            del places[middle]
            wrong -= 1
    if found is None:
        return ""
    if wrong - right > 1:
        return f"The first wrong layer was not found within {LIMIT_S} s."
    sentence = f"The first wrong layer is {names[places[wrong]]}"
    if found.difference is None:
        return f"{sentence}."
    return (
        f"{sentence}: its outputs differ by {found.difference:.3g}, "
        f"and the largest correct one is {found.largest:.3g}."
    )


def _is_image_output(node: torch.fx.Node) -> bool:
    """Whether a node computes one float tensor whose first axis is the batch of 1."""
    value = node.meta.get("val")
    if node.op != "call_function" or not isinstance(value, torch.Tensor):
        return False
    return value.dtype == torch.float32 and value.ndim > 1 and value.shape[0] == 1


def _beginning(graph: torch.fx.GraphModule, name: str) -> torch.nn.Module:
    """A copy of `graph` that ends with the node `name`."""
    part = copy.deepcopy(graph)
    part.graph.set_codegen(torch.fx.graph.CodeGen())  # one input and one output, not nested
    last = next(node for node in part.graph.nodes if node.name == name)
    output = next(node for node in part.graph.nodes if node.op == "output")
    output.args = (last,)
    part.graph.eliminate_dead_code()
    part.recompile()
    return part


def _layer_name(node: torch.fx.Node) -> str:
    """The layer that an operator belongs to, with its kind; else the operator itself."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    if not stack or not stack[-1][0]:
        return f"{node.name} ({node.target})"
    path, kind = stack[-1][:2]
    return f"{path} ({getattr(kind, '__name__', str(kind).rpartition('.')[2])})"
