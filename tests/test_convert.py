"""Converters look at what they made: right files for odd networks, one sentence for the rest, nothing of the caller's changed."""

import re

import numpy as np
import onnx
import pytest
import torch
from fuzz import networks
from torch import nn

from helpers import convert
from helpers.conversion import compare
from helpers.conversion.opener import Opener, opener
from helpers.errors import ConversionError, WorkbookError
from helpers.models import DepthwiseNet
from helpers.runtimes import open_model

FLOAT = {
    "pt2": convert.to_pt2,
    "torchscript": convert.to_torchscript,
    "onnx": convert.to_onnx,
    "tflite": convert.to_tflite,
    "ncnn.param": convert.to_ncnn,
    "pte": convert.to_executorch,
}


class Calls(nn.Module):
    """conv, then `function`, then a linear layer."""

    def __init__(self, function=torch.relu, outputs=10):
        super().__init__()
        self.conv, self.fc, self.function = nn.Conv2d(1, 4, 3), nn.Linear(4 * 36, outputs), function

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
        found = np.concatenate([network.eval()(torch.from_numpy(image[None].copy())).numpy() for image in x])
    for part, mode in modes.items():
        part.training = mode
    return found


# float files

@pytest.mark.parametrize("network", [
    nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)),
    nn.Sequential(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sequential(nn.ReLU6(inplace=True))), nn.Flatten(), nn.Linear(144, 10)),
    DepthwiseNet(),
    nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10)),
    nn.Sequential(nn.Sigmoid(), nn.Conv2d(1, 4, 3)),
    nn.Sequential(nn.Dropout(), nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 10)),
], ids=["bare", "nested", "DepthwiseNet", "flatten first", "in place first", "norm first"])
def test_ncnn_takes_sequentials_and_any_first_layer(network, tmp_path):
    x = images()
    kept = x.copy()
    found = open_model(convert.to_ncnn(network, EXAMPLE, tmp_path / "a.ncnn.param")).predict(x)
    wanted = answers(network, x)
    assert found.shape == wanted.shape and np.abs(found - wanted).max() <= 1e-3
    assert (x == kept).all()


@pytest.mark.parametrize("form", FLOAT)
def test_a_network_that_writes_on_its_input(form, tmp_path):
    network, x = WritesOnInput().train(), images()
    network.body.eval()
    network.body.conv.register_forward_hook(lambda *_: None)
    example = torch.ones(1, 1, 8, 8)
    model = open_model(FLOAT[form](network, example, tmp_path / f"a.{form}"))
    assert (example == 1).all() and network.training and not network.body.training and network.calls == 0
    assert len(network.body.conv._forward_hooks) == 1
    assert np.abs(model.predict(x.copy()) - answers(network, x)).max() <= 1e-3


@pytest.mark.parametrize("form", ["onnx", "pte"])
def test_an_fx_graph_in_training_mode_does_not_drop_out(form, tmp_path):
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 10))
    graph = torch.fx.symbolic_trace(network).train()
    x = images()
    model = open_model(FLOAT[form](graph, EXAMPLE, tmp_path / f"a.{form}"))
    assert np.abs(model.predict(x) - answers(network, x)).max() <= 1e-3
    assert graph.training and graph.get_submodule("1").training


