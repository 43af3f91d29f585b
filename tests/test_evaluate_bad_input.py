"""`workbook evaluate` with bad input: one sentence, a status that is not 0, no traceback."""

import json
import pickle
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from workbook import cli

X = np.ones((4, 1, 6, 6), np.float32)
Y = np.array([0, 1, 2, 0])
WEIGHTS = np.linspace(-1, 1, 36 * 3, dtype=np.float32).reshape(36, 3)


def write_onnx(path, *, inputs=("x",), shape=(1, 1, 6, 6), operator="MatMul", opset=17, domain=""):
    """A linear classifier of three classes, or one that is wrong in some way."""
    nodes = [
        helper.make_node("Flatten", [inputs[0]], ["flat"]),
        helper.make_node(operator, ["flat", "w"], ["y"], domain=domain),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 3])],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    opsets = [helper.make_opsetid("", opset)]
    if domain:
        opsets.append(helper.make_opsetid(domain, 1))
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


PYTHON = """
import torch

class Net(torch.nn.Linear):
    def __init__(self):
        super().__init__(36, 3)

    def forward(self, x):
        return super().forward(x.flatten(1))

class Two(torch.nn.Module):
    def forward(self, x, y):
        return x + y

class Sparse(torch.nn.Module):
    def forward(self, x):
        return torch.linalg.eigvals(x.flatten(1)[:, :16].reshape(-1, 4, 4)).real

text = 3
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with good and bad models and data."""
    import torch

    root = tmp_path_factory.mktemp("bad")
    np.savez(root / "data.npz", x_data=X, y_data=Y)
    write_onnx(root / "good.onnx")
    (root / "net.py").write_text(PYTHON)
    _data_files(root)
    write_onnx(root / "two.onnx", inputs=("x", "z"))
    write_onnx(root / "free.onnx", shape=(1, 1, "h", "w"))
    write_onnx(root / "unknown.onnx", operator="Sharpen")
    write_onnx(root / "foreign.onnx", operator="Sharpen", domain="com.example")
    write_onnx(root / "new.onnx", opset=99)
    good = (root / "good.onnx").read_bytes()
    (root / "cut.onnx").write_bytes(good[: len(good) // 2])
    for suffix in ("onnx", "tflite", "mnn", "pte", "torchscript", "pt2", "keras"):
        (root / f"torn.{suffix}").write_bytes(b"no model at all" * 20)
    (root / "torn.ncnn.param").write_text("no layers\n")
    (root / "torn.ncnn.bin").write_bytes(b"")
    (root / "alone.ncnn.param").write_text("7767517\n1 1\nInput in0 0 1 in0 0=6 1=6 2=1\n")
    (root / "folder").mkdir()
    for name in ("net.h5", "net.pkl", "net.pth", "net.pb", "net.tar"):
        (root / name).write_bytes(b"")
    (root / "net.ncnn.bin").write_bytes(b"")
    torch.save(torch.nn.Linear(36, 4).state_dict(), root / "other.pt")
    torch.save(torch.nn.Linear(36, 3), root / "pickled.pt")
    (root / "torn.pt").write_bytes(b"no weights")
    return root


def _data_files(root):
    def save(name, **arrays):
        np.savez(root / name, **arrays)

    save("pickled.npz", x_data=X, y_data=np.array([None] * 4))
    (root / "raw.npz").write_bytes(pickle.dumps({"x_data": X}))
    np.save(root / "one.npy", X)
    (root / "one.npy").rename(root / "one.npz")
    (root / "torn.npz").write_bytes(b"PK\x03\x04")
    (root / "x.csv").write_text("1,2")
    save("no_y.npz", x_data=X)
    save("nan.npz", x_data=X * np.nan, y_data=Y)
    save("large.npz", x_data=X.astype(np.float64) * 1e300, y_data=Y)
    save("text.npz", x_data=X, y_data=np.array(list("abcd")))
    save("short.npz", x_data=X, y_data=Y[:2])
    save("empty.npz", x_data=X[:0], y_data=Y[:0])
    save("flat.npz", x_data=X[:, 0, 0, 0], y_data=Y)
    save("wrong.npz", x_data=np.ones((4, 3, 6, 6)), y_data=Y)
    save("axes.npz", x_data=np.ones((4, 36)), y_data=Y)
    save("high.npz", x_data=X, y_data=np.array([0, 1, 2, 3]))
    save("negative.npz", x_data=X, y_data=-Y)
    save("half.npz", x_data=X, y_data=Y + 0.5)
    (root / "no_images" / "cat").mkdir(parents=True)
    for name, content in (("good.png", None), ("bad.png", b"\x89PNG\r\n\x1a\n cut off")):
        (root / "images" / "cat").mkdir(parents=True, exist_ok=True)
        file = root / "images" / "cat" / name
        if content:
            file.write_bytes(content)
        else:
            Image.new("RGB", (6, 6)).save(file)
    (root / "coco").mkdir()
    Image.new("RGB", (6, 6)).save(root / "coco" / "a.png")
    entry = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 3, 3]}
    content = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [entry],
    }
    (root / "coco" / "labels.json").write_text(json.dumps(content))


