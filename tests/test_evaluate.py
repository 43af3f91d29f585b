"""`workbook evaluate`: data, models, conversions, the race, the table, the budget."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from helpers.data import mnist, normalize
from helpers.paths import ROOT
from helpers.runtimes import open_model
from workbook.evaluate import candidates, examples, network, output, quality, rows
from workbook.evaluate.budget import Budget, advice
from workbook.evaluate.candidates import Candidate
from workbook.evaluate.rows import WORKS, Row
from workbook.evaluate.source import CandidateError, Source, source_of

# ---- DATA


@pytest.fixture
def npz(tmp_path):
    def save(**arrays):
        path = tmp_path / "data.npz"
        np.savez(path, **arrays)
        return path

    return save


X = np.zeros((2, 1, 4, 4))


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"x_data": X}, "data.npz has no y_data; it has x_data"),
        ({"a": X}, "has no x_data and no y_data; it has a"),
        ({"x_data": X, "y_data": np.array(["a", "b"])}, "y_data of data.npz holds <U1, not num"),
        ({"x_data": X, "y_data": np.array([None, 1])}, "holds Python objects"),
        ({"x_data": X, "y_data": np.array([0, np.nan])}, "y_data of data.npz contains NaN"),
        ({"x_data": X + np.inf, "y_data": [0, 1]}, "x_data of data.npz contains NaN or infinity"),
        ({"x_data": X, "y_data": [0]}, "2 inputs and 1 answers"),
        ({"x_data": X[:0], "y_data": []}, "0 inputs and 0 answers"),
        ({"x_data": [1.0, 2.0], "y_data": [0, 1]}, r"x_data of data.npz has the shape \(2,\)"),
    ],
)
def test_arrays_that_cannot_be_used(npz, arrays, message):
    with pytest.raises(examples.DataError, match=message):
        examples.read(npz(**arrays))


def test_files_that_are_no_data(tmp_path):
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "x.csv").write_text("1,2")
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("none.npz", "does not exist"),
        ("torn.npz", "torn.npz is damaged or no .npz file"),
        ("x.csv", "x.csv is neither an .npz file nor a folder"),
        ("empty", "empty has no subfolders"),
    ):
        with pytest.raises(examples.DataError, match=message):
            examples.read(tmp_path / name)


def test_layout_and_types(npz):
    x = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    path = npz(x_data=x, y_data=np.array([[1], [0]]))
    found = examples.read(path, "nhwc")
    assert found.x.shape == (2, 3, 4, 5) and found.x.dtype == np.float32
    assert found.x.flags.c_contiguous and found.x[1, 2, 3, 4] == x[1, 3, 4, 2]
    assert found.y.tolist() == [1, 0]
    assert (examples.read(path).x == x).all()


def test_a_folder_of_images_by_class(tmp_path):
    from PIL import Image

    for name, red in (("cat", 255), ("dog", 0)):
        (tmp_path / name).mkdir()
        Image.new("RGB", (6, 4), (red, 51, 0)).save(tmp_path / name / "one.png")
    found = examples.read(tmp_path)
    assert found.x.shape == (2, 3, 4, 6) and found.y.tolist() == [0, 1]
    assert found.x[:, 0].max(axis=(1, 2)).tolist() == [1, 0] and found.x[0, 1, 0, 0] == 51 / 255
    Image.new("RGB", (7, 4)).save(tmp_path / "dog" / "other.png")
    with pytest.raises(examples.DataError, match=r"several sizes \(6 x 4, 7 x 4"):
        examples.read(tmp_path)


# ---- quality


def test_classification_equals_scikit_learn():
    generator = np.random.default_rng(0)
    for classes in (2, 3, 10):
        y = generator.integers(0, classes, 50)
        answers = generator.standard_normal((50, classes)).astype(np.float32)
        found = quality.of("classification", answers, y)
        wanted = reference.precision_recall_fscore_support(
            y, answers.argmax(1), average="macro", zero_division=0
        )
        assert found.value == pytest.approx(reference.accuracy_score(y, answers.argmax(1)), abs=0)
        assert list(found.others.values()) == pytest.approx(wanted[:3], abs=1e-12)
        assert found.low < found.value < found.high and found.n == 50


def test_class_numbers_are_answers_too():
    found = quality.of("classification", np.array([2, 0, 1]), np.array([2, 0, 0]))
    assert found.value == pytest.approx(2 / 3)


def test_regression_equals_scikit_learn():
    generator = np.random.default_rng(1)
    for shape in ((40,), (40, 3)):
        y = generator.standard_normal(shape)
        y.flat[0] = 0  # no division by zero
        answers = generator.standard_normal(shape).astype(np.float32)
        found = quality.of("regression", answers, y)
        assert found.value == pytest.approx(reference.mean_squared_error(y, answers), rel=1e-12)
        wanted = reference.mean_absolute_percentage_error(y, answers)
        assert found.others["MAPE"] == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    "task, answers, y, message",
    [
        ("classification", np.zeros((2, 1)), np.array([0, 1]), "one output"),
        ("classification", np.zeros((2, 3, 4)), np.array([0, 1]), "N x classes"),
        ("classification", np.zeros((2, 3)), np.array([0, 3]), "has the class 3; .* 0 to 2"),
        ("classification", np.zeros((2, 3)), np.array([0, -1]), "class numbers from 0"),
        ("classification", np.zeros((2, 3)), np.array([0, 0.5]), "class numbers from 0"),
        ("regression", np.zeros((2, 3)), np.array([0, 1]), "returns 3 numbers .* has 1"),
    ],
)
def test_answers_that_do_not_fit(task, answers, y, message):
    with pytest.raises(quality.AnswersError, match=message):
        quality.of(task, answers, y)


# ---- MODEL


CODE = """
import torch

