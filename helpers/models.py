"""The networks of the book, small enough to read in one look."""

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class MnistNet(nn.Sequential):
    """The CNN that the whole book carries from runtime to runtime: 1,199,882 parameters, 11,992,448 MACs an image.

    Input float32, N x 1 x 28 x 28 (helpers.data.normalize makes it); output N x 10 logits, no softmax: the
    loss has it, and the largest logit is the answer either way.
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
    """A LeNet-5 without biases: 44,190 weights, so few that quantization at low bits has something to break.

    Input and output as MnistNet's.
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


class Block(nn.Module):
    """An inverted residual block: widen, filter each channel alone, narrow; with a way round where shapes allow it."""

    def __init__(self, inputs: int, outputs: int, stride: int, factor: int = 3) -> None:
        super().__init__()
        wide = factor * inputs
        self.expand = conv_norm_relu(inputs, wide, 1)
        self.depthwise = conv_norm_relu(wide, wide, 3, stride, groups=wide)
        self.project = conv_norm_relu(wide, outputs, 1)[:2]  # no ReLU
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.skip else y


def conv_norm_relu(
    inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """A convolution without bias, batch normalization and a ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class DepthwiseNet(nn.Sequential):
    """MobileNetV2 for digits: a stem, four inverted residual blocks, a head; 23,930 parameters, batch normalization.

    Input and output as MnistNet's.
    """

    def __init__(self) -> None:
        blocks = Block(16, 24, 2), Block(24, 24, 1), Block(24, 32, 2), Block(32, 32, 1)
        super().__init__(
            conv_norm_relu(1, 16, 3, 2),
            *blocks,
            conv_norm_relu(32, 96, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(96, 10),
        )


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """A copy in eval mode whose batch normalizations are part of the convolutions before them: the same function."""
    folded = copy.deepcopy(model).eval()
    for part in folded.modules():
        if (
            isinstance(part, nn.Sequential)
            and len(part) > 1
            and isinstance(part[1], nn.BatchNorm2d)
        ):
            part[0], part[1] = fuse_conv_bn_eval(part[0], part[1]), nn.Identity()
    return folded


def rescaled_twin(folded: nn.Module, factor: float = 4.0, seed: int = 0) -> nn.Module:
    """A copy of a folded DepthwiseNet that computes the same, its depthwise weights factor**4 apart between channels.

    In each block half of the channels enter the depthwise layer divided by `factor` and leave it multiplied by it,
    the other half the other way round; a ReLU lets positive factors through (Nagel et al., 2019, use it the other way).
    """
    twin, generator = copy.deepcopy(folded), torch.Generator().manual_seed(seed)
    for block in (module for module in twin.modules() if isinstance(module, Block)):
        expand, depthwise, project = block.expand[0], block.depthwise[0], block.project[0]
        order = torch.randperm(expand.out_channels, generator=generator)
        s = torch.where(order % 2 == 0, factor, 1 / factor)
        expand.weight.data /= s.view(-1, 1, 1, 1)
        expand.bias.data /= s
        depthwise.weight.data *= (s * s).view(-1, 1, 1, 1)
        depthwise.bias.data *= s
        project.weight.data /= s.view(1, -1, 1, 1)
    return twin


def equalized(folded: nn.Module, rounds: int = 20) -> nn.Module:
    """A copy of a folded DepthwiseNet that computes the same, its channels with equal ranges of weights.

    Cross-layer equalization (Nagel et al., 2019), as notebook 05 derives it: a channel is divided by s where it
    is made and multiplied by s where it is used, s being the square root of the ratio of the two ranges. A
    depthwise layer belongs to two pairs, hence the rounds.
    """
    result = copy.deepcopy(folded)
    for block in [module for module in result.modules() if isinstance(module, Block)] * rounds:
        expand, depthwise, project = block.expand[0], block.depthwise[0], block.project[0]
        for first, second, axes in (
            (expand, depthwise, (1, 2, 3)),
            (depthwise, project, (0, 2, 3)),
        ):
            made = first.weight.data.abs().amax((1, 2, 3)).clamp_min(1e-8)
            used = second.weight.data.abs().amax(axes).clamp_min(1e-8)
            s = (made / used).sqrt()
            first.weight.data /= s.view(-1, 1, 1, 1)
            first.bias.data /= s
            second.weight.data *= (
                s.view(-1, 1, 1, 1) if second is depthwise else s.view(1, -1, 1, 1)
            )
    return result


BY_NAME = {"mnist_cnn": MnistNet, "lenet": LeNet, "depthwise": DepthwiseNet}


def torchvision_model(name: str, seed: int = 0) -> nn.Module:
    """torchvision's network `name` ("mobilenet_v2", "resnet18") with random weights from `seed`, in eval mode.

    Random weights cost what trained ones cost, so they serve for timing and for counting, never for accuracy.
    """
    torchvision = import_torchvision()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torchvision.models.get_model(name, weights=None).eval()


def import_torchvision():
    """torchvision, also where its compiled operators were built for a CUDA torch and this torch is a CPU build.

    There the plain import fails because its Python part registers rules for two operators that do not exist.
    Declaring them first lets models, transforms and data sets work; calling nms still fails, as it should.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _kept_alive.append(library)  # the declarations go when the library object goes
        import torchvision
    return torchvision


_kept_alive: list = []
