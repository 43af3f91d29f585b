"""modelfiles.profiling: operators with known work, and what int8 files spend their time on.

Each runtime has its own way to report it.
"""

import numpy as np
import pytest

from helpers import model_files, profiling
from helpers.runtimes import open_model


@pytest.fixture(scope="module")
def path(quick_networks):
    """A function from a name to the path of this file of MnistNet or of the examples."""
    networks = ["mnist_cnn", *model_files.TOY_NETWORKS]
    model_files.build_missing(networks, batches=[])
    paths = {file.path.name: file.path for file in model_files.files(networks)}
    return paths.__getitem__


@pytest.mark.parametrize("name", ["mnist_cnn", "six_convs_relu"])
def test_the_macs_of_the_operators_are_those_of_the_network(path, name):
    layers = profiling.profile_onnxruntime(path(f"{name}.onnx"), 3)
    counted = model_files.network_info()[name]["macs"]
    # a library that works on many channels at once fills up the three of a picture at most
    assert counted <= layers["MACs"].sum() < 1.2 * counted
    assert (layers["time (µs)"] >= 0).all() and layers["time (µs)"].sum() > 0
    assert set(layers.loc[layers["MACs"].isna(), "layer"]) <= {"-"}


def test_the_layers_of_mnist_net(path):
    layers = profiling.profile_onnxruntime(path("mnist_cnn.onnx"), 1)
    assert layers.dropna()["layer"].tolist() == ["3 x 3", "3 x 3", "linear", "linear"]
    linear = layers[layers["layer"] == "linear"]
    assert linear["MACs"].tolist() == [9216 * 128, 128 * 10]
    assert linear["bytes"].tolist() == [4 * (9216 + 9216 * 128 + 128), 4 * (128 + 1280 + 10)]
    assert linear["output"].tolist() == ["1 x 128", "1 x 10"]


@pytest.mark.parametrize(
    "inputs, outputs, work",
    [
        (
            [[1, 32, 26, 26], [64, 32, 3, 3], [64]],
            [[1, 64, 24, 24]],
            ("3 x 3", 10_616_832, 4 * (21632 + 18432 + 36864)),
        ),
        (
            [[1, 96, 56, 56], [96, 1, 3, 3]],
            [[1, 96, 56, 56]],
            ("depthwise", 2_709_504, 4 * (2 * 301056 + 864)),
        ),
        (
            [[1, 1, 28, 28], [32, 1, 3, 3]],
            [[1, 32, 26, 26]],
            ("3 x 3", 194_688, 4 * (784 + 288 + 21632)),
        ),
        ([[1, 9216], [128]], [[1, 128]], ("linear", 1_179_648, 4 * (9216 + 1_179_648 + 128))),
    ],
)
def test_the_work_of_a_layer_by_its_shapes(inputs, outputs, work):
    assert profiling.layer_cost(inputs, outputs) == work


@pytest.mark.parametrize(
    "inputs, outputs",
    [
        ([[1, 64, 24, 24]], [[1, 64, 12, 12]]),
        ([[1, 64, 12, 12], [2]], [[1, 9216]]),
        ([[1, 10, 5, 5], []], [[1, 10, 5, 5]]),
    ],
)
def test_what_does_not_multiply_has_no_macs(inputs, outputs):
    layer, macs, moved = profiling.layer_cost(inputs, outputs)
    assert layer == "-" and np.isnan(macs) and np.isnan(moved)


@pytest.mark.parametrize("name, conversions, floats", [("relu", 2, 0), ("gelu", 12, 6)])
def test_gelu_makes_islands_of_float_and_relu_does_not(path, name, conversions, floats):
    layers = profiling.profile_onnxruntime(path(f"six_convs_{name}_int8_u8.onnx"), 1)
    spent = layers["kind"].value_counts()
    assert spent["to and from int8"] == conversions
    assert spent.get("float32", 0) == floats
    assert spent["integer"] == 6


def test_operators_in_mnn(path, capfd):
    layers = profiling.profile_mnn(path("mnist_cnn.mnn"), 3)
    assert layers["operator"].str.contains("(Convolution)", regex=False).sum() == 4
    assert (layers["time (µs)"] > 0).all()
    assert capfd.readouterr().out == "", "MNN's messages about the machine are suppressed"


def test_layers_in_ncnn(path):
    layers = profiling.profile_ncnn(path("mnist_cnn.ncnn.param"), 3)
    assert layers["operator"].str.contains("(InnerProduct)", regex=False).sum() == 2
    assert (layers["time (µs)"] > 0).all()
    assert layers["operator"].str.contains("(Input)", regex=False).sum() == 0


def test_racing_and_profiling_compute_in_the_same_precision(path, monkeypatch):
    """ncnn in float32, ONNX Runtime's int8 with exact sums, in both."""
    import ncnn
    import onnxruntime

    nets = []
    exact = []
    session = onnxruntime.InferenceSession

    class Net(ncnn.Net):
        def __init__(self) -> None:
            super().__init__()
            nets.append(self)

    def open_session(file, options, **more):
        exact.append(options.get_session_config_entry("session.x64quantprecision"))
        return session(file, options, **more)

    monkeypatch.setattr(ncnn, "Net", Net)
    monkeypatch.setattr(onnxruntime, "InferenceSession", open_session)
    open_model(path("mnist_cnn.ncnn.param"))
    profiling.profile_ncnn(path("mnist_cnn.ncnn.param"), 1)
    half = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage")
    assert len(nets) == 3 and not any(getattr(net.opt, option) for net in nets for option in half)
    open_model(path("six_convs_relu_int8_u8.onnx"))
    profiling.profile_onnxruntime(path("six_convs_relu_int8_u8.onnx"), 1)
    assert exact == ["1", "1"]


def test_pieces_in_litert(path):
    for name in ("mnist_cnn.tflite", "mnist_cnn_int8.tflite"):
        assert profiling.count_delegate_partitions(path(name)) == 1
