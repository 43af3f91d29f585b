"""The networks of the book, each short enough to read at a glance."""

import copy
from typing import cast

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class MnistNet(nn.Sequential):
    """The CNN that the book converts, quantizes and times.

    It has 1,199,882 parameters and 11,992,448 MACs per image. The input is float32,
    N x 1 x 28 x 28, as helpers.data.normalize returns it. The output is N x 10 logits. There is no
    softmax layer: the loss includes it, and the largest logit is the prediction either way.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.relu2 = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.dropout1 = nn.Dropout(0.25)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(9216, 128)
        self.relu3 = nn.ReLU()
        self.dropout2 = nn.Dropout(0.5)
        self.fc2 = nn.Linear(128, 10)


class LeNet(nn.Sequential):
    """A LeNet-5 without biases: so small (44,190 weights) that low-bit weights cost accuracy.

    Input and output are those of MnistNet.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, bias=False)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 16, 5, bias=False)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(256, 120, bias=False)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(120, 84, bias=False)
        self.relu4 = nn.ReLU()
        self.fc3 = nn.Linear(84, 10, bias=False)


class InvertedResidual(nn.Module):
    """MobileNetV2's block: expand the channels, filter each one alone, project to fewer.

    If input and output have the same shape, a skip connection adds the input to the output.
    Sandler et al., 2018: https://arxiv.org/abs/1801.04381
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expand_ratio: int = 3) -> None:
        super().__init__()
        hidden = expand_ratio * inputs
        self.expand = conv_bn_relu(inputs, hidden, 1)
        self.depthwise = conv_bn_relu(hidden, hidden, 3, stride, groups=hidden)
        self.project = conv_bn_relu(hidden, outputs, 1)[:2]  # no ReLU
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.skip else y


def conv_bn_relu(
    inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """A convolution without bias, batch normalization and a ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class DepthwiseNet(nn.Sequential):
    """MobileNetV2 for digits: a stem, four inverted residual blocks and a head.

    It has 23,930 parameters. Input and output are those of MnistNet.
    """

    def __init__(self) -> None:
        # created first: the order determines the random numbers that the weights get
        sizes = [(16, 24, 2), (24, 24, 1), (24, 32, 2), (32, 32, 1)]
        blocks = [InvertedResidual(*size) for size in sizes]
        super().__init__(
            conv_bn_relu(1, 16, 3, 2),
            *blocks,
            conv_bn_relu(32, 96, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(96, 10),
        )


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """A copy in eval mode with batch normalizations folded into the convolutions before them.

    It computes the same function.
    """
    folded = copy.deepcopy(model).eval()
    for part in folded.modules():
        if not isinstance(part, nn.Sequential) or len(part) < 2:
            continue
        if isinstance(part[0], nn.Conv2d) and isinstance(part[1], nn.BatchNorm2d):
            part[0] = fuse_conv_bn_eval(part[0], part[1])
            part[1] = nn.Identity()
    return folded


def unequalize_channels(folded: nn.Module, factor: float = 4.0, seed: int = 0) -> nn.Module:
    """A copy of a folded DepthwiseNet that computes the same, with channels of unequal scale.

    In each block, half of the channels are divided by `factor` before the depthwise layer and
    multiplied by it after that layer; the other half are scaled inversely. The depthwise weights of
    the two halves then differ by factor**4. The function stays the same, because a ReLU commutes
    with positive factors. Nagel et al. (2019) use this in reverse, to equalize channels.
    """
    twin = copy.deepcopy(folded)
    generator = torch.Generator().manual_seed(seed)
    for block in _blocks(twin):
        expand, depthwise, project = _convolutions(block)
        order = torch.randperm(expand.out_channels, generator=generator)
        s = torch.where(order % 2 == 0, factor, 1 / factor)
        _rescale(expand, depthwise, s, channel_axis=0)  # one filter per channel
        _rescale(depthwise, project, 1 / s, channel_axis=1)
    return twin


def equalized(folded: nn.Module, rounds: int = 20) -> nn.Module:
    """A copy of a folded DepthwiseNet that computes the same, with channels of equal weight range.

    This is cross-layer equalization (Nagel et al., 2019), as notebook 05 derives it. A channel is
    divided by s in the layer that produces it and multiplied by s in the layer that uses it; s is
    the square root of the ratio of the two weight ranges. It takes several rounds, because a
    depthwise layer belongs to two pairs.
    """
    result = copy.deepcopy(folded)
    for block in _blocks(result) * rounds:
        expand, depthwise, project = _convolutions(block)
        _equalize(expand, depthwise, channel_axis=0)
        _equalize(depthwise, project, channel_axis=1)
    return result


def _equalize(first: nn.Conv2d, second: nn.Conv2d, channel_axis: int) -> None:
    made = _channel_ranges(first, 0)
    used = _channel_ranges(second, channel_axis)
    _rescale(first, second, (made / used).sqrt(), channel_axis)


def _rescale(first: nn.Conv2d, second: nn.Conv2d, s: torch.Tensor, channel_axis: int) -> None:
    """Divide the channels between two layers by `s` in `first`, and multiply by it in `second`.

    `channel_axis` is that of these channels in the weights of `second`.
    """
    shape = [1, 1, 1, 1]
    shape[channel_axis] = -1
    first.weight.data /= s.view(-1, 1, 1, 1)
    _bias(first).data /= s
    second.weight.data *= s.view(shape)


def _channel_ranges(layer: nn.Conv2d, axis: int) -> torch.Tensor:
    others = [other for other in range(4) if other != axis]
    return layer.weight.data.abs().amax(others).clamp_min(1e-8)


def _blocks(network: nn.Module) -> list[InvertedResidual]:
    return [module for module in network.modules() if isinstance(module, InvertedResidual)]


def _convolutions(block: InvertedResidual) -> list[nn.Conv2d]:
    """The convolutions of a folded block: expand, depthwise, project."""
    parts = (block.expand, block.depthwise, block.project)
    return [cast(nn.Conv2d, cast(nn.Sequential, part)[0]) for part in parts]


def _bias(layer: nn.Conv2d) -> torch.Tensor:
    """The bias that folding a batch normalization gives every convolution."""
    return cast(torch.Tensor, layer.bias)


BY_NAME = {"mnist_cnn": MnistNet, "lenet": LeNet, "depthwise": DepthwiseNet}


def torchvision_model(name: str, seed: int = 0) -> nn.Module:
    """torchvision's network `name` ("mobilenet_v2", "resnet18") with random weights from `seed`.

    It is in eval mode. Random weights take as long as trained ones: use them for timing and for
    counting, never for accuracy.
    """
    torchvision = import_torchvision()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torchvision.models.get_model(name, weights=None).eval()


def import_torchvision():
    """torchvision, even if its operators were compiled for CUDA and this torch is a CPU build.

    In that case a plain import fails, because torchvision's Python code registers rules for two
    operators that do not exist. With these declared first, models, transforms and data sets work.
    Calling nms still fails, as it should.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _kept_alive.append(library)  # deleting the library deletes its declarations
        import torchvision
    return torchvision


_kept_alive: list = []
