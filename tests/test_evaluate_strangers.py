"""`workbook evaluate` with networks that others made: no code here knows them."""

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from helpers.runtimes import open_model
from workbook import cli
from workbook.evaluate import named, published


def shared(*parts):
    return Path(os.environ.get("WORKBOOK_DATA", "")).joinpath(*parts)


@pytest.fixture
def evaluate(tmp_path, capsys, monkeypatch):
    """Runs `workbook evaluate ... --json` and returns its rows."""
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path / "build"))

    def run(*arguments):
        status = cli.main(["evaluate", *map(str, arguments), "--rounds", "6", "--json"])
        shown = capsys.readouterr()
        assert status == 0, shown.err
        return json.loads(shown.out)

    return run


def photographs(size, count=22):
    """COCO's validation photographs in a size, uint8 N x size x size x 3."""
    files = sorted(shared("coco", "val2017").glob("*.jpg"))[:count]
    resized = [Image.open(file).convert("RGB").resize((size, size)) for file in files]
    return np.stack([np.asarray(picture) for picture in resized]), files


def linear_onnx(path, layers, ends="y"):
    """Dense layers with ReLU between them, as converters for scikit-learn write them: free N."""
    nodes = []
    weights = []
    value = "x"
    for number, (matrix, bias) in enumerate(layers):
        weights += [
            numpy_helper.from_array(np.asarray(matrix, np.float32), f"w{number}"),
            numpy_helper.from_array(np.asarray(bias, np.float32), f"b{number}"),
        ]
        is_last = number == len(layers) - 1
        sums = ends if is_last else f"s{number}"
        nodes.append(helper.make_node("Gemm", [value, f"w{number}", f"b{number}"], [sums]))
        if not is_last:
            value = f"a{number}"
            nodes.append(helper.make_node("Relu", [sums], [value]))
    features = layers[0][0].shape[0]
    answers = layers[-1][0].shape[1]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, features])],
        [helper.make_tensor_value_info(ends, TensorProto.FLOAT, [None, answers])],
        weights,
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


@pytest.mark.parametrize("targets", [1, 2])
def test_a_regression_of_scikit_learn(evaluate, tmp_path, targets):
    from sklearn.datasets import make_regression
    from sklearn.metrics import mean_absolute_percentage_error, mean_squared_error
    from sklearn.neural_network import MLPRegressor

    x, y = make_regression(120, 6, n_targets=targets, noise=2, random_state=0)
    model = MLPRegressor(hidden_layer_sizes=(16,), max_iter=150, random_state=0, tol=1).fit(x, y)
    linear_onnx(tmp_path / "net.onnx", list(zip(model.coefs_, model.intercepts_)))
    np.savez(tmp_path / "data.npz", x_data=x, y_data=y)
    rows = evaluate(
        tmp_path / "net.onnx", tmp_path / "data.npz", "--task", "regression",
        "--calibration", tmp_path / "data.npz",
    )  # fmt: skip
    kinds = [(row["runtime"], row["precision"], row["state"]) for row in rows]
    assert kinds[:2] == [("ONNX Runtime", "float32", "works"), ("MNN", "float32", "works")]
    predicted = model.predict(x.astype(np.float32))
    wanted = mean_squared_error(y, predicted)
    for row in rows[:2]:
        assert row["metric"] == "MSE" and row["quality"] == pytest.approx(wanted, rel=1e-4)
        wanted_mape = mean_absolute_percentage_error(y, predicted)
        assert row["others"]["MAPE"] == pytest.approx(wanted_mape, rel=1e-3)
    for row in rows[2:]:
        assert row["state"] == "works", row["why"]


@pytest.mark.data
def test_the_vww_pair(evaluate, tmp_path):
    """One network of TensorFlow in float32 and in int8, whose input and output are int8."""
    pictures, files = photographs(96)
    known = json.loads(shared("coco", "annotations", "instances_val.json").read_text())
    person = next(entry["id"] for entry in known["categories"] if entry["name"] == "person")
    with_person = {e["image_id"] for e in known["annotations"] if e["category_id"] == person}
    y = np.array([int(int(file.stem) in with_person) for file in files])
    np.savez(tmp_path / "vww.npz", x_data=pictures / np.float32(255), y_data=y)
    rows = evaluate(
        shared("models", "vww_96_float.tflite"), tmp_path / "vww.npz", "--layout", "nhwc",
        "--also", shared("models", "vww_96_int8.tflite"), "--softmax",
    )  # fmt: skip
    assert [row["precision"] for row in rows] == ["float32", "int8"]
    assert all(row["state"] == "works" and row["accuracy"] >= 0.6 for row in rows), rows
    assert abs(rows[0]["accuracy"] - rows[1]["accuracy"]) <= 0.15
    assert rows[1]["difference"] < 0.4  # of probabilities


