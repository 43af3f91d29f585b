"""`workbook evaluate`: models that come in: integers, free sizes, other axes, limits, pickles."""

import io
import json
import pickle
import sys
import zipfile

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from helpers.runtimes import open_model
from helpers.workers import Worker
from modelfiles.errors import ModelFileError
from modelfiles.limits import Limits
from workbook import cli
from workbook.evaluate import candidates, opening
from workbook.evaluate.candidates import Candidate
from workbook.evaluate.source import Source, possible_runtimes

GENERATOR = np.random.default_rng(0)


def save(path, nodes, entry, answer, weights=(), opset=17):
    """Write an ONNX file; entry and answer are (name, type, shape)."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(*entry)],
        [helper.make_tensor_value_info(*answer)],
        list(weights),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, path)
    return path


# ---- inputs of integers

SCALE = 2.7 / 131  # so 2.7 is 131, and a cast to int8 would make it -125


def dequantizing(path, kind, scale, zero_point):
    return save(
        path,
        [helper.make_node("DequantizeLinear", ["x", "scale", "zero"], ["y"])],
        ("x", kind, [1, 4]),
        ("y", TensorProto.FLOAT, [1, 4]),
        [scale, zero_point],
    )


def numbers(name, values, kind, raw):
    array = np.array(values, kind)
    if raw:
        return numpy_helper.from_array(array, name)
    return helper.make_tensor(name, helper.np_dtype_to_tensor_dtype(array.dtype), [], [values])


@pytest.mark.parametrize("raw", [True, False], ids=["bytes", "numbers"])
@pytest.mark.parametrize(
    "kind, zero, lowest, highest", [("int8", -3, -125, 130), ("uint8", 9, -9, 246)]
)
def test_int8_inputs_are_rounded_and_clipped(tmp_path, raw, kind, zero, lowest, highest):
    tensor = TensorProto.INT8 if kind == "int8" else TensorProto.UINT8
    scale = numbers("scale", SCALE, np.float32, raw)
    path = dequantizing(tmp_path / "net.onnx", tensor, scale, numbers("zero", zero, kind, raw))
    x = np.array([[2.7, -90.0, 0.6 * SCALE, 1.4 * SCALE]], np.float32)
    steps = [min(131, highest), lowest, 1, 1]
    model = open_model(path)
    assert model.input_types == ("float32", kind)
    assert model.predict(x) == pytest.approx(np.array([steps]) * SCALE, rel=1e-5)
    with Worker(path) as worker:
        assert not worker.rounds
        assert worker.predict(x) == pytest.approx(np.array([steps]) * SCALE, rel=1e-5)


def test_the_case_that_wrapped_around(tmp_path):
    """2.7 is 131 steps: more than int8 has. A cast makes it -125, so 2.7 became -2.58."""
    scale = numbers("scale", SCALE, np.float32, True)
    path = dequantizing(
        tmp_path / "net.onnx", TensorProto.INT8, scale, numbers("zero", 0, "int8", True)
    )
    x = np.full((1, 4), 2.7, np.float32)
    wrapped = np.rint(x / SCALE).astype(np.int64).astype(np.int8)
    assert wrapped[0, 0] == -125
    assert open_model(path).predict(x)[0, 0] == pytest.approx(127 * SCALE)


def test_integer_operators(tmp_path):
    """A layer as ONNX Runtime's QOperator files have it: int8 in, int8 weights."""
    weights = [
        numpy_helper.from_array(np.float32(0.5), "xs"),
        numpy_helper.from_array(np.int8(1), "xz"),
        numpy_helper.from_array(np.array([[2, 1], [0, 3]], np.int8), "w"),
        numpy_helper.from_array(np.float32(1), "ws"),
        numpy_helper.from_array(np.int8(0), "wz"),
        numpy_helper.from_array(np.float32(0.5), "ys"),
        numpy_helper.from_array(np.int8(0), "yz"),
    ]
    names = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"]
    nodes = [
        helper.make_node("QLinearMatMul", names, ["q"]),
        helper.make_node("DequantizeLinear", ["q", "ys", "yz"], ["y"]),
    ]
    entry = ("x", TensorProto.INT8, [1, 2])
    path = save(tmp_path / "q.onnx", nodes, entry, ("y", TensorProto.FLOAT, [1, 2]), weights)
    model = open_model(path)
    assert model.precision == "int8"
    x = np.array([[1.6, -0.9]], np.float32)  # 3.2 and -1.8 steps: 3 and -2, or 1.5 and -1.0
    assert model.predict(x).tolist() == [[3.0, 1.5 - 3.0]]


