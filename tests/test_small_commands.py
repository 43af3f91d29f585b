"""The small commands: train, convert, accuracy, timers; the conversion matrix and its document."""

import re
import stat
import sys

import numpy as np
import pytest
import torch

from helpers.data import mnist, normalize
from helpers.paths import ROOT
from helpers.runtimes import open_model
from workbook.cli import main
from workbook.commands import matrix, timers
from workbook.commands.arrows import ARROWS, Arrow
from workbook.evaluate import isolated, other_timers

DOCUMENT = ROOT / "workbook" / "commands" / "README.md"


@pytest.fixture(scope="module")
def lenet(shared_files):
    """LeNet as an exported program."""
    return shared_files.path("lenet", "pt2")


@pytest.fixture
def workbook(capsys, tmp_path, monkeypatch):
    """A function that runs `workbook ARGUMENTS` in an empty folder: (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as ended:  # argparse
            status = ended.code
        done = capsys.readouterr()
        return status, done.out, done.err

    return run


TWO_LINES = re.compile(r"Time: [\d.e-]+ s\nAccuracy: (\d+)/(\d+) \((\d+)%\)\n")


# ---- train


@pytest.mark.parametrize("name", ["lenet.pt2", "lenet.pt"])
def test_train_saves_what_the_other_commands_read(workbook, tmp_path, name):
    status, out, err = workbook("train", "lenet", "--epochs", 1, "--save-model", name)
    assert status == 0, err
    found = TWO_LINES.search(out[out.index("Time:") :])
    right, n, per_cent = map(int, found.groups())
    assert n == 1000 and 100 < right < n and per_cent == min(99, round(100 * right / n))
    assert f"Saved: {name}" in out
    if name.endswith(".pt2"):
        status, again, err = workbook("accuracy", name)
        assert status == 0, err
        assert f"Accuracy: {right}/1000" in again
    else:
        weights = torch.load(tmp_path / name, weights_only=True)
        assert sum(value.numel() for value in weights.values()) == 44_190


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--save-model", "lenet.onnx"], "ends in .pt2 or .pt, not lenet.onnx"),
        (["--save-model", "none/lenet.pt"], "the folder none does not exist"),
        (["--epochs", "0"], "--epochs must be at least 1"),
        (["alexnet"], "invalid choice: 'alexnet'"),
    ],
)
def test_what_train_cannot_do(workbook, arguments, message):
    status, out, err = workbook("train", *arguments)
    assert status == 2 and message in err and not out


def test_an_optional_argument_may_follow_an_option(workbook):
    status, _, err = workbook("train", "--epochs", 0, "lenet")
    assert status == 2 and "--epochs must be at least 1" in err
    status, _, err = workbook("train", "--epochs", 1, "alexnet")
    assert status == 2 and "invalid choice: 'alexnet'" in err
    status, _, err = workbook("accuracy", "none.onnx", "--threads", 1, "none.npz", "more")
    assert status == 2 and "unrecognized arguments: more" in err
    status, _, err = workbook("accuracy", "none.onnx", "--threads", 1, "none.npz")
    assert status == 1 and "none.npz does not exist" in err


# ---- convert and accuracy


@pytest.mark.parametrize(
    "target, name",
    [
        ("onnx", "lenet.onnx"),
        ("ncnn", "lenet.ncnn.param"),
        ("here.mnn", "here.mnn"),
        pytest.param("tflite", "lenet.tflite", marks=pytest.mark.slow),
        pytest.param("executorch", "lenet.pte", marks=pytest.mark.slow),
    ],
)
def test_convert_then_accuracy(workbook, lenet, tmp_path, target, name):
    status, out, err = workbook("convert", lenet, target)
    assert status == 0, err
    assert out.startswith("Time: ") and f"Written: {name}" in out and "agree with" in out
    status, said, err = workbook("accuracy", name)
    assert status == 0, err
    status, wanted, err = workbook("accuracy", lenet)
    assert TWO_LINES.search(said).groups() == TWO_LINES.search(wanted).groups()
    made = {path.name for path in tmp_path.iterdir()}
    assert made == ({name, "lenet.ncnn.bin"} if target == "ncnn" else {name})


def test_the_other_forms(workbook, lenet, tmp_path):
    images = normalize(mnist("train").images[:50])
    np.savez(tmp_path / "train.npz", x_data=images, y_data=mnist("train").labels[:50])
    assert workbook("convert", lenet, "onnx")[0] == 0
    for arguments, name, precision in (
        (["lenet.onnx", "onnx", "--half"], "lenet_half.onnx", "float16"),
        (["lenet.onnx", "onnx", "--calibration", "train.npz"], "lenet_int8.onnx", "int8"),
        (["lenet.onnx", "small.mnn", "--half"], "small.mnn", "float16"),
        ([lenet, "onnx", "--half"], "lenet_half.onnx", "float16"),
    ):
        status, _, err = workbook("convert", *arguments)
        assert status == 0, err
        assert open_model(name).precision == precision


CODE = """
import torch

