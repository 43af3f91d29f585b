"""Networks that `workbook evaluate` knows by name, in place of MODEL: torchvision's classifiers."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modelfiles.errors import reason
from workbook.evaluate.examples import Examples
from workbook.evaluate.source import Source

if TYPE_CHECKING:
    import torch

SHAPE = (3, 224, 224)
NAMES = (
    "resnet18",
    "resnet50",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "mobilenet_v3_small_075",
)
NARROW = {"mobilenet_v3_small_075": ("mobilenet_v3_small", 0.75)}  # three quarters of the channels
RANDOM_IMAGES = 8


def source(name: str) -> tuple[Source, str]:
    """The network `name`, one of NAMES, in eval mode, and a sentence about its weights.

    The weights are torchvision's, trained on ImageNet, if they are in the folder models of
    WORKBOOK_DATA or can be downloaded. Otherwise they are random: as fast, and without accuracy.
    """
    network = untrained(name)
    try:
        where = _load_trained(network, name)
    except (OSError, RuntimeError, ValueError) as error:
        why = reason(error)
        if isinstance(error, _Offline):
            why = "WORKBOOK_OFFLINE is set"
        elif isinstance(error, _NotTrained):
            why = "torchvision has no weights for this width"
        _set_statistics(network)
        said = f"{name} has random weights, so no accuracy is shown ({why})"
        return Source(name, network=network), said
    return Source(name, network=network), f"{name} has trained weights, from {where}"


def untrained(name: str) -> "torch.nn.Module":
    """torchvision's network `name`, or a narrow form of one, with random weights, in eval mode."""
    import torch

    from helpers import models

    if name not in NARROW:
        return models.torchvision_model(name)
    whole, width = NARROW[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = getattr(models.import_torchvision().models, whole)
        return network(weights=None, width_mult=width).eval()


def random_examples(name: str) -> Examples:
    """A few random images for the network `name`: to compare answers, not to judge them."""
    seed = NAMES.index(name)
    shape = (RANDOM_IMAGES, *SHAPE)
    return Examples(np.random.default_rng(seed).standard_normal(shape, np.float32), None)


def _set_statistics(network: "torch.nn.Module") -> None:
    """Give all batch normalizations the means and variances of the images that check a new file.

    Otherwise signals shrink from layer to layer, and all files would agree on outputs near zero.
    """
    import torch

    from modelfiles.conversion import inputs

    images = inputs.random_images((2, *SHAPE))
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # the plain mean
            layer.train()
    with torch.no_grad():
        network(torch.from_numpy(images))
    network.eval()


class _Offline(OSError):
    """Nothing may be downloaded."""


class _NotTrained(ValueError):
    """torchvision has no weights for this network."""


def _load_trained(network: "torch.nn.Module", name: str) -> str:
    """Load trained weights, and say where they come from; OSError if there are none."""
    import torch

    from helpers.models import import_torchvision

    if name in NARROW:
        raise _NotTrained
    weights = import_torchvision().models.get_model_weights(name).DEFAULT
    file = weights.url.rpartition("/")[2]
    places = [Path(torch.hub.get_dir(), "checkpoints", file)]
    if os.environ.get("WORKBOOK_DATA"):
        places.insert(0, Path(os.environ["WORKBOOK_DATA"], "models", file))
    for place in places:
        if place.exists():
            network.load_state_dict(torch.load(place, map_location="cpu", weights_only=True))
            return file
    if os.environ.get("WORKBOOK_OFFLINE"):
        raise _Offline
    network.load_state_dict(
        weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    )
    return f"torchvision ({weights})"
