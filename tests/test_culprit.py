"""A network that cannot be converted: the sentence names the layer."""

import pytest
import torch
from torch import nn

from helpers import convert
from helpers.errors import ConversionError
from modelfiles.conversion import culprit

IMAGE = torch.zeros(1, 1, 4, 4)


class TwoPaths(nn.Module):
    """A network whose own code has a branch that depends on the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())

    def forward(self, x):
        return self.body(-x if x.mean() > 0.3 else x)


def refusing(*kinds):
    """An attempt that fails for layers that have one of `kinds` among them."""

    def attempt(layer, image):
        with torch.no_grad():
            layer(image)
        if any(isinstance(part, kinds) for part in layer.modules()):
            raise ConversionError("no")

    return attempt


@pytest.mark.parametrize(
    "network, kinds, sentence",
    [
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Mish()), nn.Mish, "It fails in 1 (Mish)."),
        (
            nn.Sequential(nn.Sequential(nn.ELU(), nn.Mish()), nn.Flatten(), nn.Linear(16, 2)),
            (nn.Mish, nn.Linear),
            "It fails in 0.1 (Mish), 2 (Linear).",
        ),
        (
            TwoPaths(),
            TwoPaths,
            "Each layer can be converted alone, but TwoPaths.forward cannot.",
        ),
        (nn.Sequential(nn.Linear(9, 2)), nn.Linear, ""),  # it cannot run the image at all
    ],
)
def test_the_innermost_layers_are_named(network, kinds, sentence):
    assert culprit.where_it_fails(network, IMAGE, refusing(kinds)) == sentence


@pytest.mark.parametrize("too_many", range(2, 8))
def test_of_layers_that_fail_together_only_the_first_too_many_is_named(too_many):
    network = nn.Sequential(*[nn.ReLU() for _ in range(too_many - 1)], nn.Mish())
    for _ in range(7 - too_many):
        network.append(nn.ReLU())

    def attempt(layer, image):
        if isinstance(layer, nn.Sequential) and len(layer) >= too_many:
            raise ConversionError("no")

    said = culprit.where_it_fails(network, IMAGE, attempt)
    name = f"{too_many - 1} (Mish)"
    together = f"{name} together with the layers before it"
    assert said == f"Each layer can be converted alone, but not {together}."


def test_one_layer_that_fails_only_in_its_sequential_has_no_beginning():
    said = culprit.where_it_fails(nn.Sequential(nn.ReLU()), IMAGE, refusing(nn.Sequential))
    whole = "but Sequential.forward cannot."
    assert said == f"Each layer can be converted alone, {whole}"


def test_a_search_that_takes_too_long_says_so(monkeypatch):
    monkeypatch.setattr(culprit, "LIMIT_S", 0)
    said = culprit.where_it_fails(nn.Sequential(nn.ReLU()), IMAGE, refusing(nn.ReLU))
    assert said == "The failing layer was not found within 0 s."


def test_equal_layers_are_tried_once():
    tried = []
    network = nn.Sequential(nn.ReLU(), nn.ReLU(), nn.ReLU())
    culprit.where_it_fails(network, IMAGE, lambda layer, image: tried.append(layer))
    assert len([layer for layer in tried if isinstance(layer, nn.ReLU)]) == 1


def test_a_path_that_cannot_be_written_starts_no_search(monkeypatch, tmp_path):
    monkeypatch.setattr(culprit, "where_it_fails", lambda *_: pytest.fail("a search"))
    with pytest.raises(ConversionError, match="is named NAME.onnx"):
        convert.to_onnx(nn.Sequential(nn.ReLU()), IMAGE, tmp_path / "network")


def test_an_error_that_is_complete_starts_no_search(monkeypatch, tmp_path):
    monkeypatch.setattr(culprit, "where_it_fails", lambda *_: pytest.fail("a search"))
    with pytest.raises(ConversionError, match="the example has 2"):
        convert.to_ncnn(
            nn.Sequential(nn.ReLU()), IMAGE.repeat(2, 1, 1, 1), tmp_path / "a.ncnn.param"
        )


def test_a_branch_that_depends_on_the_pixels(tmp_path):
    with pytest.raises(ConversionError, match=r"decides by the values in the image \(test_culprit"):
        convert.to_torchscript(TwoPaths(), IMAGE, tmp_path / "two.torchscript")


def test_mnn_names_the_operator_that_it_does_not_have(tmp_path):
    source = convert.to_onnx(nn.Sequential(nn.Mish()), IMAGE, tmp_path / "mish.onnx")
    with pytest.raises(ConversionError, match="Mish"):
        convert.to_mnn(source, tmp_path / "mish.mnn")
