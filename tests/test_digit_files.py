"""The files of the live digit, and the errors for model files that are not the int8 LeNet."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import shared_networks
from notebook_code import definitions

from helpers import training
from helpers.data import mnist, normalize
from modelfiles import integers
from modelfiles.errors import ModelFileError
from workbook.digit import fragment, write_assets
from workbook.digit.assets import read_network

book = definitions("05b_integer_only_inference")


@pytest.fixture(scope="module")
def files(build_folder) -> dict[str, Path]:
    """The int8 files of LeNet that notebook 05b writes, by its names for the runtimes."""
    training.save("lenet", *shared_networks.get("lenet"))
    return book.quantized_files("lenet", normalize(mnist("train").images[:100]))


def test_without_a_model_there_is_no_digit(tmp_path):
    assert not write_assets(tmp_path / "digit", tmp_path / "missing.onnx")
    assert not (tmp_path / "digit").exists()


def test_the_default_is_the_file_of_notebook_05b(files, tmp_path):
    assert write_assets(tmp_path)
    text = (tmp_path / "parameters.js").read_text(encoding="utf-8")
    content = json.loads(text.removeprefix("globalThis.lenetParameters = ").rstrip(";\n"))
    path = files["ONNX, per channel"]
    assert (content["file"], content["bytes"]) == (path.name, path.stat().st_size)
    assert content["images"]["labels"] == 3 * list(range(10))
    assert content["images"]["source"] == mnist("test").source


def test_the_url_of_the_assets_is_quoted():
    assert 'src="a&quot;b/page.js"' in fragment('a"b/')


def change_operator(graph):
    graph.node[2].op_type = "AveragePool"


def change_stride(graph):
    for attribute in graph.node[1].attribute:
        if attribute.name == "strides":
            attribute.ints[:] = [2, 2]


def change_chain(graph):
    graph.node[7].input[0] = "view_quantized"


def replace(graph, name: str, value: np.ndarray) -> None:
    for tensor in graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, name))


def add_weight_zero_point(graph):
    replace(graph, "fc2.weight_zero_point", np.full(84, 3, np.int8))


def shrink(graph):
    replace(graph, "fc2.weight_quantized", np.zeros((83, 120), np.int8))


def remove_scale(graph):
    graph.node[1].input[4] = "elsewhere"


def change_scale_to_zero(graph):
    replace(graph, "fc1.weight_scale", np.zeros(120, np.float32))


def shorten_scales(graph):
    replace(graph, "fc1.weight_scale", np.ones(7, np.float32))


@pytest.mark.parametrize(
    "change, sentence",
    [
        (change_operator, "its operators are QuantizeLinear, .*AveragePool.*, not QuantizeLinear"),
        (change_stride, "strides of .* is 2, not 1"),
        (change_chain, "reads view_quantized, not linear_quantized"),
        (add_weight_zero_point, "a zero point of fc2.weight_quantized is 3, not 0"),
        (shrink, r"the weights of fc2 have shape \(83, 120\), not \(84, 120\)"),
        (remove_scale, r"that are not stored: \['elsewhere'\], not \[\]"),
        (change_scale_to_zero, "a scale of fc1 is 0, negative, too large or not a number"),
        (shorten_scales, "the number of weight scales of fc1 is 7, not 120"),
    ],
)
def test_another_onnx_file_is_refused_with_what_differs(files, tmp_path, change, sentence):
    model = onnx.load(files["ONNX, per channel"])
    change(model.graph)
    path = tmp_path / "changed.onnx"
    onnx.save(model, path)
    with pytest.raises(ModelFileError, match=f"changed.onnx .*{sentence}.*Run notebook 05"):
        write_assets(tmp_path / "digit", path)
    assert not (tmp_path / "digit").exists()


def add_padding(graph):
    graph.operators[1].builtinOptions.padding = 0


def change_activation(graph):
    graph.operators[3].builtinOptions.fusedActivationFunction = 3  # a ReLU that ends at 6


def change_tflite_chain(graph):
    step = graph.operators[8]
    step.inputs = np.array([graph.operators[6].outputs[0], *step.inputs[1:]], np.int32)


def change_zero_point(graph):
    stored = graph.tensors[graph.operators[8].inputs[1]].quantization
    stored.zeroPoint = stored.zeroPoint + 5


def keep_as_it_is(graph):
    pass


@pytest.mark.parametrize(
    "source, change, sentence",
    [
        ("int8", add_padding, "the padding of DEPTHWISE_CONV_2D is SAME, not VALID"),
        ("int8", change_activation, "the activation of CONV_2D is RELU6, not NONE or RELU"),
        ("int8", change_tflite_chain, "FULLY_CONNECTED reads tensor"),
        ("int8", change_zero_point, "a zero point of FULLY_CONNECTED is 5, not 0"),
        ("float32", keep_as_it_is, "the type of .* is FLOAT32, not INT8"),
    ],
)
def test_another_tflite_file_is_refused_with_what_differs(
    files, tmp_path, source, change, sentence
):
    path = files["TFLite"]
    model = integers.open_tflite(path if source == "int8" else path.with_name("lenet.tflite"))
    change(model.subgraphs[0])
    changed = tmp_path / "changed.tflite"
    changed.write_bytes(integers.packed(model))
    with pytest.raises(ModelFileError, match=f"changed.tflite .*{sentence}.*Run notebook 05"):
        read_network(changed)


@pytest.mark.parametrize("name", ["ONNX, per channel", "TFLite"])
def test_a_damaged_file_is_refused(files, tmp_path, name):
    content = files[name].read_bytes()
    path = tmp_path / f"damaged{files[name].suffix}"
    cut = [content[: len(content) * tenths // 10] for tenths in (0, 1, 5, 9)]
    for damaged in (b"no model", *cut):
        path.write_bytes(damaged)
        with pytest.raises(ModelFileError, match=f"{path.name} .*Run notebook 05"):
            read_network(path)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "lenet.pt"
    path.write_bytes(b"")
    with pytest.raises(ModelFileError, match="lenet.pt is not an .onnx or .tflite file"):
        write_assets(tmp_path / "digit", path)