def test_pictures_of_bytes_without_a_scale_are_rounded_and_clipped(tmp_path):
    path = save(
        tmp_path / "net.onnx",
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)],
        ("x", TensorProto.UINT8, ["n", 5]),
        ("y", TensorProto.FLOAT, ["n", 5]),
    )
    with Worker(path) as worker:
        assert worker.rounds and worker.input_shape == (1, 5)
        x = np.array([[2.7, -3.0, 300.0, 2.5, 7.0]], np.float32)
        assert worker.predict(x).tolist() == [[3, 0, 255, 2, 7]]


# ---- free sizes


def test_a_free_batch_is_one_example_a_call(tmp_path):
    path = save(
        tmp_path / "net.onnx",
        [helper.make_node("Relu", ["x"], ["y"])],
        ("x", TensorProto.FLOAT, ["n", 3, 4, 4]),
        ("y", TensorProto.FLOAT, ["n", 3, 4, 4]),
    )
    x = GENERATOR.standard_normal((5, 3, 4, 4), np.float32)
    with Worker(path) as worker:
        assert worker.input_shape == (1, 3, 4, 4)
        assert (worker.predict(x) == np.maximum(x, 0)).all()
        assert len(worker.time_calls(3, 1)[0]) == 3


@pytest.mark.parametrize(
    "free, example, wanted",
    [
        (["n", 3, "h", "w"], (5, 3, 8, 6), (1, 3, 8, 6)),
        (["n", "h", "w", 3], (5, 3, 8, 6), (1, 8, 6, 3)),
        ([1, "c", 4, 4], (5, 3, 4, 4), (1, 3, 4, 4)),
        ([2, 3, "h", "w"], (5, 1, 8, 6), None),
        (["n", "features"], (5, 3, 8, 6), None),
    ],
)
def test_free_sizes_are_those_of_the_data(tmp_path, free, example, wanted):
    path = save(
        tmp_path / "net.onnx",
        [helper.make_node("Relu", ["x"], ["y"])],
        ("x", TensorProto.FLOAT, free),
        ("y", TensorProto.FLOAT, free),
    )
    if wanted is None:
        with pytest.raises(ValueError, match="cannot be timed: export it with fixed sizes"):
            Worker(path, example=example)
    else:
        with Worker(path, example=example) as worker:
            assert worker.input_shape == wanted


# ---- limits


