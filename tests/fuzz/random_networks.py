"""Small random networks from a seed, with layers of every kind that the converters take."""

import random
from collections import OrderedDict

import torch
from torch import nn

ACTIVATIONS = (
    lambda: nn.ReLU(),
    lambda: nn.ReLU(inplace=True),
    lambda: nn.ReLU6(inplace=True),
    lambda: nn.LeakyReLU(0.1),
    lambda: nn.ELU(inplace=True),
    lambda: nn.Sigmoid(),
    lambda: nn.Tanh(),
    lambda: nn.SiLU(),
    lambda: nn.GELU(),
    lambda: nn.Hardswish(inplace=True),
    lambda: nn.Hardsigmoid(),
    lambda: nn.PReLU(),
    lambda: nn.Softplus(),
    lambda: nn.Mish(),
)


class Residual(nn.Module):
    """A body around which the input is added; `in_place` adds with +=."""

    def __init__(self, body: nn.Module, in_place: bool) -> None:
        super().__init__()
        self.body = body
        self.in_place = in_place

    def forward(self, x):
        y = self.body(x)
        if self.in_place:
            y += x
            return y
        return x + y


class Concat(nn.Module):
    """Two branches, joined along the channels."""

    def __init__(self, left: nn.Module, right: nn.Module) -> None:
        super().__init__()
        self.left = left
        self.right = right

    def forward(self, x):
        return torch.cat([self.left(x), self.right(x)], 1)


class Excite(nn.Module):
    """Channels weighted by a number from their mean (squeeze and excitation)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        mix = nn.Conv2d(channels, channels, 1)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), mix, nn.Sigmoid())

    def forward(self, x):
        return x * self.gate(x)


class WritesOnInput(nn.Module):
    """A network that normalizes its input in place."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x):
        x -= 0.4
        return self.network(x)


