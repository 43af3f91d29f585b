"""A trace keeps one branch of an `if`: which networks are rejected, and which are not."""

import numpy as np
import pytest
import torch

from helpers import convert
from helpers.errors import ConversionError
from helpers.runtimes import open_model

EXAMPLE = torch.zeros(1, 1, 8, 8)
CONVERTERS = {"torchscript": convert.to_torchscript, "ncnn.param": convert.to_ncnn}


class Rescales(torch.nn.Module):
    """Dark numbers for pixels from 0 to 4,000, which no random test image reaches."""

    def __init__(self, decide):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 4, 3)
        self.decide = decide

    def forward(self, x):
        if self.decide(x):
            x = x / 1000
        return torch.relu(self.conv(x)).mean((2, 3))


class Chooses(Rescales):
    """The same, with both branches computed."""

    def forward(self, x):
        x = torch.where(x.max() > 1000, x / 1000, x)
        return torch.relu(self.conv(x)).mean((2, 3))


@pytest.mark.parametrize("suffix", CONVERTERS)
@pytest.mark.parametrize(
    "decide",
    [
        lambda x: x.max() > 1000,
        lambda x: x.max().item() > 1000,
        lambda x: int(x.abs().sum()) > 10**6,
    ],
    ids=["boolean", "item", "integer"],
)
def test_an_if_on_values_is_rejected(suffix, decide, tmp_path):
    path = tmp_path / f"net.{suffix}"
    said = r"decides by the values in the image \(test_tracing\.py:\d+\).*torch\.where"
    with pytest.raises(ConversionError, match=said):
        CONVERTERS[suffix](Rescales(decide).eval(), EXAMPLE, path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", CONVERTERS)
@pytest.mark.parametrize(
    "decide",
    [lambda x: x.shape[2] > 100, lambda x: x.size(0) == 1 and int(x.shape[3]) > 4, lambda x: False],
    ids=["height", "batch and width", "constant"],
)
def test_an_if_on_sizes_is_kept(suffix, decide, tmp_path):
    network = Rescales(decide).eval()
    made = CONVERTERS[suffix](network, EXAMPLE, tmp_path / f"net.{suffix}")
    x = np.random.default_rng(0).standard_normal((1, 1, 8, 8), np.float32)
    wanted = network(torch.from_numpy(x)).detach().numpy()
    assert np.abs(open_model(made).predict(x) - wanted).max() < 1e-5


def test_both_branches_computed(tmp_path):
    network = Chooses(None).eval()
    made = convert.to_torchscript(network, EXAMPLE, tmp_path / "net.torchscript")
    for largest in (1, 4000):
        x = largest * np.random.default_rng(0).random((1, 1, 8, 8), np.float32)
        wanted = network(torch.from_numpy(x)).detach().numpy()
        assert np.abs(open_model(made).predict(x) - wanted).max() < 1e-4