def looping(path):
    """A network that computes for years."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["on"], ["still"]),
            helper.make_node("Sin", ["state"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, 2]),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [1, 2]),
        ],
    )
    weights = [
        numpy_helper.from_array(np.int64(2**60), "times"),
        numpy_helper.from_array(np.bool_(True), "yes"),
    ]
    node = helper.make_node("Loop", ["times", "yes", "x"], ["y"], body=body)
    floats = (TensorProto.FLOAT, [1, 2])
    return save(path, [node], ("x", *floats), ("y", *floats), weights)


def greedy(path):
    """A network that needs 40 GB."""
    weights = [
        numpy_helper.from_array(np.float32(0), "nothing"),
        numpy_helper.from_array(np.array([10**10], np.int64), "many"),
        numpy_helper.from_array(np.array([1, 1], np.int64), "shape"),
    ]
    nodes = [
        helper.make_node("Mul", ["x", "nothing"], ["zero"]),
        helper.make_node("ReduceMax", ["zero"], ["one"], keepdims=0),
        helper.make_node("Cast", ["one"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Add", ["many", "whole"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["large"]),
        helper.make_node("ReduceMean", ["large"], ["mean"], keepdims=0),
        helper.make_node("Reshape", ["mean", "shape"], ["y"]),
    ]
    answer = ("y", TensorProto.FLOAT, [1, 1])
    return save(path, nodes, ("x", TensorProto.FLOAT, [1, 2]), answer, weights)


def test_a_file_that_hangs_ends_after_its_time(tmp_path):
    path = looping(tmp_path / "net.onnx")
    with Worker(path, limits=Limits(seconds=4)) as worker, pytest.raises(RuntimeError) as raised:
        worker.predict(np.zeros((1, 2), np.float32))
    assert str(raised.value) == "the process of net.onnx ended (no answer within 4 s)"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits another process")
def test_a_file_that_needs_too_much_memory(tmp_path):
    path = greedy(tmp_path / "net.onnx")
    limits = opening.limits(gigabytes=2)
    with Worker(path, limits=limits) as worker, pytest.raises(RuntimeError) as raised:
        worker.predict(np.zeros((1, 2), np.float32))
    assert "net.onnx ended (it needs more than 2 GB of memory)" in str(raised.value)


def test_a_file_that_hangs_is_a_row_and_the_others_are_measured(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path / "build"))
    floats = (TensorProto.FLOAT, [1, 2])
    good = [helper.make_node("Relu", ["x"], ["y"])]
    save(tmp_path / "good.onnx", good, ("x", *floats), ("y", *floats))
    looping(tmp_path / "net.onnx")
    np.savez(tmp_path / "data.npz", x_data=np.ones((3, 2)), y_data=np.ones((3, 2)))
    status = cli.main(
        ["evaluate", str(tmp_path / "net.onnx"), str(tmp_path / "data.npz"), "--runtimes", "onnx",
         "--also", str(tmp_path / "good.onnx"), "--task", "regression", "--rounds", "6",
         "--limit-seconds", "4", "--json"]
    )  # fmt: skip
    rows = json.loads(capsys.readouterr().out)
    assert status == 0 and [row["state"] for row in rows] == ["fails", "works"]
    assert "no answer within 4 s" in rows[0]["why"] and rows[1]["quality"] == 0
    [records] = (tmp_path / "build" / "results").glob("*.jsonl")
    assert len(records.read_text().splitlines()) == 1


# ---- pickles


class Evil:
    """Runs code when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_pickles_in_pt2_files_are_not_loaded(tmp_path):
    program = torch.export.export(torch.nn.Linear(2, 2).eval(), (torch.zeros(1, 2),))
    torch.export.save(program, tmp_path / "good.pt2")
    assert open_model(tmp_path / "good.pt2").input_shape == (1, 2)
    trap = tmp_path / "trap"
    content = io.BytesIO()
    torch.save(Evil(str(trap)), content)
    for name in ("sample_inputs", "opaque"):
        path = tmp_path / f"{name}.pt2"
        with zipfile.ZipFile(tmp_path / "good.pt2") as good, zipfile.ZipFile(path, "w") as bad:
            for entry in good.namelist():
                data = good.read(entry)
                if name == "sample_inputs" and "sample_inputs" in entry and entry.endswith(".pt"):
                    data = content.getvalue()
                bad.writestr(entry, data)
            if name == "opaque":
                root = good.namelist()[0].split("/")[0]
                place = f"{root}/data/constants/opaque_obj_0"
                bad.writestr(place, pickle.dumps(Evil(str(trap))))
        with pytest.raises(ModelFileError, match="holds pickled Python objects"):
            open_model(path)
        assert not trap.exists()


# ---- inputs of other numbers of axes


