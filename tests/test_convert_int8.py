"""Int8 files: near the network for images in any order, or refused in one sentence."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from test_convert import EXAMPLE, Calls, answers, images, seeded  # noqa: F401  (a fixture)
from torch import nn

from helpers import convert
from helpers.errors import ConversionError
from helpers.runtimes import open_model

# x86 without VNNI adds pairs of uint8 x int8 products in 16 bits, and random weights overflow them;
# these options give the same numbers on every processor
INTEGER = {"qdq": False, "unsigned_activations": False}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A network and its .onnx and .tflite file."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("sources")
    network = Calls()
    onnx_file = convert.to_onnx(network, EXAMPLE, folder / "a.onnx")
    return network, onnx_file, convert.to_tflite(network, EXAMPLE, folder / "a.tflite")


def int8_forms(network, onnx_file, tflite_file, x, folder):
    """{form: path} of every int8 form."""
    return {
        "onnx": convert.to_onnx_int8(onnx_file, folder / "q.onnx", x),
        "onnx, integer operators": convert.to_onnx_int8(onnx_file, folder / "i.onnx", x, **INTEGER),
        "tflite": convert.to_tflite_int8(tflite_file, folder / "q.tflite", x),
        "mnn": convert.to_mnn(onnx_file, folder / "q.mnn", weight_bits=8),
        "pte": convert.to_executorch_int8(network, folder / "q.pte", x),
    }


class ZeroChannels(nn.Module):
    """Each convolution has two channels with a bias and zero or tiny weights, as after pruning."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3)
        self.second = nn.Conv2d(8, 8, 3, groups=2)
        self.fc = nn.Linear(8 * 64, 10)
        with torch.no_grad():
            for layer in (self.first, self.second):
                layer.weight[3] = 0
                layer.bias[3] = 1.5
                layer.weight[5] *= 1e-9
                layer.bias[5] = 2

    def forward(self, x):
        return self.fc(torch.relu(self.second(torch.relu(self.first(x)))).flatten(1))


@pytest.mark.parametrize(
    "network",
    [
        ZeroChannels(),
        nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(800, 1)),
    ],
    ids=["zero channels", "one output"],
)
def test_int8_forms_stay_near_the_network(network, tmp_path):
    """The images grow brighter: a range that prefers the first ones would be too small."""
    x = brightening(images(48, size=12))
    wanted = answers(network, x)
    example = torch.zeros(1, 1, 12, 12)
    onnx_file = convert.to_onnx(network, example, tmp_path / "a.onnx")
    tflite_file = convert.to_tflite(network, example, tmp_path / "a.tflite")
    for form, path in int8_forms(network, onnx_file, tflite_file, x, tmp_path).items():
        found = without_overflow(path, x) if form == "onnx" else open_model(path).predict(x)
        error = np.sqrt(((found - wanted) ** 2).mean()) / wanted.std()
        assert error <= 0.1, (form, error)


def test_the_order_of_calibration_images_does_not_matter(sources, tmp_path):
    _, onnx_file, tflite_file = sources
    x = brightening(images(20))
    makers = {convert.to_onnx_int8: onnx_file, convert.to_tflite_int8: tflite_file}
    for convert_to, source in makers.items():
        path = tmp_path / source.name
        forwards = convert_to(source, path, x).read_bytes()
        assert convert_to(source, path, x[::-1]).read_bytes() == forwards, source.name


def without_overflow(path, x):
    """ONNX Runtime's answers with sums in 32 bits on every x86 processor."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: image[None]})[0] for image in x])


def brightening(x):
    """`x` from a tenth of its brightness to three times as much."""
    return x * np.linspace(0.1, 3, len(x), dtype=np.float32)[:, None, None, None]


def with_one(value):
    """Images of which the last contains `value`."""
    x = images()
    x[5, 0, 2, 2] = value
    return x


@pytest.mark.parametrize(
    "calibration, words",
    [
        (with_one(np.nan), r"1 of 6 calibration images contain NaN or infinity; .* images\[5\]"),
        (with_one(np.inf), "1 of 6 calibration images"),
        (images() * np.nan, "6 of 6 calibration images"),
        (images().astype(np.float64), "float32, .*not float64"),
        (images(size=9), r"N x (1|any) x (8|any) x (8|any), not float32 \(6, 1, 9, 9\)|cannot run"),
        (images()[0], r"not float32 \(1, 8, 8\)"),
        (images()[:0], "calibration images are empty"),
        (torch.zeros(6, 1, 8, 8), "numpy array, not Tensor"),
    ],
    ids=["NaN", "infinity", "all NaN", "float64", "shape", "one image", "none", "tensor"],
)
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
    small = convert.to_mnn(onnx_file, tmp_path / "q.mnn", weight_bits=8)
    assert small.stat().st_size < whole.stat().st_size
    unknown = tmp_path / "x.onnx"
    no_mnn = tmp_path / "x.mnn"
    before = sorted(tmp_path.iterdir())
    refused = {
        "int8 already": lambda: convert.to_onnx_int8(quantized, unknown, images()),
        "Cannot convert to MNN": lambda: convert.to_mnn(quantized, no_mnn),
        "must be 8, 16 or 32, not 4": lambda: convert.to_mnn(onnx_file, no_mnn, weight_bits=4),
        "not 'Middle'": lambda: convert.to_onnx_int8(onnx_file, unknown, images(), ranges="Middle"),
        "does not exist": lambda: convert.to_mnn(tmp_path / "none.onnx", no_mnn),
        "not an ONNX file": lambda: convert.to_mnn(tflite_file, no_mnn),
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
        about = onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
        old.graph.input.insert(0, about)
    onnx.save(old, tmp_path / "old.onnx")
    path = convert.to_onnx_int8(tmp_path / "old.onnx", tmp_path / "q.onnx", images(), **INTEGER)
    wanted = answers(network, images())
    assert np.abs(open_model(path).predict(images()) - wanted).max() < 0.1 * np.abs(wanted).max()