@pytest.mark.parametrize("form, network, words", [
    ("ncnn.param", Calls(lambda y: torch.where(y > 0, y, 0.3 * y)), r"ncnn \(a.ncnn.param\): ncnn has no such layer: .*where"),
    ("ncnn.param", Calls(nn.functional.softsign), "softsign"),
    ("ncnn.param", Branches(), "computes something else: an answer is off by"),
    ("torchscript", Branches(), r"TorchScript \(a.torchscript\): the file computes something else"),
    ("tflite", Resizes(), r"TFLite \(a.tflite\): the file computes something else"),
    ("torchscript", Calls(nn.functional.dropout), "different answers to the same image"),
    ("torchscript", nn.Sequential(nn.Conv2d(3, 4, 3)), "cannot run the example: .*channels"),
    ("torchscript", Calls(lambda y: y / 0), "answers the example with NaN or infinity"),
    ("torchscript", nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(0)), "first axis must be the batch"),
    ("torchscript", "a network", "torch.nn.Module, not str"),
])
def test_what_cannot_be_right_is_said_in_one_sentence(form, network, words, tmp_path):
    with pytest.raises(ConversionError, match=words) as raised:
        FLOAT[form](network, EXAMPLE, tmp_path / f"a.{form}")
    assert isinstance(raised.value, (WorkbookError, ValueError)) and "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("example, words", [
    (torch.zeros(1, 1, 8, 8, dtype=torch.float64), "float64"),
    (torch.zeros(1, 8, 8), r"\(1, 8, 8\)"),
    (torch.zeros(0, 1, 8, 8), r"\(0, 1, 8, 8\)"),
    (torch.full((1, 1, 8, 8), torch.nan), "NaN"),
    (np.zeros((1, 1, 8, 8), np.float32), "tensor, not ndarray"),
])
def test_an_example_that_cannot_be_used(example, words, tmp_path):
    with pytest.raises(ConversionError, match=words):
        convert.to_torchscript(Calls(), example, tmp_path / "a.torchscript")


@pytest.mark.parametrize("name", ["net[1]", "net[lr=0.1]", "net v1.2 (copy)", "größe", "new/folder/net"])
def test_every_returned_path_exists(name, tmp_path):
    network = nn.Sequential(nn.Conv2d(1, 2, 3))
    for form in ("torchscript", "ncnn.param"):
        path = FLOAT[form](network, EXAMPLE, f"{tmp_path}/{name}.{form}")
        assert path.is_file() and open_model(path).input_shape == (1, 1, 8, 8)
    assert sorted(file.name for file in path.parent.iterdir()) == sorted(
        f"{path.name.removesuffix('.ncnn.param')}.{form}" for form in ("torchscript", "ncnn.param", "ncnn.bin"))


@pytest.mark.parametrize("name", ["noending", "net.onnx", ".torchscript", "a folder.torchscript", "file/net.torchscript"])
def test_names_that_cannot_be_written(name, tmp_path):
    (tmp_path / "a folder.torchscript").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConversionError, match=r"is named NAME\.torchscript|cannot be written"):
        convert.to_torchscript(Calls(), EXAMPLE, tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a folder.torchscript", "file"]


# int8 files

@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A network and its .onnx and .tflite file."""
    torch.manual_seed(0)
    folder, network = tmp_path_factory.mktemp("sources"), Calls()
    return network, convert.to_onnx(network, EXAMPLE, folder / "a.onnx"), convert.to_tflite(network, EXAMPLE, folder / "a.tflite")


def int8_forms(network, onnx_file, tflite_file, x, folder):
    """{form: path} of every int8 form."""
    return {
        "onnx": convert.to_onnx_int8(onnx_file, folder / "q.onnx", x),
        "onnx, integer operators": convert.to_onnx_int8(onnx_file, folder / "i.onnx", x, qdq=False, unsigned_activations=False),
        "tflite": convert.to_tflite_int8(tflite_file, folder / "q.tflite", x),
        "mnn": convert.to_mnn(onnx_file, folder / "q.mnn", weight_bits=8),
        "pte": convert.to_executorch_int8(network, folder / "q.pte", x),
    }


class ZeroChannels(nn.Module):
    """Two channels of each convolution have zero or tiny weights and a bias, as pruning leaves them."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.fc = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3, groups=2), nn.Linear(8 * 64, 10)
        with torch.no_grad():
            for layer in (self.first, self.second):
                layer.weight[3], layer.bias[3] = 0, 1.5
                layer.weight[5] *= 1e-9
                layer.bias[5] = 2

    def forward(self, x):
        return self.fc(torch.relu(self.second(torch.relu(self.first(x)))).flatten(1))


@pytest.mark.parametrize("network", [
    ZeroChannels(),
    nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(800, 1)),
], ids=["zero channels", "one output"])
def test_int8_forms_stay_near_the_network(network, tmp_path):
    """Brighter and brighter images: a range that forgets or prefers the first ones would be too small."""
    x = images(48, size=12) * np.linspace(0.1, 3, 48, dtype=np.float32)[:, None, None, None]
    wanted, example = answers(network, x), torch.zeros(1, 1, 12, 12)
    onnx_file = convert.to_onnx(network, example, tmp_path / "a.onnx")
    tflite_file = convert.to_tflite(network, example, tmp_path / "a.tflite")
    for form, path in int8_forms(network, onnx_file, tflite_file, x, tmp_path).items():
        error = np.sqrt(((open_model(path).predict(x) - wanted) ** 2).mean()) / wanted.std()
        # x86 without VNNI adds pairs of uint8 x int8 products in 16 bits, and random weights overflow them
        assert error <= (0.3 if form == "onnx" else 0.1), (form, error)