class Branches(nn.Module):
    """A network with a branch that depends on the pixels: no converter can keep it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x):
        if x.mean() > 0.3:
            x = 1 - x
        return self.network(x)


class TwoOutputs(nn.Module):
    """Logits and the features before them."""

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.head = head

    def forward(self, x):
        features = self.body(x)
        return self.head(features), features


class Drawing:
    """Draws layers one after another; `channels` is what the last one gives."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.channels = self.random.choice([1, 1, 2, 3, 3, 4, 6])
        self.input = (
            self.channels,
            self.random.choice([8, 9, 12, 15, 17]),
            self.random.choice([8, 11, 12, 16]),
        )
        self.size = min(self.input[1:])

    def layers(self, count: int) -> list[nn.Module]:
        """`count` drawn layers."""
        return [self.layer() for _ in range(count)]

    def layer(self) -> nn.Module:
        """One drawn layer."""
        kinds = [self.conv, self.conv, self.depthwise, self.grouped, self.norm, self.activation]
        kinds += [self.activation, self.dropout, self.residual, self.concat, self.excite]
        if self.size >= 6:
            kinds += [self.pool, self.strided]
        if self.size <= 12:
            kinds += [self.upsample, self.transposed]
        return self.random.choice(kinds)()

    def conv(self) -> nn.Module:
        kernel = self.random.choice([1, 3, 3, 5])
        return self._conv(self.random.choice([3, 4, 6, 8]), kernel, padding=kernel // 2)

    def strided(self) -> nn.Module:
        self.size = (self.size + 1) // 2
        return self._conv(self.random.choice([4, 6, 8]), 3, stride=2, padding=1)

    def depthwise(self) -> nn.Module:
        return self._conv(self.channels, 3, padding=1, groups=self.channels)

    def grouped(self) -> nn.Module:
        groups = 2 if self.channels % 2 == 0 else 1
        return self._conv(2 * self.random.choice([2, 3, 4]), 3, padding=1, groups=groups)

    def _conv(self, outputs: int, kernel: int, **options: int) -> nn.Module:
        has_bias = self.random.random() < 0.7
        layer = nn.Conv2d(self.channels, outputs, kernel, bias=has_bias, **options)
        self.channels = outputs
        return layer

    def transposed(self) -> nn.Module:
        outputs = self.random.choice([3, 4, 6])
        layer = nn.ConvTranspose2d(self.channels, outputs, 2, stride=2)
        self.channels = outputs
        self.size *= 2
        return layer

    def norm(self) -> nn.Module:
        layer = nn.BatchNorm2d(self.channels)
        nn.init.uniform_(layer.weight, 0.5, 2)
        nn.init.uniform_(layer.bias, -0.5, 0.5)
        layer.running_mean.uniform_(-0.5, 0.5)
        layer.running_var.uniform_(0.3, 2)
        return layer

    def activation(self) -> nn.Module:
        return self.random.choice(ACTIVATIONS)()

    def dropout(self) -> nn.Module:
        return self.random.choice([nn.Dropout(0.5), nn.Dropout2d(0.3)])

    def pool(self) -> nn.Module:
        self.size //= 2
        return self.random.choice([nn.MaxPool2d(2), nn.AvgPool2d(2), nn.MaxPool2d(3, 2, 1)])

    def upsample(self) -> nn.Module:
        self.size *= 2
        modes = [{"mode": "nearest"}, {"mode": "bilinear", "align_corners": False}]
        return nn.Upsample(scale_factor=2, **self.random.choice(modes))

    def residual(self) -> nn.Module:
        channels = self.channels
        body = nn.Sequential(self.conv(), self.activation(), nn.Conv2d(self.channels, channels, 1))
        self.channels = channels
        return Residual(body, self.random.random() < 0.3)

    def concat(self) -> nn.Module:
        channels = self.channels
        left = self.conv()
        middle = self.channels
        self.channels = channels
        right = self.conv()
        self.channels += middle
        return Concat(left, right)

    def excite(self) -> nn.Module:
        return Excite(self.channels)


def network(seed: int) -> tuple[nn.Module, torch.Tensor]:
    """The network of this seed, in eval mode or not as drawn, and an example of its input."""
    torch.manual_seed(seed)
    drawing = Drawing(seed)
    example = torch.zeros(1, *drawing.input)
    layers = drawing.layers(drawing.random.randint(1, 6))
    body = nn.Sequential(*layers)
    outputs = drawing.random.choice([1, 2, 5, 10, 10, 10])
    head = _head(drawing, body, example, outputs)
    kinds = ["bare", "bare", "named", "two outputs", "in place", "branch", "fx"]
    weights = [1, 1, 1, 1, 1, 0.2, 1]  # few branches: no converter takes them
    match drawing.random.choices(kinds, weights)[0]:
        case "bare":
            made = nn.Sequential(*layers, *head)
        case "named":
            named = {f"layer{i}": part for i, part in enumerate([*layers, *head])}
            made = nn.Sequential(OrderedDict(named))
        case "two outputs":
            made = TwoOutputs(body, nn.Sequential(*head))
        case "in place":
            made = WritesOnInput(nn.Sequential(*layers, *head))
        case "branch":
            made = Branches(nn.Sequential(*layers, *head))
        case "fx":
            made = torch.fx.symbolic_trace(nn.Sequential(*layers, *head))
    return made.train(drawing.random.random() < 0.5), example


def _head(
    drawing: Drawing, body: nn.Module, example: torch.Tensor, outputs: int
) -> list[nn.Module]:
    with torch.no_grad():
        shape = body.eval()(example.clone()).shape
    match drawing.random.choice(["dense", "dense", "hidden", "pooled", "pooled", "map"]):
        case "dense":
            return [nn.Flatten(), nn.Linear(shape[1:].numel(), outputs)]
        case "hidden":
            bias = drawing.random.random() < 0.5
            return [
                nn.Flatten(),
                nn.Linear(shape[1:].numel(), 16, bias=bias),
                nn.ReLU(inplace=True),
                nn.Dropout(0.5),
                nn.Linear(16, outputs, bias=bias),
            ]
        case "pooled":
            return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(shape[1], outputs)]
        case "map":
            return [nn.Conv2d(shape[1], outputs, 1)]