class Net(torch.nn.Sequential):
    def __init__(self):
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(784, 10))
"""


def test_a_class_with_its_weights(workbook, tmp_path):
    (tmp_path / "net.py").write_text(CODE)
    torch.manual_seed(0)
    linear = torch.nn.Linear(784, 10)
    torch.save({"1.weight": linear.weight, "1.bias": linear.bias}, tmp_path / "net.pt")
    arguments = ["net.py:Net", "--weights", "net.pt"]
    status, out, err = workbook("accuracy", *arguments)
    assert status == 0, err
    right = TWO_LINES.search(out)[1]
    status, _, err = workbook("convert", *arguments, "net.onnx")
    assert status == 2 and "a PyTorch class needs --shape, such as" in err
    status, _, err = workbook("convert", "net.py:Net", "net.onnx", "--weights", "net.pt",
                              "--shape", 1, 1, 28, 28)  # fmt: skip
    assert status == 0, err
    assert f"Accuracy: {right}/1000" in workbook("accuracy", "net.onnx")[1]


@pytest.mark.parametrize(
    "arguments, status, message",
    [
        (["convert"], 2, "give MODEL and TARGET, or --matrix"),
        (["convert", "lenet.pt2"], 2, "give MODEL and TARGET"),
        (["convert", "none.pt2", "onnx"], 1, "none.pt2 does not exist"),
        (["convert", "lenet.pt2", "lenet.trt"], 2, "lenet.trt must end in .pt2, .onnx"),
        (["convert", "lenet.pt2", "torch"], 2, "is a file for torch already"),
        (["convert", "lenet.pt2", "none/x.onnx"], 2, "the folder none does not exist"),
        (["convert", "lenet.pt2", "torch", "--half"], 2, "PyTorch has no float16 form here"),
        (["convert", "lenet.pt2", "ncnn", "--calibration", "x.npz"], 2, "ncnn has no int8 form"),
        (["convert", "lenet.pt2", "a.pte", "--calibration", "x.npz"], 2, "name it NAME_int8.pte"),
        (["convert", "lenet.pt2", "onnx", "--half", "--calibration", "x.npz"], 2, "two forms"),
        (["convert", "lenet.pt2", "onnx", "--shape", "1", "3", "9", "9"], 1, "cannot run the ex"),
        (["accuracy", "none.onnx"], 1, "none.onnx does not exist"),
        (["accuracy", "torn.onnx"], 1, "torn.onnx cannot be loaded"),
        (["accuracy", "lenet.pt2", "--weights", "a.pt"], 1, "--weights belongs to a PyTorch class"),
        (["timers", "lenet.pt2"], 1, "no other timer is known for lenet.pt2"),
        (["timers", "none.tflite"], 1, "none.tflite does not exist"),
        (["timers", "lenet.pt2", "--rounds", "2"], 2, "--rounds must be at least 6"),
        (["timers", "lenet.pt2", "--threads", "0"], 2, "--threads must be from 1 to 256"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(
    workbook, lenet, tmp_path, arguments, status, message
):
    (tmp_path / "lenet.pt2").write_bytes(lenet.read_bytes())
    (tmp_path / "torn.onnx").write_bytes(b"no model")
    before = sorted(tmp_path.iterdir())
    found, out, err = workbook(*arguments)
    assert found == status and message in err and not out
    assert len(err.splitlines()) == 1 and "Traceback" not in err
    assert sorted(tmp_path.iterdir()) == before


# ---- the matrix


def documented_states() -> dict[tuple[str, str], str]:
    _, _, section = DOCUMENT.read_text(encoding="utf-8").partition("## The conversion matrix")
    return matrix.states_in(section.partition("\n## ")[0])


def test_the_document_has_every_arrow_and_its_state():
    documented = documented_states()
    assert list(documented) == [(arrow.source, arrow.target) for arrow in ARROWS]
    for arrow in ARROWS:
        if arrow.write is None:
            assert documented[arrow.source, arrow.target] == "not here"


def compare_with_the_document(arrows):
    documented = documented_states()
    said = []
    found = matrix.tried(said.append, arrows)
    again = matrix.states_in(matrix.as_markdown(found))
    assert again == {place: documented[place] for place in again}
    assert len(said) == len(arrows) == len(again)
    for row in found:
        if row.state == "works":
            limit = 1.0 if "int8" in row.arrow.target else 1e-2
            assert 0 <= row.difference < limit, row


def test_the_fast_arrows_of_the_matrix_are_true():
    fast = ("PyTorch, exported (.pt2)", "TorchScript", "ONNX", "ncnn", "MNN", "TensorRT")
    sources = ("PyTorch", "ONNX")
    compare_with_the_document(
        [arrow for arrow in ARROWS if arrow.target in fast and arrow.source in sources]
    )


@pytest.mark.slow
def test_the_whole_matrix_is_true():
    compare_with_the_document(ARROWS)


def test_an_arrow_that_fails_is_a_row():
    def fails(workshop):
        raise ValueError("no\nreally")

    def missing(workshop):
        raise ImportError("No module named 'other'")

    def crashes(workshop):
        import os

        os._exit(3)

    arrows = [Arrow("a", "b", (), fails), Arrow("a", "c", ("numpy",), missing)]
    if isolated.CAN_FORK:
        arrows.append(Arrow("a", "d", (), crashes))
    lines = matrix.as_markdown(matrix.tried(lambda line: None, arrows)).splitlines()[4:]
    assert lines[0] == "| a | b | - | fails: ValueError: no | - |"
    assert "not here: not installed: No module named 'other'" in lines[1]
    assert f"numpy {np.__version__}" in lines[1]
    if isolated.CAN_FORK:
        assert "fails: it ended its process (exit status 3)" in lines[2]


# ---- other timers


FAKE = """#!{python}
import sys
print("STARTING!", file=sys.stderr)
print("count=50 first=99 curr=1 min=1 max=9 avg=77 std=1")
print("{line}")
"""


@pytest.fixture
def program(tmp_path):
    """A function that writes a program which prints a line, and returns its path."""

    def write(line):
        path = tmp_path / "program"
        path.write_text(FAKE.format(python=sys.executable, line=line))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return write


INFERENCE = "Inference timings in us: Init: 500, First inference: 90, Inference (avg): 250.5"


def test_benchmark_model_and_benchncnn_are_read(program, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCHMARK_MODEL", str(program(INFERENCE)))
    timer = other_timers.timer_for(tmp_path / "net.tflite")
    assert timer.mean_ms(10, 1) == pytest.approx(0.2505) and "SHA-256" in timer.remark
    layers = tmp_path / "net.ncnn.param"
    layers.write_text("7767517\n1 1\nInput in0 0 1 in0 0=28 1=28 2=1\n")
    monkeypatch.setenv("BENCHNCNN", str(program("net  min =  0.20  max =  0.31  avg =  0.25")))
    timer = other_timers.timer_for(layers)
    assert timer.mean_ms(10, 1) == 0.25 and "half precision" in timer.remark
    program("nothing of use")
    with pytest.raises(other_timers.NoTimer, match="printed no mean time"):
        timer.mean_ms(10, 1)
    (tmp_path / "program").write_text("#!/bin/sh\necho broken\nexit 3\n")
    with pytest.raises(other_timers.NoTimer, match="exit status 3: broken"):
        timer.mean_ms(10, 1)


def test_without_the_program_the_message_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.delenv("BENCHNCNN", raising=False)
    with pytest.raises(other_timers.NoTimer, match="build it from ncnn's repository"):
        other_timers.timer_for(tmp_path / "net.ncnn.param")
    monkeypatch.setenv("BENCHNCNN", str(tmp_path / "none"))
    with pytest.raises(other_timers.NoTimer, match="is no program that can be run"):
        other_timers.timer_for(tmp_path / "net.ncnn.param")


def test_the_ratio_and_its_interval():
    generator = np.random.default_rng(0)
    drift = np.exp(generator.normal(0, 0.3, (400, 1)))  # both drift together
    noise = np.exp(generator.normal(0, 0.02, (400, 2)))
    pairs = drift * noise * [1.25, 1.0]
    inside = 0
    for i in range(0, 400, 10):
        found = other_timers.ratio(pairs[i : i + 10])
        inside += found.low <= 1.25 <= found.high
        assert found.low < found.value < found.high < 1.35
    assert inside >= 34  # of 40, at 95 %
    said = timers.report("other", "a remark", pairs[:10])
    assert "theirs / ours: 1.2" in said and said.endswith("a remark")
    with pytest.raises(timers.TimerError, match="too fast for its resolution"):
        timers.report("other", "", pairs * [0.0, 1.0])


@pytest.mark.slow
def test_litert_benchmark_itself(workbook, lenet, tmp_path):
    assert workbook("convert", lenet, "tflite")[0] == 0
    status, out, err = workbook("timers", "lenet.tflite", "--rounds", 6)
    assert status == 0, err
    assert "litert-benchmark: 0.0" in out and "theirs / ours: " in out
