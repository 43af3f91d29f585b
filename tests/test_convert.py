"""Converters: right files for odd networks, one sentence for the rest, nothing else changed."""

import numpy as np
import pytest
import torch
from forms import FROM_PYTORCH
from torch import nn

from helpers import convert
from helpers.errors import ConversionError, WorkbookError
from helpers.models import DepthwiseNet
from helpers.runtimes import open_model


class Calls(nn.Module):
    """conv, then `function`, then a linear layer."""

    def __init__(self, function=torch.relu, outputs=10):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.fc = nn.Linear(4 * 36, outputs)
        self.function = function

    def forward(self, x):
        return self.fc(self.function(self.conv(x)).flatten(1))


class WritesOnInput(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = Calls()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        x -= 0.4
        return self.body(x)


class Branches(nn.Module):
    """Inverts dark images, as a network for photographs might."""

    def __init__(self):
        super().__init__()
        self.body = Calls()

    def forward(self, x):
        return self.body(-x if x.mean() > 0 else x)


class Resizes(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x):
        return nn.functional.interpolate(self.conv(x), size=(9, 10))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


EXAMPLE = torch.zeros(1, 1, 8, 8)


def images(count=6, channels=1, size=8):
    return np.random.default_rng(1).standard_normal((count, channels, size, size), np.float32)


def answers(network, x):
    """What the network answers in eval mode, image by image, on copies."""
    modes = {part: part.training for part in network.modules()}
    with torch.no_grad():
        calls = [network.eval()(torch.from_numpy(image[None].copy())) for image in x]
    for part, mode in modes.items():
        part.training = mode
    return torch.cat(calls).numpy()


# float files


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)),
        nn.Sequential(
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU6(True)), nn.Sequential(nn.Flatten())
        ),
        DepthwiseNet(),
        nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10)),
        nn.Sequential(nn.Sigmoid(), nn.Conv2d(1, 4, 3)),
        nn.Sequential(nn.Dropout(), nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 10)),
    ],
    ids=["bare", "nested", "DepthwiseNet", "flatten first", "in place first", "norm first"],
)
def test_ncnn_takes_sequentials_and_any_first_layer(network, tmp_path):
    x = images()
    kept = x.copy()
    found = open_model(convert.to_ncnn(network, EXAMPLE, tmp_path / "a.ncnn.param")).predict(x)
    wanted = answers(network, x)
    assert found.shape == wanted.shape and np.abs(found - wanted).max() <= 1e-3
    assert (x == kept).all()


@pytest.mark.parametrize("form", FROM_PYTORCH)
def test_a_network_that_writes_on_its_input(form, tmp_path):
    network = WritesOnInput().train()
    x = images()
    network.body.eval()
    network.body.conv.register_forward_hook(lambda *_: None)
    example = torch.ones(1, 1, 8, 8)
    model = open_model(FROM_PYTORCH[form](network, example, tmp_path / f"a.{form}"))
    assert (example == 1).all() and network.calls == 0
    assert network.training and not network.body.training
    assert len(network.body.conv._forward_hooks) == 1
    assert np.abs(model.predict(x.copy()) - answers(network, x)).max() <= 1e-3


@pytest.mark.parametrize("form", ["onnx", "pte"])
def test_an_fx_graph_in_training_mode_does_not_drop_out(form, tmp_path):
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 10))
    graph = torch.fx.symbolic_trace(network).train()
    x = images()
    model = open_model(FROM_PYTORCH[form](graph, EXAMPLE, tmp_path / f"a.{form}"))
    assert np.abs(model.predict(x) - answers(network, x)).max() <= 1e-3
    assert graph.training and graph.get_submodule("1").training


@pytest.mark.parametrize(
    "form, network, words",
    [
        (
            "ncnn.param",
            Calls(lambda y: torch.where(y > 0, y, -y)),
            "ncnn does not support these layers: .*where",
        ),
        ("ncnn.param", Calls(nn.functional.softsign), "softsign"),
        ("ncnn.param", Branches(), "decides by the values in the image"),
        ("torchscript", Branches(), "decides by the values in the image"),
        ("tflite", Resizes(), r"TFLite \(a.tflite\): the file's outputs are wrong"),
        ("torchscript", Calls(nn.functional.dropout), "differ from call to call in eval mode"),
        ("torchscript", nn.Sequential(nn.Conv2d(3, 4, 3)), "cannot run the example: .*channels"),
        ("torchscript", Calls(lambda y: y / 0), "outputs for the example contain NaN or infinity"),
        (
            "torchscript",
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(0)),
            "first axis must be the b",
        ),
        ("torchscript", "a network", "torch.nn.Module, not str"),
    ],
)
def test_what_cannot_be_right_is_said_in_one_sentence(form, network, words, tmp_path):
    with pytest.raises(ConversionError, match=words) as raised:
        FROM_PYTORCH[form](network, EXAMPLE, tmp_path / f"a.{form}")
    assert isinstance(raised.value, WorkbookError) and isinstance(raised.value, ValueError)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "example, words",
    [
        (torch.zeros(1, 1, 8, 8, dtype=torch.float64), "float64"),
        (torch.zeros(1, 8, 8), r"\(1, 8, 8\)"),
        (torch.zeros(0, 1, 8, 8), r"\(0, 1, 8, 8\)"),
        (torch.full((1, 1, 8, 8), torch.nan), "NaN"),
        (np.zeros((1, 1, 8, 8), np.float32), "tensor, not ndarray"),
    ],
)
def test_an_example_that_cannot_be_used(example, words, tmp_path):
    with pytest.raises(ConversionError, match=words):
        convert.to_torchscript(Calls(), example, tmp_path / "a.torchscript")


@pytest.mark.parametrize("name", ["net[1]", "net[lr=0.1]", "net v1.2 (copy)", "größe", "new/a/net"])
def test_every_returned_path_exists(name, tmp_path):
    network = nn.Sequential(nn.Conv2d(1, 2, 3))
    for form in ("torchscript", "ncnn.param"):
        path = FROM_PYTORCH[form](network, EXAMPLE, f"{tmp_path}/{name}.{form}")
        assert path.is_file() and open_model(path).input_shape == (1, 1, 8, 8)
    stem = path.name.removesuffix(".ncnn.param")
    found = {file.name for file in path.parent.iterdir()}
    assert found == {f"{stem}.torchscript", f"{stem}.ncnn.param", f"{stem}.ncnn.bin"}


@pytest.mark.parametrize(
    "name",
    ["noending", "net.onnx", ".torchscript", "a folder.torchscript", "file/net.torchscript"],
)
def test_names_that_cannot_be_written(name, tmp_path):
    (tmp_path / "a folder.torchscript").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConversionError, match=r"is named NAME\.torchscript|cannot be written"):
        convert.to_torchscript(Calls(), EXAMPLE, tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a folder.torchscript", "file"]
