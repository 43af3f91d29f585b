"""Trace a network, and reject one whose path depends on the values in its images.

torch.jit.trace runs the network once on the example and records the operators. An `if` is not an
operator: only the branch that the example took is recorded, and PyTorch merely prints a warning.
"""

import re
import warnings

import torch

from modelfiles.errors import ExplainedError

# what TracerWarning says where a value leaves the trace; it says the same of sizes, which are fixed
LEAVES_THE_TRACE = re.compile(r"Converting a tensor to a Python (boolean|integer|float|number)")


def trace(network: torch.nn.Module, example: torch.Tensor) -> torch.jit.ScriptModule:
    """The operators that `network` computes for `example`.

    ExplainedError if other images of this size would take another path through its Python code.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", torch.jit.TracerWarning)
        traced = torch.jit.trace(network, example.clone(), check_trace=False)
    places = [
        f"{warning.filename}:{warning.lineno}"
        for warning in caught
        if LEAVES_THE_TRACE.search(str(warning.message))
    ]
    if places and _depends_on_values(network, example):
        raise ExplainedError(
            "the network's Python code decides by the values in the image "
            f"({_short(places[0])}), and a trace keeps only the branch of the example. Compute "
            "both branches and choose with torch.where, or decide outside the network."
        )
    return traced


def _depends_on_values(network: torch.nn.Module, example: torch.Tensor) -> bool:
    """Whether torch.export rejects the network because of a value that only the image decides."""
    try:
        torch.export.export(network, (example.clone(),))
    except Exception as error:
        said = f"{type(error).__name__} {error}".lower()
        return "data-dependent" in said or "datadependent" in said
    return False


def _short(place: str) -> str:
    """The file's name and the line, without the folders."""
    return re.split(r"[/\\]", place)[-1]