def test_the_order_of_calibration_images_does_not_matter(sources, tmp_path):
    _, onnx_file, tflite_file = sources
    x = images(20) * np.linspace(0.1, 3, 20, dtype=np.float32)[:, None, None, None]
    for make, source, name in ((convert.to_onnx_int8, onnx_file, "a.onnx"), (convert.to_tflite_int8, tflite_file, "a.tflite")):
        forwards, backwards = (make(source, tmp_path / name, order).read_bytes() for order in (x, x[::-1]))
        assert forwards == backwards, name


@pytest.mark.parametrize("calibration, words", [
    (np.where(np.arange(64).reshape(8, 8) == 9, np.nan, images()).astype(np.float32), "6 of 6 calibration images contain NaN"),
    (np.concatenate([images(), np.full((1, 1, 8, 8), np.inf, np.float32)]), r"1 of 7 .*first is images\[6\]"),
    (images().astype(np.float64), "float32, .*not float64"),
    (images(size=9), r"N x (1|any) x (8|any) x (8|any), not float32 \(6, 1, 9, 9\)|cannot run"),
    (images()[0], r"not float32 \(1, 8, 8\)"),
    (images()[:0], "no calibration images"),
    (torch.zeros(6, 1, 8, 8), "numpy array, not Tensor"),
], ids=["NaN", "infinity", "float64", "shape", "one image", "none", "tensor"])
def test_calibration_that_cannot_be_used(sources, calibration, words, tmp_path):
    network, onnx_file, tflite_file = sources
    makers = {
        "q.onnx": lambda path: convert.to_onnx_int8(onnx_file, path, calibration),
        "q.tflite": lambda path: convert.to_tflite_int8(tflite_file, path, calibration),
        "q.pte": lambda path: convert.to_executorch_int8(network, path, calibration),
    }
    for name, make in makers.items():
        with pytest.raises(ConversionError, match=words):
            make(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_int8_sources_and_other_options(sources, tmp_path):
    _, onnx_file, tflite_file = sources
    quantized = convert.to_onnx_int8(onnx_file, tmp_path / "q.onnx", images())
    whole = convert.to_mnn(onnx_file, tmp_path / "a.mnn")
    assert convert.to_mnn(onnx_file, tmp_path / "q.mnn", weight_bits=8).stat().st_size < whole.stat().st_size
    before = sorted(tmp_path.iterdir())
    refused = {
        "int8 already": lambda: convert.to_onnx_int8(quantized, tmp_path / "x.onnx", images()),
        "Cannot convert to MNN": lambda: convert.to_mnn(quantized, tmp_path / "x.mnn"),
        "weight_bits is 8 or 32, not 4": lambda: convert.to_mnn(onnx_file, tmp_path / "x.mnn", weight_bits=4),
        "not 'Middle'": lambda: convert.to_onnx_int8(onnx_file, tmp_path / "x.onnx", images(), ranges="Middle"),
        "does not exist": lambda: convert.to_mnn(tmp_path / "none.onnx", tmp_path / "x.mnn"),
        "not an ONNX file": lambda: convert.to_mnn(tflite_file, tmp_path / "x.mnn"),
    }
    for words, make in refused.items():
        with pytest.raises(ConversionError, match=words):
            make()
    assert sorted(tmp_path.iterdir()) == before


def test_a_layer_that_is_always_zero(tmp_path):
    network = Calls()
    network.conv.bias.data[:] = -100  # no ReLU lets anything through
    tflite_file = convert.to_tflite(network, EXAMPLE, tmp_path / "a.tflite")
    path = convert.to_tflite_int8(tflite_file, tmp_path / "q.tflite", images())
    assert np.abs(open_model(path).predict(images()) - answers(network, images())).max() < 0.01


def test_an_old_onnx_file_lists_its_weights_among_the_inputs(sources, tmp_path):
    network, onnx_file, _ = sources
    old = onnx.load(onnx_file)
    for weight in old.graph.initializer:
        old.graph.input.insert(0, onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims))
    onnx.save(old, tmp_path / "old.onnx")
    path = convert.to_onnx_int8(tmp_path / "old.onnx", tmp_path / "q.onnx", images())
    wanted = answers(network, images())
    assert np.abs(open_model(path).predict(images()) - wanted).max() < 0.1 * np.abs(wanted).max()