@dataclass(frozen=True)
class Case:
    """MODEL, DATA, further options, and words of the sentence.

    `is_row` is whether it appears in the table, because other files could still be measured.
    """

    model: str
    data: str
    words: str
    options: tuple[str, ...] = ()
    is_row: bool = False
    status: int = 1


def row(model, words, data="data.npz", options=()):
    if model.endswith(".onnx") and "--runtimes" not in options:
        options = (*options, "--runtimes", "onnx")
    return Case(model, data, words, options, is_row=True)


CASES = [
    # DATA
    Case("good.onnx", "none.npz", "none.npz does not exist"),
    Case("good.onnx", "x.csv", "x.csv is neither an .npz file nor a folder of images"),
    Case("good.onnx", "torn.npz", "torn.npz is damaged or no .npz file"),
    Case("good.onnx", "pickled.npz", "pickled.npz holds Python objects, which are not loaded"),
    Case("good.onnx", "raw.npz", "raw.npz holds Python objects, which are not loaded"),
    Case("good.onnx", "one.npz", "one.npz holds one array: numpy.savez writes both by name"),
    Case("good.onnx", "no_y.npz", "no_y.npz has no y_data; it has x_data"),
    Case("good.onnx", "nan.npz", "x_data of nan.npz contains NaN or infinity"),
    Case("good.onnx", "large.npz", "x_data of large.npz has numbers that float32 cannot hold"),
    Case("good.onnx", "text.npz", "y_data of text.npz holds <U1, not numbers"),
    Case("good.onnx", "short.npz", "short.npz has 4 inputs and 2 answers"),
    Case("good.onnx", "empty.npz", "empty.npz has 0 inputs and 0 answers"),
    Case("good.onnx", "flat.npz", "x_data of flat.npz has the shape (4,)"),
    Case("good.onnx", "axes.npz", "--layout nhwc is for images", ("--layout", "nhwc")),
    Case("good.onnx", "folder", "folder has no subfolders"),
    Case("good.onnx", "no_images", "no_images/cat: the folder cat contains no pictures"),
    Case("good.onnx", "images", "images/cat: bad.png"),
    Case("good.onnx", "coco", "add --task detection"),
    Case("good.onnx", "images", "needs labels in COCO's format", ("--task", "detection")),
    Case("good.onnx", "coco", "is no detector that is known", ("--task", "detection")),
    Case("good.onnx", "data.npz", "none.npz does not exist", ("--calibration", "none.npz")),
    # DATA that does not fit MODEL
    row(
        "good.onnx", "takes images as float32 N x 1 x 6 x 6, not float32 (4, 3, 6, 6)", "wrong.npz"
    ),
    row("good.onnx", "takes images as float32 N x 1 x 6 x 6, not float32 (4, 36)", "axes.npz"),
    row("good.onnx", "y_data has the class 3; the model knows classes 0 to 2", "high.npz"),
    row("good.onnx", "y_data must be class numbers from 0", "negative.npz"),
    row("good.onnx", "y_data must be class numbers from 0", "half.npz"),
    row(
        "good.onnx",
        "returns 3 numbers for an example, y_data has 1",
        options=("--task", "regression"),
    ),
    # MODEL
    Case("none.onnx", "data.npz", "none.onnx does not exist"),
    Case("folder", "data.npz", "folder is a folder without saved_model.pb"),
    Case("net.tar", "data.npz", "net.tar is no model that is known here"),
    Case("net.h5", "data.npz", "net.h5 cannot be used as it is: it has the old format of Keras"),
    Case("net.pkl", "data.npz", "it is a pickle, which can run code; export it to ONNX"),
    Case("net.pth", "data.npz", "it holds weights; give the class"),
    Case("net.pb", "data.npz", "give the folder of the SavedModel"),
    Case("net.ncnn.bin", "data.npz", "give the file of layers, .ncnn.param"),
    Case("net.py", "data.npz", "give the class in it, too: FILE.py:CLASS"),
    Case("none.py:Net", "data.npz", "none.py does not exist"),
    Case("net.py:Other", "data.npz", "has no class Other"),
    Case("net.py:text", "data.npz", "cannot be created: TypeError"),
    Case("torn.pt2", "data.npz", "torn.pt2 cannot be loaded as a .pt2 model"),
    Case("good.onnx", "data.npz", "none.onnx does not exist", ("--also", "none.onnx")),
    # weights
    Case("net.py:Net", "data.npz", "other.pt does not fit the class", ("--weights", "other.pt")),
    Case(
        "net.py:Net", "data.npz", "pickled.pt holds no plain weights", ("--weights", "pickled.pt")
    ),
    Case("net.py:Net", "data.npz", "torn.pt holds no plain weights", ("--weights", "torn.pt")),
    Case("good.onnx", "data.npz", "--weights belongs to a PyTorch", ("--weights", "other.pt")),
    # files that runtimes cannot use
    row("two.onnx", "has 2 inputs (x, z); only networks with a single input are supported"),
    row("free.onnx", "does not contain its input shape, so it cannot be timed", "axes.npz"),
    row("unknown.onnx", "unknown.onnx cannot be loaded as a .onnx model"),
    row("foreign.onnx", "foreign.onnx cannot be loaded as a .onnx model"),
    row("new.onnx", "new.onnx cannot be loaded as a .onnx model"),
    row("cut.onnx", "cut.onnx cannot be loaded as a .onnx model: is it damaged"),
    row("torn.onnx", "torn.onnx cannot be loaded as a .onnx model: is it damaged"),
    row("torn.tflite", "torn.tflite cannot be loaded as a .tflite model: is it damaged"),
    row("torn.mnn", "torn.mnn"),
    row("torn.pte", "torn.pte"),
    row("torn.torchscript", "torn.torchscript cannot be loaded as a .torchscript model"),
    row("torn.ncnn.param", "torn.ncnn.param cannot be loaded as a .ncnn.param model"),
    row("alone.ncnn.param", "alone.ncnn.bin, the weights, is missing next to it"),
    # conversions
    Case(
        "net.py:Two", "data.npz", "missing 1 required positional argument", ("--runtimes", "onnx")
    ),
    row("good.onnx", "only a PyTorch network can be converted", options=("--runtimes", "ncnn")),
    row("torn.onnx", "torn.onnx cannot be loaded", options=("--runtimes", "mnn")),
    # options
    Case(
        "good.onnx",
        "data.npz",
        "--limit-seconds must be above 0",
        ("--limit-seconds", "0"),
        status=2,
    ),
    Case("good.onnx", "data.npz", "--limit-gb must be above 0", ("--limit-gb", "-1"), status=2),
]


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: " ".join([case.model, case.data, *case.options])
)
def test_bad_input_is_one_sentence(case, place, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path))
    arguments = ["evaluate", case.model, case.data, "--rounds", "6", *case.options]
    assert cli.main(arguments) == case.status
    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err
    if case.is_row:
        [line] = shown.out.splitlines()
    else:
        assert not shown.out
        line = shown.err.splitlines()[-1]
        progress = [line for line in shown.err.splitlines() if line.endswith("...")]
        assert len(shown.err.splitlines()) == len(progress) + 1, "one sentence"
    assert case.words in line


def test_there_are_many_cases():
    assert len(CASES) >= 25 and len({case.words for case in CASES}) >= 25


def test_what_was_measured_is_kept(place, tmp_path, capsys, monkeypatch):
    """A row of each kind: the good files are measured and stored although others fail."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path))
    bad = ["torn.tflite", "two.onnx", "new.onnx", "torn.mnn"]
    arguments = ["good.onnx", "data.npz", "--runtimes", "onnx", "ncnn", "--also", *bad, "--json"]
    assert cli.main(["evaluate", *arguments, "--rounds", "6"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["state"] for row in rows] == ["works", *["fails"] * 5]
    assert all(row["why"] and "\n" not in row["why"] for row in rows[1:])
    [records] = (tmp_path / "results").glob("*.jsonl")
    assert len(records.read_text().splitlines()) == 1