class Predictor(torch.nn.Sequential):
    """Six features to three numbers."""

    def __init__(self):
        super().__init__(torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))


def prepared(network, runtimes, x, folder, calibration=None):
    source = Source("net", network=network)
    made = candidates.prepare(source, runtimes, x[:1], folder, calibration, lambda line: None)
    return {(one.runtime, one.is_int8): one for one in made}


@pytest.mark.parametrize(
    "runtimes",
    [
        ["torch", "onnx", "ncnn", "mnn"],
        pytest.param(["tflite", "executorch"], marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_features_go_through_every_runtime(tmp_path, runtimes):
    torch.manual_seed(0)
    network = Predictor().eval()
    x = GENERATOR.standard_normal((8, 6), np.float32)
    with torch.inference_mode():
        wanted = network(torch.from_numpy(x)).numpy()
    made = prepared(network, runtimes, x, tmp_path)
    assert {name: one.problem for (name, _), one in made.items()} == dict.fromkeys(runtimes, "")
    for one in made.values():
        model = open_model(one.path)
        assert model.input_shape == (1, 6), one.runtime
        assert model.predict(x) == pytest.approx(wanted, abs=1e-3), one.runtime


@pytest.mark.slow
def test_features_in_int8(tmp_path):
    torch.manual_seed(0)
    network = Predictor().eval()
    x = GENERATOR.standard_normal((64, 6), np.float32)
    with torch.inference_mode():
        wanted = network(torch.from_numpy(x)).numpy()
    runtimes = ["onnx", "tflite", "mnn", "executorch"]
    made = prepared(network, runtimes, x, tmp_path, x)
    for name in runtimes:
        one = made[name, True]
        assert not one.problem, one
        found = open_model(one.path).predict(x)
        assert np.abs(found - wanted).max() < 0.1 * np.abs(wanted).max(), name


@pytest.mark.slow
def test_series_go_through(tmp_path):
    torch.manual_seed(0)
    layers = [torch.nn.Conv1d(2, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(56, 2)]
    network = torch.nn.Sequential(*layers).eval()
    x = GENERATOR.standard_normal((4, 2, 16), np.float32)
    with torch.inference_mode():
        wanted = network(torch.from_numpy(x)).numpy()
    made = prepared(network, ["torch", "onnx", "tflite", "ncnn", "executorch"], x, tmp_path)
    for one in made.values():
        assert not one.problem, one
        assert open_model(one.path).predict(x) == pytest.approx(wanted, abs=1e-3), one.runtime


# ---- Arm NN


def test_arm_nn_takes_the_file_of_litert(tmp_path):
    (tmp_path / "net.tflite").write_bytes(b"")
    source = Source("net", tmp_path / "net.tflite")
    x = np.zeros((1, 2), np.float32)
    [made] = candidates.prepare(source, ["armnn"], x, tmp_path, say=lambda line: None)
    assert made == Candidate("armnn", False, tmp_path / "net.tflite")
    assert "armnn" not in possible_runtimes(Source("net", network=Predictor()))


def test_arm_nn_that_is_missing_is_a_row(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path / "build"))
    monkeypatch.setenv("ARMNN_DELEGATE", "")  # the command sets it; the old value returns
    (tmp_path / "net.py").write_text(
        "import torch\nclass Net(torch.nn.Linear):\n    def __init__(self):\n"
        "        super().__init__(6, 3)\n"
    )
    np.savez(tmp_path / "data.npz", x_data=np.ones((3, 6)), y_data=np.ones((3, 3)))
    status = cli.main(
        ["evaluate", f"{tmp_path}/net.py:Net", str(tmp_path / "data.npz"), "--task", "regression",
         "--runtimes", "armnn", "--armnn-path", str(tmp_path / "libarmnnDelegate.so")]
    )  # fmt: skip
    shown = capsys.readouterr()
    assert status == 1 and "libarmnnDelegate.so, which does not exist" in shown.out
