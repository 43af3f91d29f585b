"""Find the layers of a network that cannot be converted, by converting each alone."""

import copy
import time
from collections.abc import Callable

import torch

from modelfiles.conversion import inputs
from modelfiles.errors import ConversionError

LIMIT_S = 60  # after this time no further layer is tried; the same for beginnings of the network

Attempt = Callable[[torch.nn.Module, torch.Tensor], object]


class _FromImage(torch.nn.Module):
    """A layer whose input is not an image: it gets its N x ... values as N x values x 1 x 1."""

    def __init__(self, layer: torch.nn.Module, shape: torch.Size) -> None:
        super().__init__()
        self.training = False
        self.layer = layer
        self.shape = shape

    def forward(self, x: torch.Tensor) -> object:
        return self.layer(x.reshape(self.shape))


def where_it_fails(network: torch.nn.Module, example: torch.Tensor, attempt: Attempt) -> str:
    """A sentence that names the failing layers; "" if they cannot be determined.

    These are the innermost layers that fail alone, or else the first that fails together with the
    layers before it. `attempt(layer, input)` raises ConversionError if a layer cannot be converted.
    """
    try:
        inputs.reference(network, example)
    except ConversionError:
        return ""  # the network or the example cannot be used at all
    if isinstance(network, torch.fx.GraphModule):
        return ""  # a graph has operators, not layers
    network = copy.deepcopy(network).cpu().eval()
    search = _Search(_seen_by_layers(network, example.detach().cpu()), attempt)
    layers = search.inside(network, prefix="")
    if layers:
        return f"It fails in {', '.join(layers)}."
    if search.is_over:
        return f"The failing layer was not found within {LIMIT_S} s."
    if type(network) is torch.nn.Sequential and len(network) > 1:
        return _where_a_beginning_fails(network, example, attempt)
    kind = type(network).__name__
    return f"Each layer can be converted alone, but {kind}.forward cannot."


def _where_a_beginning_fails(
    network: torch.nn.Sequential, example: torch.Tensor, attempt: Attempt
) -> str:
    """A sentence that names the last layer of the shortest beginning of `network` that fails.

    Each layer can be converted alone, but not all together. Bisection finds the shortest failing
    beginning.
    """
    end = time.monotonic() + LIMIT_S
    right = 1  # this many layers can be converted together
    wrong = len(network)
    while wrong - right > 1 and time.monotonic() < end:
        middle = (right + wrong) // 2
        try:
            attempt(network[:middle], example)
            right = middle
        except ConversionError:
            wrong = middle
    names = [f"{name} ({type(layer).__name__})" for name, layer in network.named_children()]
    between = " or ".join(names[right:wrong])
    return (
        f"Each layer can be converted alone, but not {between} together with the layers before it."
    )


def _seen_by_layers(
    network: torch.nn.Module, example: torch.Tensor
) -> dict[torch.nn.Module, torch.Tensor]:
    """{layer: its input} for every layer that takes one float tensor."""
    seen: dict[torch.nn.Module, torch.Tensor] = {}

    def keep(layer: torch.nn.Module, given: tuple) -> None:
        is_one_tensor = len(given) == 1 and isinstance(given[0], torch.Tensor)
        if is_one_tensor and given[0].is_floating_point():
            seen.setdefault(layer, given[0].clone())

    hooks = [layer.register_forward_pre_hook(keep) for layer in network.modules()]
    try:
        inputs.run(network, example.clone())
    finally:
        for hook in hooks:
            hook.remove()
    return seen


class _Search:
    """The search and its results; equal layers with the same input shape are tried once."""

    def __init__(self, seen: dict[torch.nn.Module, torch.Tensor], attempt: Attempt) -> None:
        self._seen = seen
        self._attempt = attempt
        self._failed: dict[tuple, bool] = {}
        self._end = time.monotonic() + LIMIT_S

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self._end

    def inside(self, network: torch.nn.Module, prefix: str) -> list[str]:
        """The innermost failing layers in `network`."""
        found = []
        for name, layer in network.named_children():
            if layer in self._seen and not self._fails(layer):
                continue
            inner = self.inside(layer, f"{prefix}{name}.")
            if not inner and layer in self._seen and not self.is_over:
                inner = [f"{prefix}{name} ({type(layer).__name__})"]
            found += inner
        return found

    def _fails(self, layer: torch.nn.Module) -> bool:
        image = self._seen[layer]
        key = (repr(layer), tuple(image.shape))
        if key not in self._failed:
            self._failed[key] = not self.is_over and self._fails_now(layer, image)
        return self._failed[key]

    def _fails_now(self, layer: torch.nn.Module, image: torch.Tensor) -> bool:
        if image.ndim != 4:
            layer = _FromImage(layer, image.shape)
            image = image.reshape(len(image), -1, 1, 1)
        try:
            self._attempt(layer, image)
        except ConversionError:
            return True
        return False