# how files are compared

@pytest.mark.parametrize("found, wanted, fault", [
    ([[1.0, 2.0]], [[1.0, 2.001]], None),
    ([[1.0, 2.0]], [[1.0, 2.01]], "an answer is off by 0.01, and the network's largest output for that image is 2.01"),
    ([[1.0], [5.0]], [[1.0], [6.0]], "off by 1, .* is 6"),
    ([[0.001], [100.0]], [[0.0], [100.0]], "off by 0.001"),
    ([[1e-7], [1.0]], [[0.0], [1.0]], None),
    ([[0.0]], [[0.0]], None),
    ([[np.nan]], [[0.0]], "NaN"),
    ([[[1.0, 2.0]]], [[1.0, 2.0]], r"shape \(1, 1, 2\), and the network's \(1, 2\)"),
])
def test_float_answers(found, wanted, fault):
    said = compare.float_fault(np.float32(found), np.float32(wanted))
    assert said is None if fault is None else re.search(fault, said)


def test_int8_answers():
    wanted = images(32, size=3).reshape(32, 9)
    good = {"rounded": np.round(wanted, 1), "clipped": np.clip(wanted, -1.5, 1.5)}
    bad = {"constant": 0 * wanted + wanted.mean(), "other order": wanted[::-1], "all zero": 0 * wanted, "NaN": wanted * np.nan,
           "shape": wanted[:, None]}
    assert {name: compare.int8_fault(found, wanted) for name, found in good.items()} == dict.fromkeys(good)
    assert all(compare.int8_fault(found, wanted) for found in bad.values())
    assert compare.int8_fault(np.zeros((4, 2)), np.zeros((4, 2))) is None, "a network that is constant itself"


def test_a_file_that_ends_the_process_is_reported_and_the_next_one_opens(sources, tmp_path):
    _, onnx_file, _ = sources
    process = Opener(".onnx")
    process._process.kill()
    with pytest.raises(ConversionError, match="ends the process (.*9|.*exit status 1)"):
        process.answers(onnx_file, images())
    process.close()
    (tmp_path / "half.onnx").write_bytes(onnx_file.read_bytes()[:500])
    with opener(".onnx") as process:
        with pytest.raises(ConversionError, match="cannot be loaded"):
            process.input_shape(tmp_path / "half.onnx")
        assert process.input_shape(onnx_file) == (1, 1, 8, 8)


def test_files_for_torch_share_one_process():
    found = []
    for suffix in (".pt2", ".pte"):
        with opener(suffix) as process:
            found.append(process)
    assert found[0] is found[1]
    found[0]._process.kill()
    found[0]._process.wait()
    with opener(".pt2") as process:
        assert process is not found[0] and process.is_running


@pytest.mark.parametrize("seed", range(10))
def test_random_networks(seed, tmp_path):
    """A third of the forms each; `make fuzz` tries them all on 200 networks."""
    outcomes = networks.try_network(seed, tmp_path, networks.FORMS[seed % 3 :: 3])
    assert all(outcome.split(":")[0] in ("right", "refused") for outcome in outcomes.values()), outcomes
    assert "right" in outcomes.values()
