"""MobileNetV2 with published weights, in PyTorch: 1,000 classes of ImageNet.

The weights are those of Google's quantized .tflite file, as floats. So the float network and the
int8 file are one network in two precisions, and no other download is needed.
"""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from helpers.data import coco, fetch
from helpers.vision.images import Source, read_image
from modelfiles.formats.tflite_weights import convolutions

if TYPE_CHECKING:
    from torch import nn

QUANTIZED = "mobilenet_v2_1.0_224_quant.tflite"
SIDE = 224
CALIBRATION_PHOTOS = 24
# of the pixels of ImageNet, from 0 to 1: what networks of torchvision expect
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def imagenet_names() -> list[str]:
    """The names of the 1,000 classes, without synonyms. The errors are those of data.fetch."""
    lines = fetch("imagenet_labels.txt").read_text(encoding="utf-8").splitlines()
    return [line.split(",")[0] for line in lines[1:]]  # the first is "background"


def as_input(image: Source, side: int = SIDE) -> np.ndarray:
    """A picture as the network takes it: float32 1 x 3 x side x side.

    It is stretched to a square and normalized with ImageNet's mean and deviation per channel.

    >>> as_input(np.zeros((480, 640, 3), np.uint8)).shape
    (1, 3, 224, 224)
    """
    small = cv2.resize(read_image(image), (side, side), interpolation=cv2.INTER_AREA)
    scale = 1 / (255 * STD)
    return np.ascontiguousarray((small * scale - MEAN / STD).transpose(2, 0, 1)[None])


def mobilenet_v2(quantized: Path | None = None) -> "nn.Module":
    """The network in eval mode; its input is as_input's, its output N x 1000 logits.

    `quantized` is the .tflite file with the weights, by default the one that data.fetch finds; the
    errors are those of data.fetch. It has torchvision's layers, but for the borders: TensorFlow
    pads a layer with stride 2 on the right and below only. With torchvision's padding on all sides
    every later layer sees a shifted picture.
    """
    import torch
    from torch import nn

    from helpers.models import torchvision_model

    layers = convolutions(quantized or fetch(QUANTIZED))
    network = torchvision_model("mobilenet_v2")
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    convs = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        for conv, norm, (weights, bias) in zip(convs, norms, _for_imagenet(layers)):
            conv.weight.copy_(torch.tensor(weights))
            # the file has no batch norms any more: these only add the bias
            cast(torch.Tensor, norm.running_var).fill_(1 - norm.eps)
            norm.bias.copy_(torch.tensor(bias))
        weights, bias = layers[-1]
        linear = cast(nn.Linear, network.get_submodule("classifier.1"))
        linear.weight.copy_(torch.tensor(weights[1:, :, 0, 0]))  # the first class is "background"
        linear.bias.copy_(torch.tensor(bias[1:]))
    for block in list(network.modules()):
        for name, layer in list(block.named_children()):
            if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2):
                layer.padding = (0, 0)
                setattr(block, name, nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), layer))
    return network.eval()


def published_or_random() -> "tuple[nn.Module, str]":
    """The network, and "published", or "random" if the file with its weights cannot be had."""
    from helpers.models import torchvision_model

    try:
        return mobilenet_v2(), "published"
    except ConnectionError:
        return torchvision_model("mobilenet_v2"), "random"


def calibration_images(noise_count: int) -> np.ndarray:
    """Inputs to calibrate int8 ranges: COCO's photographs, or `noise_count` of noise without them.

    Ranges from noise are good enough for timing, and not for accuracy.
    """
    try:
        photos = coco("train").photos[:CALIBRATION_PHOTOS]
    except ConnectionError:
        noise = np.random.default_rng(0)
        return noise.standard_normal((noise_count, 3, SIDE, SIDE), np.float32)
    return np.concatenate([as_input(photo.path) for photo in photos])


def _for_imagenet(
    layers: list[tuple[np.ndarray, np.ndarray]],
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The same layers, the first one for pixels that as_input normalized.

    The file takes p = 2 pixel - 1; as_input gives z = (pixel - MEAN) / STD. So p = 2 STD z +
    2 MEAN - 1: the factor goes into the weights, the constant into the bias.
    """
    weights, bias = layers[0]
    constant = (weights * (2 * MEAN - 1)[:, None, None]).sum(axis=(1, 2, 3))
    return [(weights * (2 * STD)[:, None, None], bias + constant), *layers[1:]]