@pytest.mark.data
def test_mobilenet_v1_takes_bytes(evaluate, tmp_path):
    path = shared("models", "mobilenet_v1_0.25_128_quant.tflite")
    pictures, _ = photographs(128, 8)
    model = open_model(path)
    own = model.predict(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))
    signed = (pictures / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    np.savez(tmp_path / "data.npz", x_data=signed, y_data=own.argmax(1))
    [row] = evaluate(path, tmp_path / "data.npz", "--layout", "nhwc")
    assert row["precision"] == "int8" and row["accuracy"] == 1


@pytest.mark.data
def test_fastestdet_in_three_runtimes(evaluate):
    rows = evaluate(
        shared("models", "fastestdet.onnx"), shared("coco"), "--task", "detection",
        "--also", shared("models", "fastestdet.ncnn.param"),
    )  # fmt: skip
    assert [row["runtime"] for row in rows] == ["ONNX Runtime", "MNN", "ncnn"]
    for row in rows:
        assert row["metric"] == "AP" and row["quality_low"] < row["quality"] < row["quality_high"]
        # of 22 photographs: measured .171 and .307 with the IoU of the suppression
        assert row["quality"] == pytest.approx(0.171, abs=0.012)
        assert row["others"]["AP50"] == pytest.approx(0.307, abs=0.02)


@pytest.mark.data
def test_yolox(evaluate):
    [row] = evaluate(
        shared("models", "yolox_nano.onnx"), shared("coco"), "--task", "detection",
        "--runtimes", "onnx",
    )  # fmt: skip
    assert row["metric"] == "AP" and 0.2 < row["quality"] < 0.45


@pytest.mark.data
def test_deeplab(evaluate, tmp_path):
    """A segmentation: class numbers of pixels."""
    path = shared("models", "deeplabv3_mnv2_dm05_pascal_quant.tflite")
    picture = Image.open(shared("images", "bird_segmentation.bmp")).convert("RGB")
    mask = Image.open(shared("images", "bird_segmentation_mask.bmp"))
    x = np.asarray(picture.resize((513, 513)))[None]
    y = np.asarray(mask.resize((513, 513), Image.Resampling.NEAREST))[None]
    signed = (x / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    np.savez(tmp_path / "data.npz", x_data=signed, y_data=y)
    [row] = evaluate(path, tmp_path / "data.npz", "--layout", "nhwc")
    assert row["metric"] == "pixel accuracy" and row["quality"] > 0.9, row


EFFICIENTNET = """
import torch
from helpers.models import import_torchvision

torchvision = import_torchvision()

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network = torchvision.models.efficientnet_b0(weights=None)

    def forward(self, x):
        return self.network(x)
"""


@pytest.mark.slow
def test_efficientnet_b0(evaluate, tmp_path):
    """Its weights are random: classes mean nothing, so the files are compared by their outputs."""
    (tmp_path / "net.py").write_text(EFFICIENTNET)
    x = np.random.default_rng(0).random((2, 3, 224, 224), np.float32)
    np.savez(tmp_path / "data.npz", x_data=x, y_data=np.array([0, 1]))
    rows = evaluate(f"{tmp_path}/net.py:Net", tmp_path / "data.npz")
    states = {row["runtime"]: row["state"] for row in rows}
    assert set(states.values()) == {"works"}, rows
    assert len(states) == 6 and max(row["difference"] for row in rows) < 1e-2


@pytest.mark.parametrize(
    "name, runtimes",
    [
        ("mobilenet_v3_small_075", ["onnx", "mnn"]),
        *(
            pytest.param(name, ["onnx", "tflite"], marks=pytest.mark.slow)
            for name in named.NAMES
            if name != "mobilenet_v3_small_075"
        ),
    ],
)
def test_each_known_network_in_two_runtimes_and_one_chart(
    evaluate, tmp_path, monkeypatch, name, runtimes
):
    """With random weights: files agree with the network, and no accuracy is shown."""
    monkeypatch.setenv("WORKBOOK_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("WORKBOOK_DATA", raising=False)
    page = tmp_path / "page.html"
    rows = evaluate(name, "--runtimes", *runtimes, "--published", "--html", page)
    assert [row["state"] for row in rows] == ["works", "works"], rows
    assert all(row["accuracy"] is None and row["p50_ms"] > 0 for row in rows)
    measured, _, others = page.read_text().partition("<h2>Published by others")
    assert measured.count('<rect class="here"') == 2
    assert others.count('<rect class="theirs"') == len(published.of_network(name))
    assert bool(others) == (name in ("resnet18", "mobilenet_v2"))
