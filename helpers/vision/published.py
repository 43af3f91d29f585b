"""FastestDet in PyTorch, with its published weights.

FastestDet is a detector of 244,490 parameters by Xuqiu Ma, trained on COCO, with a BSD-3-Clause
licence: https://github.com/dog-qiuqiu/FastestDet. The layers have the names of the weights in its
file. A ShuffleNetV2 reduces the picture by 8, 16 and 32; the three results meet at 16, in a grid of
22 x 22 cells for a picture of 352 x 352.
"""

import torch
from torch import nn

from helpers.data import fetch


def conv(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, relu: bool = True
) -> list[nn.Module]:
    """A convolution with batch norm and, with `relu`, ReLU."""
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return [*layers, nn.ReLU()] if relu else layers


def depthwise(channels: int, kernel: int, stride: int = 1, relu: bool = True) -> list[nn.Module]:
    """A convolution of each channel on its own."""
    return conv(channels, channels, kernel, stride, groups=channels, relu=relu)


class Unit(nn.Module):
    """A unit of ShuffleNetV2: half of the channels pass, the others are computed.

    With stride 2 both halves come from all channels, and the picture becomes half as large.
    """

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.stride = stride
        self.branch_main = nn.Sequential(
            *conv(inputs, outputs // 2, 1),
            *depthwise(outputs // 2, 3, stride, relu=False),
            *conv(outputs // 2, outputs - inputs, 1),
        )
        if stride == 2:
            self.branch_proj = nn.Sequential(
                *depthwise(inputs, 3, stride, relu=False), *conv(inputs, inputs, 1)
            )

    def forward(self, x):
        if self.stride == 2:
            return torch.cat([self.branch_proj(x), self.branch_main(x)], 1)
        return torch.cat([x[:, 0::2], self.branch_main(x[:, 1::2])], 1)


def stage(inputs: int, outputs: int, units: int) -> nn.Sequential:
    later = [Unit(outputs // 2, outputs, 1) for _ in range(units - 1)]
    return nn.Sequential(Unit(inputs, outputs, 2), *later)


class Backbone(nn.Module):
    """ShuffleNetV2: a picture to 48, 96 and 192 channels at 1/8, 1/16 and 1/32 of its size."""

    def __init__(self):
        super().__init__()
        self.first_conv = nn.Sequential(*conv(3, 24, 3, 2))
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.stage2 = stage(24, 48, 4)
        self.stage3 = stage(48, 96, 8)
        self.stage4 = stage(96, 192, 4)

    def forward(self, x):
        eighth = self.stage2(self.maxpool(self.first_conv(x)))
        sixteenth = self.stage3(eighth)
        return eighth, sixteenth, self.stage4(sixteenth)


class Pointwise(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv1x1 = nn.Sequential(*conv(inputs, outputs, 1))

    def forward(self, x):
        return self.conv1x1(x)


class Pyramid(nn.Module):
    """One, two and three convolutions of 5 x 5 side by side: small and large surroundings."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.Conv1x1 = Pointwise(inputs, outputs)
        self.S1 = nn.Sequential(*depthwise(outputs, 5))
        self.S2 = nn.Sequential(*depthwise(outputs, 5), *depthwise(outputs, 5))
        self.S3 = nn.Sequential(*(layer for _ in range(3) for layer in depthwise(outputs, 5)))
        self.output = nn.Sequential(*conv(3 * outputs, outputs, 1, relu=False))

    def forward(self, x):
        x = self.Conv1x1(x)
        surroundings = torch.cat([self.S1(x), self.S2(x), self.S3(x)], 1)
        return torch.relu(x + self.output(surroundings))


class Branch(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv5x5 = nn.Sequential(*depthwise(inputs, 5), *conv(inputs, outputs, 1, relu=False))

    def forward(self, x):
        return self.conv5x5(x)


class Head(nn.Module):
    """For each cell: objectness, four numbers of a box, and the probability of each class."""

    def __init__(self, inputs: int, classes: int):
        super().__init__()
        self.conv1x1 = Pointwise(inputs, inputs)
        self.obj_layers = Branch(inputs, 1)
        self.reg_layers = Branch(inputs, 4)
        self.cls_layers = Branch(inputs, classes)

    def forward(self, x):
        x = self.conv1x1(x)
        objectness = self.obj_layers(x).sigmoid()
        classes = self.cls_layers(x).softmax(1)
        return torch.cat([objectness, self.reg_layers(x), classes], 1)


class FastestDet(nn.Module):
    """Pictures N x 3 x 352 x 352 (blue first, 0 to 1) to N x (5 + classes) x 22 x 22."""

    def __init__(self, classes: int = 80):
        super().__init__()
        self.backbone = Backbone()
        self.shrink = nn.AvgPool2d(3, 2, 1)
        self.enlarge = nn.Upsample(scale_factor=2, mode="nearest")
        self.SPP = Pyramid(48 + 96 + 192, 96)
        self.detect_head = Head(96, classes)

    def forward(self, x):
        eighth, sixteenth, thirty_second = self.backbone(x)
        at_16 = [self.shrink(eighth), sixteenth, self.enlarge(thirty_second)]
        return self.detect_head(self.SPP(torch.cat(at_16, 1)))


def fastestdet() -> FastestDet:
    """FastestDet with its published weights, ready to run. The errors are those of data.fetch."""
    network = FastestDet()
    weights = torch.load(fetch("fastestdet.pth"), map_location="cpu", weights_only=True)
    network.load_state_dict(weights)
    return network.eval()