class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(784, 10)

    def forward(self, x):
        return self.layer(x.flatten(1))

class Greedy(torch.nn.Module):
    def __init__(self, size):
        super().__init__()

text = str
"""


@pytest.fixture
def python_file(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(CODE)
    return path


def test_a_class_with_its_weights(python_file, tmp_path):
    made = network.from_class(f"{python_file}:Small", None)
    assert not made.training
    for content in (made.state_dict(), {"weights": made.state_dict()}):
        torch.save(content, tmp_path / "net.pt")
        loaded = network.from_class(f"{python_file}:Small", tmp_path / "net.pt")
        assert torch.equal(loaded.layer.weight, made.layer.weight)


def test_classes_and_weights_that_cannot_be_used(python_file, tmp_path):
    torch.save(torch.nn.Linear(4, 3), tmp_path / "pickled.pt")
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pt")
    (tmp_path / "broken.py").write_text("1 / 0")
    small = f"{python_file}:Small"
    for place, weights, message in (
        ("net.txt:Small", None, "FILE.py:CLASS"),
        (f"{tmp_path}/none.py:Small", None, "does not exist"),
        (f"{python_file}:Other", None, "has no class Other"),
        (f"{python_file}:Greedy", None, "missing 1 required positional argument: 'size'"),
        (f"{python_file}:text", None, "is no torch.nn.Module"),
        (f"{tmp_path}/broken.py:Small", None, "ZeroDivisionError"),
        (small, tmp_path / "none.pt", "does not exist"),
        (small, tmp_path / "pickled.pt", "holds no plain weights"),
        (small, tmp_path / "other.pt", "does not fit the class"),
    ):
        with pytest.raises(network.NetworkError, match=message):
            network.from_class(place, weights)


def test_files_that_are_no_models(tmp_path):
    (tmp_path / "torn.pt2").write_bytes(b"PK")
    for name, error, message in (
        ("net.tar", CandidateError, "net.tar is no model that is known here"),
        ("none.onnx", CandidateError, "does not exist"),
        ("torn.pt2", network.NetworkError, "torn.pt2 cannot be loaded"),
    ):
        with pytest.raises(error, match=message):
            source_of(str(tmp_path / name))
    (tmp_path / "net.onnx").write_bytes(b"")
    with pytest.raises(CandidateError, match="--weights belongs to a PyTorch class"):
        source_of(str(tmp_path / "net.onnx"), "net.pt")


def test_mnn_is_made_of_this_network_not_of_an_older_file(tmp_path):
    x = np.ones((1, 1, 4, 4), np.float32)
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3)).eval()
        source = Source("net", network=network)
        [made] = candidates.prepare(source, ["mnn"], x, tmp_path, say=lambda line: None)
        with torch.inference_mode():
            wanted = network(torch.from_numpy(x)).numpy()
        assert open_model(made.path).predict(x) == pytest.approx(wanted, abs=1e-3)


# ---- the table and the budget


def row(name: str, p50: float, size: int, accuracy: float | None, valid: bool = True) -> Row:
    return Row(
        name, "float32", WORKS, file=name, p50_ms=p50, bytes=size, accuracy=accuracy, valid=valid
    )


ROWS = [
    row("fast", 1, 9_000_000, 0.9),
    row("small", 4, 1_000_000, 0.97),
    row("big", 6, 10**7, 0.99),
]


@pytest.mark.parametrize(
    "budget, first, rest",
    [
        (Budget(max_ms=5), "Ship fast (fast)", "big: p50 6 ms > 5 ms"),
        (Budget(max_mb=2), "Ship small (small)", "fast: 9 MB > 2 MB"),
        (Budget(min_accuracy=0.95), "Ship small", "fast: accuracy 90.00% < 95.00%"),
        (Budget(min_accuracy=0.95), "Ship small", "big: within the budget, but slower"),
        (Budget(max_ms=0.5), "No file is within the budget. The nearest is fast", "small: p50"),
        (Budget(2, 2, 0.95), "No file is within the budget. The nearest is small", "big: p50"),
    ],
)
def test_the_budget_names_the_file_and_the_broken_limits(budget, first, rest):
    said = advice(ROWS, budget)
    assert said.startswith(first) and rest in said and bool(budget)


def test_the_budget_needs_valid_measurements_and_known_accuracies():
    assert "No file was measured validly" in advice([row("a", 1, 1, 1, valid=False)], Budget(1))
    said = advice([row("a", 1, 1, None)], Budget(min_accuracy=0.5))
    assert "its accuracy is unknown" in said
    assert not Budget()


# ---- the whole command


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """An .npz file with 60 test images."""
    test = mnist("test")
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, x_data=normalize(test.images[:60]), y_data=test.labels[:60])
    return path


@pytest.fixture(scope="module")
def lenet_onnx(shared_files):
    return shared_files.path("lenet", "onnx")


def evaluate(build, *arguments):
    """`workbook evaluate ARGUMENTS` in a process of its own, with a build folder of its own."""
    command = [sys.executable, "-m", "workbook", "evaluate", *map(str, arguments)]
    environment = os.environ | {"WORKBOOK_BUILD": str(build)}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)


def test_one_command_converts_checks_races_and_stores(digits, lenet_onnx, tmp_path):
    done = evaluate(
        tmp_path, lenet_onnx, digits, "--runtimes", "onnx", "mnn", "tflite", "--rounds", 6,
        "--calibration", digits, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    states = {(row["runtime"], row["precision"], row["state"]) for row in found}
    assert {("ONNX Runtime", "float32", "works"), ("MNN", "float32", "works")} <= states
    assert {("ONNX Runtime", "int8", "works"), ("LiteRT", "float32", "fails")} <= states
    works = [row for row in found if row["state"] == "works"]
    for row in works:
        assert row["p50_ms"] <= row["p90_ms"] and row["threads"] == 1 and row["bytes"] > 10_000
        assert row["accuracy"] > 0.8 and row["metric"] == "accuracy" and row["file"]
    assert "latency" not in works[0]
    assert works[0]["difference"] == 0 and 0 < works[1]["difference"] < 1e-3
    assert min(row["p50_ms"] for row in works) > 0 and any(row["ratio"] == 1 for row in works)
    why = {row["precision"]: row["why"] for row in found if row["runtime"] == "LiteRT"}
    assert "only a PyTorch network" in why["float32"] and "no float file" in why["int8"]
    lines = done.stderr.splitlines()
    assert lines[0].startswith("reading") and "racing" in lines[-1]
    [records] = (tmp_path / "results").glob("*.jsonl")
    assert len(records.read_text().splitlines()) == len(works)


def test_a_regression_and_a_budget_that_nothing_meets(tmp_path):
    line = torch.nn.Linear(4, 3).eval()
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    torch.onnx.export(line, (x[:1],), tmp_path / "line.onnx", dynamo=True, verbose=False)
    with torch.inference_mode():
        np.savez(tmp_path / "line.npz", x_data=x.numpy(), y_data=line(x).numpy())
    done = evaluate(
        tmp_path / "build", tmp_path / "line.onnx", tmp_path / "line.npz",
        "--task", "regression", "--runtimes", "onnx", "--rounds", 6, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)
    assert row["metric"] == "MSE" and row["quality"] < 1e-10 and row["others"]["MAPE"] < 1e-3
    assert row["accuracy"] is None


def test_a_class_of_ones_own(tmp_path, python_file, digits):
    torch.save(network.from_class(f"{python_file}:Small", None).state_dict(), tmp_path / "net.pt")
    arguments = [f"{python_file}:Small", digits, "--weights", tmp_path / "net.pt"]
    done = evaluate(tmp_path / "build", *arguments, "--runtimes", "onnx", "--rounds", 6)
    assert done.returncode == 0, done.stderr
    assert "ONNX Runtime" in done.stdout and "fastest" in done.stdout and "accuracy" in done.stdout
    assert (tmp_path / "build/evaluate/small.onnx").exists()


def test_only_conversions(digits, lenet_onnx, tmp_path):
    done = evaluate(tmp_path, lenet_onnx, digits, "--runtimes", "ncnn", "mnn", "--convert-only")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("ncnn, float32: only a PyTorch network") and "lenet.mnn" in second
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "arguments, status, message",
    [
        (["--rounds", "2"], 2, "--rounds must be at least 6"),
        (["--threads", "0"], 2, "--threads must be from 1 to 256"),
        (["--runtimes", "tensorrt"], 2, "invalid choice: 'tensorrt'"),
        (["--weights", "net.pt"], 1, "--weights belongs to a PyTorch class"),
    ],
)
def test_options_that_do_not_fit(digits, lenet_onnx, tmp_path, arguments, status, message):
    done = evaluate(tmp_path, lenet_onnx, digits, *arguments)
    assert done.returncode == status and message in done.stderr and not done.stdout
    assert "Traceback" not in done.stderr


def test_a_file_that_nothing_can_open_is_a_row(digits, tmp_path):
    (tmp_path / "torn.onnx").write_bytes(b"no model")
    done = evaluate(tmp_path / "build", tmp_path / "torn.onnx", digits, "--runtimes", "onnx")
    assert done.returncode == 1 and "ONNX Runtime, float32: " in done.stdout
    assert "cannot be loaded" in done.stdout and "Traceback" not in done.stderr


def test_a_candidate_without_a_file_keeps_its_reason():
    found = rows.without_file(Candidate("ncnn", True, None, "why not"))
    assert (found.runtime, found.precision, found.why) == ("ncnn", "int8", "why not")
    assert output.as_text(rows.with_ratios([found])) == "ncnn, int8: why not"
