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
from workbook.digit.lenet import read_network

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


def drop_layer(graph):
    graph.node[8].input[0] = graph.node[6].output[0]
    del graph.node[7]


def change_pool(graph):
    for attribute in graph.node[2].attribute:
        if attribute.name == "kernel_shape":
            attribute.ints[:] = [2, 3]


def change_factor(graph):
    for attribute in graph.node[7].attribute:
        if attribute.name == "alpha":
            attribute.f = 2.0


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
        (change_operator, "this reader does not know the ONNX operator AveragePool"),
        (drop_layer, "its operators are QuantizeLinear, .*QGemm, not QuantizeLinear"),
        (change_stride, r"the strides of QLinearConv are \(2, 2\), not \(1, 1\)"),
        (change_pool, "pools that overlap"),
        (change_factor, "a QGemm that scales or transposes its input"),
        (change_chain, "reads view_quantized, not linear_quantized"),
        (add_weight_zero_point, "this reader does not know weights with a zero point"),
        (shrink, r"the weights of fc2 have shape \(83, 120\), not \(84, 120\)"),
        (remove_scale, "inputs that are not stored: elsewhere"),
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


def add_padding(model):
    graph = model.subgraphs[0]
    graph.operators[1].builtinOptions.padding = 0


def change_tflite_pool(model):
    graph = model.subgraphs[0]
    graph.operators[2].builtinOptions.filterHeight = 3


def change_order(model):
    graph = model.subgraphs[0]
    tensor = graph.tensors[graph.operators[5].inputs[1]]
    model.buffers[tensor.buffer].data = np.array([0, 2, 1, 3], np.int32).view(np.uint8)


def change_activation(model):
    graph = model.subgraphs[0]
    graph.operators[3].builtinOptions.fusedActivationFunction = 3  # a ReLU that ends at 6


def change_tflite_chain(model):
    graph = model.subgraphs[0]
    step = graph.operators[8]
    step.inputs = np.array([graph.operators[6].outputs[0], *step.inputs[1:]], np.int32)


def change_zero_point(model):
    graph = model.subgraphs[0]
    stored = graph.tensors[graph.operators[8].inputs[1]].quantization
    stored.zeroPoint = stored.zeroPoint + 5


def keep_as_it_is(model):
    pass


@pytest.mark.parametrize(
    "source, change, sentence",
    [
        ("int8", add_padding, "this reader does not know padding"),
        ("int8", change_tflite_pool, "pools that overlap"),
        ("int8", change_order, r"the order of TRANSPOSE is \(0, 2, 1, 3\), not \(0, 3, 1, 2\)"),
        ("int8", change_activation, "activation functions other than a ReLU"),
        ("int8", change_tflite_chain, "a network that is not a chain"),
        ("int8", change_zero_point, "weights with a zero point"),
        ("float32", keep_as_it_is, "a file that does not take int8"),
    ],
)
def test_another_tflite_file_is_refused_with_what_differs(
    files, tmp_path, source, change, sentence
):
    path = files["TFLite"]
    model = integers.open_tflite(path if source == "int8" else path.with_name("lenet.tflite"))
    change(model)
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
