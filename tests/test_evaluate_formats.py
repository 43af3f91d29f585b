"""`workbook evaluate`: three states of a file, half precision, and what runtimes report."""

import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from helpers import convert
from helpers.runtimes import open_model
from modelfiles.conversion import compare, first_wrong
from modelfiles.conversion.half_form import to_onnx_half
from modelfiles.errors import ConversionError, WrongAnswers
from modelfiles.formats import pte
from workbook.evaluate import (
    candidates,
    isolated,
    named,
    operators,
    output,
    published,
    race,
    remedies,
    rows,
    verdicts,
)
from workbook.evaluate.candidates import Candidate
from workbook.evaluate.conversions import Conversions, Wanted
from workbook.evaluate.examples import Examples
from workbook.evaluate.source import Source
from workbook.evaluate.verdicts import FAILS, WORKS, WRONG

# ---- verdicts

N = 200
LABELS = np.arange(N) % 4
RIGHT = np.eye(4, dtype=np.float32)[LABELS] * 10


def changed(count: int) -> np.ndarray:
    """RIGHT with a barely changed class in the first `count` examples."""
    answers = RIGHT.copy()
    answers[:count] = 10
    answers[np.arange(count), (LABELS[:count] + 1) % 4] += 0.001
    return answers


TIED = np.full((N, 4), 10, np.float32)


def nudged(count: int) -> np.ndarray:
    """TIED with another class in the first `count` examples."""
    answers = TIED.copy()
    answers[:count, 1] += 0.001
    return answers


@pytest.mark.parametrize(
    "answers, wanted, precision, labels, state, why",
    [
        (RIGHT, RIGHT, "float32", LABELS, WORKS, ""),
        (RIGHT + 0.005, RIGHT, "float32", LABELS, WORKS, ""),
        (RIGHT + 0.05, RIGHT, "float32", LABELS, WRONG, "an output is off by 0.05"),
        (RIGHT + 0.05, RIGHT, "float16", LABELS, WORKS, ""),
        (RIGHT + 0.5, RIGHT, "float16", LABELS, WRONG, "an output is off by 0.5"),
        # two of 200 change their class, which rounding may do; three are too many
        (nudged(2), TIED, "float32", LABELS, WORKS, ""),
        (nudged(3), TIED, "float32", LABELS, WRONG, "3 of 200 examples change their class"),
        (nudged(4), TIED, "float16", LABELS, WORKS, ""),
        # int8: the difference does not matter
        (RIGHT * 0.5, RIGHT, "int8", LABELS, WORKS, ""),
        (changed(1), RIGHT, "int8", LABELS, WORKS, ""),
        (changed(40), RIGHT, "int8", LABELS, WRONG, "it loses accuracy: 40 lost, 0 gained of 200"),
        (RIGHT * 0, RIGHT, "int8", None, WRONG, "the same for every image"),
        (RIGHT * 0.9, RIGHT, "int8", None, WORKS, ""),
        (RIGHT[:, :3], RIGHT, "float32", LABELS, WRONG, "shape"),
        (RIGHT * np.nan, RIGHT, "float32", LABELS, WRONG, "NaN"),
        (LABELS, LABELS, "int8", LABELS, WORKS, ""),
    ],
)
def test_the_limit_between_right_and_wrong(answers, wanted, precision, labels, state, why):
    found = verdicts.judge(answers, wanted, precision, labels)
    assert found.state == state and why in found.why


def test_int8_with_few_examples_is_not_called_wrong():
    few = slice(0, 20)
    found = verdicts.judge(changed(1)[few], RIGHT[few], "int8", LABELS[few])
    assert found.state == WORKS and found.paired.lost == 1 and found.changed == 1


def test_answers_are_compared_with_model_itself():
    own = Candidate("onnx", False, None, is_source=True)
    other = Candidate("mnn", False, None)
    answers = {other: RIGHT + 1, own: RIGHT}
    precisions = {own: "float32", other: "float32"}
    found = verdicts.of_all(answers, precisions, None, LABELS)
    assert found[own].difference == 0 and found[other].difference == 1
    found = verdicts.of_all(answers, precisions, RIGHT + 1, LABELS)
    assert found[other].difference == 0 and found[own].state == WRONG
    assert verdicts.of_all({}, {}) == {}


def test_a_network_that_cannot_compute_the_examples():
    with pytest.raises(verdicts.AnswersError, match=r"cannot compute an example of DATA, \(1, 5\)"):
        verdicts.of_model(nn.Linear(4, 2), np.zeros((2, 5), np.float32))


# ---- a process that may crash


def crash(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGSEGV)
    if number == 4:
        os._exit(7)
    if number == 5:
        time.sleep(60)
    return number * number


@pytest.mark.skipif(not isolated.CAN_FORK, reason="calls are made in this process")
def test_a_crash_ends_one_call_only():
    found = dict(isolated.results(crash, range(7), limit_s=1))
    assert [found[number] for number in (0, 1, 3, 6)] == [0, 1, 9, 36]
    assert "signal 11" in str(found[2]) and "exit status 7" in str(found[4])
    assert "did not finish within 1 s" in str(found[5])


def test_without_fork_the_calls_are_made_here(monkeypatch):
    monkeypatch.setattr(isolated, "CAN_FORK", False)
    assert list(isolated.results(lambda item: item + os.getpid(), [1])) == [(1, 1 + os.getpid())]


@pytest.mark.skipif(not isolated.CAN_FORK, reason="calls are made in this process")
def test_a_converter_that_crashes_is_a_row(monkeypatch, tmp_path):
    def crash_now(network, example, path):
        os.kill(os.getpid(), signal.SIGABRT)

    monkeypatch.setattr(convert, "to_executorch", crash_now)
    source = Source("net", network=nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval())
    x = np.ones((1, 1, 4, 4), np.float32)
    said = []
    made = list(candidates.prepare(source, ["executorch", "torch"], x, tmp_path, say=said.append))
    assert [one.state for one in made] == [FAILS, WORKS]
    assert "ended its process (signal 6)" in made[0].problem and "Report it" in made[0].problem
    assert said == [
        "net: converting for executorch, float32 ...",
        "net: converting for torch, float32 ...",
    ]


# ---- what to do


@pytest.mark.parametrize(
    "runtime, problem, advice",
    [
        ("ncnn", "ncnn does not support these layers: aten::where (w)", "Replace this layer"),
        ("tflite", ImportError("No module named 'litert_torch'"), "pip install '.[tflite]'"),
        ("mnn", "MNN cannot convert a.onnx: Not Support::Mish", "or use a runtime that has it."),
        ("executorch", "Cannot convert to X. It fails in 1 (Mish).", "Replace this layer"),
        ("onnx", OSError(28, "No space left on device"), "Free some disk space"),
        ("torch", "something else", "something else"),
        ("tflite", remedies.NO_FLOAT_FILE, remedies.NO_FLOAT_FILE),
    ],
)
def test_a_failure_says_what_to_do(runtime, problem, advice):
    said = remedies.explained(runtime, problem)
    assert advice in said
    assert remedies.explained(runtime, said) == said, "the advice is given once"


# ---- wrong answers, and the layer to blame


def doubled(network: nn.Module, example: torch.Tensor, path) -> None:
    """A converter whose files are wrong from the first Mish on."""
    if any("mish" in str(node.target) for node in network.graph.nodes):
        raise WrongAnswers("the file's outputs are wrong", 0.25, 2.0)


LAYERS = [nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Mish(), nn.Conv2d(2, 2, 1), nn.Flatten()]


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (0, 2, 1, 1, 1, 3, 4), (0, 1, 1, 1, 4, 2)])
def test_the_first_wrong_layer_is_named_with_its_difference(order):
    network = nn.Sequential(*(LAYERS[number] for number in order)).eval()
    said = first_wrong.of_network(network, torch.zeros(1, 1, 6, 6), ".onnx", doubled)
    name = f"{order.index(2)} (Mish)"
    assert said == (
        f"The first wrong layer is {name}: its outputs differ by 0.25, "
        "and the largest correct one is 2."
    )


def test_beginnings_that_cannot_be_converted_are_skipped():
    def attempt(number: int) -> None:
        if number in (3, 4):
            raise ConversionError("no")
        if number >= 5:
            raise WrongAnswers("wrong", None, None)

    said = first_wrong._search([f"layer {number}" for number in range(10)], attempt)
    assert said == "The first wrong layer is layer 5."
    assert first_wrong._search(["a", "b"], lambda number: None) == ""


def test_a_network_that_cannot_be_cut_has_no_first_wrong_layer():
    class Branches(nn.Module):
        def forward(self, x):
            return x if x.mean() > 0 else -x

    assert first_wrong.of_network(Branches(), torch.zeros(1, 1, 6, 6), ".onnx", doubled) == ""


def test_the_first_wrong_operator_of_an_onnx_file(tmp_path):
    import onnx

    layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Sigmoid(), nn.Flatten())
    source = convert.to_onnx(layers, torch.zeros(1, 1, 6, 6), tmp_path / "net.onnx")

    def wrong_sigmoid(part, path):
        if any(node.op_type == "Sigmoid" for node in onnx.load(part).graph.node):
            raise WrongAnswers("wrong", 1.0, 4.0)

    said = first_wrong.of_onnx(source, ".mnn", wrong_sigmoid)
    assert "(Sigmoid): its outputs differ by 1, and the largest correct one is 4." in said


def test_wrong_answers_are_a_state_of_their_own(monkeypatch, tmp_path):
    from modelfiles.conversion import converters

    def write_another(network, example, scratch):
        """A converter that forgets the negative numbers."""
        converters._write_onnx(nn.Sequential(network, nn.ReLU()).eval(), example, scratch)

    def to_onnx(network, example, path):
        return converters.write_network(network, example, path, ".onnx", write_another)

    monkeypatch.setattr(convert, "to_onnx", to_onnx)
    torch.manual_seed(0)
    source = Source("net", network=nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()).eval())
    work = Conversions(source, np.ones((1, 1, 4, 4), np.float32), tmp_path)
    made = work.write(Wanted("onnx", "float32"))
    assert made.state == WRONG and made.path is None and made.difference > 0.01
    assert "the file's outputs are wrong" in made.problem and "Do not ship" in made.problem
    assert "The first wrong layer is 0 (Conv2d)" in made.problem
    row = rows.without_file(made)
    assert row.state == WRONG and row.difference == made.difference
    assert output.as_text([row]).startswith("ONNX Runtime, float32: converts, but answers wrong: ")


# ---- half precision


@pytest.fixture(scope="module")
def lenet_file(shared_files):
    return shared_files.path("lenet", "onnx")


def test_half_an_onnx_file(lenet_file, tmp_path):
    half = to_onnx_half(lenet_file, tmp_path / "lenet_half.onnx")
    assert half.stat().st_size < 0.6 * lenet_file.stat().st_size
    model = open_model(half)
    x = np.random.default_rng(0).standard_normal((8, 1, 28, 28), np.float32)
    answers = model.predict(x)
    wanted = open_model(lenet_file).predict(x)
    assert model.precision == "float16" and compare.half_fault(answers, wanted) is None
    assert np.abs(answers - wanted).max() > 0
    with pytest.raises(ConversionError, match="int8 already"):
        to_onnx_half(convert.to_onnx_int8(lenet_file, tmp_path / "q.onnx", x), tmp_path / "h.onnx")


def test_the_half_and_int8_forms_of_a_run(lenet_file, quick_networks, tmp_path):
    source = Source("lenet", lenet_file, quick_networks["lenet"])
    x = np.random.default_rng(0).standard_normal((20, 1, 28, 28), np.float32)
    names = ["mnn", "onnx", "ncnn"]
    made = list(candidates.prepare(source, names, x[:1], tmp_path, x, lambda line: None, half=True))
    assert all(one.path for one in made), [one.problem for one in made]
    found = [(one.runtime, one.precision) for one in made]
    assert found == [
        ("onnx", "float32"), ("mnn", "float32"), ("ncnn", "float32"),
        ("mnn", "float16"), ("onnx", "float16"), ("ncnn", "float16"),
        ("mnn", "int8"), ("onnx", "int8"),
    ]  # fmt: skip
    assert made[0].is_source and not any(one.is_source for one in made[1:])
    for one in made:
        assert open_model(one.path).precision == one.precision


@pytest.mark.slow
def test_half_a_tflite_file_and_its_operators(quick_networks, tmp_path):
    source = Source("lenet", network=quick_networks["lenet"])
    x = np.random.default_rng(0).standard_normal((20, 1, 28, 28), np.float32)
    made = list(
        candidates.prepare(source, ["tflite", "executorch"], x[:1], tmp_path, x, print, half=True)
    )
    assert [one.precision for one in made] == ["float32", "float32", "float16", "int8", "int8"]
    assert all(one.path for one in made), [one.problem for one in made]
    for found in operators.of_files([(one.path, x[:1].shape) for one in made]):
        assert found.delegate == "XNNPACK" and found.int8_share is None
        assert 0 < found.delegated <= found.all


# ---- what the runtimes report


def test_the_operators_and_the_int8_time_of_onnx_files(lenet_file, tmp_path):
    x = np.random.default_rng(0).standard_normal((20, 1, 28, 28), np.float32)
    int8 = convert.to_onnx_int8(lenet_file, tmp_path / "int8.onnx", x)
    (tmp_path / "torn.onnx").write_bytes(b"no model")
    files = [(path, x[:1].shape) for path in (lenet_file, int8, tmp_path / "torn.onnx")]
    whole, small, torn = operators.of_files(files)
    assert whole.int8_share == 0 and 0 < small.int8_share <= 1
    assert whole.delegated == whole.all >= 7 and whole.delegate == "CPU provider"
    assert torn == operators.UNKNOWN
    assert operators.of_files([(tmp_path / "net.mnn", (1, 1, 28, 28))]) == [operators.UNKNOWN]


def test_operators_between_the_tensors_of_a_delegate():
    chain = [
        {"op_name": "TRANSPOSE", "inputs": [0], "outputs": [1]},
        {"op_name": "CONV_2D", "inputs": [1, 10], "outputs": [2]},
        {"op_name": "CONV_2D", "inputs": [2, 11], "outputs": [3]},
        {"op_name": "CUSTOM", "inputs": [3], "outputs": [4]},
        {"op_name": "ADD", "inputs": [3, 4], "outputs": [5]},
    ]
    first = {"inputs": [1, 10, 11], "outputs": [3]}
    second = {"inputs": [3, 4], "outputs": [5]}
    assert operators._inside(first, chain) == {1, 2}
    assert operators._inside(second, chain) == {4}


def test_a_damaged_program_of_executorch_has_no_operators(tmp_path):
    path = tmp_path / "torn.pte"
    for content in (b"", b"\x10\0\0\0ET12", os.urandom(200)):
        path.write_bytes(content)
        assert operators.of_files([(path, (1, 1, 28, 28))]) == [operators.UNKNOWN]
    assert pte.EXTENDED_HEADER == 8


# ---- the race: wrong files are not timed, and each row has its facts


def test_wrong_answers_are_not_raced(lenet_file, tmp_path):
    other = tmp_path / "other.onnx"
    torch.manual_seed(1)
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).eval()
    convert.to_onnx(network, torch.zeros(1, 1, 28, 28), other)
    x = np.random.default_rng(0).standard_normal((40, 1, 28, 28), np.float32)
    int8 = convert.to_onnx_int8(lenet_file, tmp_path / "int8.onnx", x)
    labels = open_model(lenet_file).predict(x).argmax(axis=1)
    raced = [
        Candidate("onnx", False, lenet_file, is_source=True),
        Candidate("onnx", False, other),
        Candidate("onnx", True, int8),
        Candidate("ncnn", False, None, "why not"),
    ]
    found = race.run(
        raced,
        Examples(x, labels),
        task="classification",
        threads=1,
        rounds=6,
        store=tmp_path / "records.jsonl",
    )
    first, wrong, quantized, missing = rows.with_ratios(found)
    assert first.state == WORKS and first.difference == 0 and first.accuracy_change is None
    assert wrong.state == WRONG and wrong.p50_ms is None and wrong.changed > 10
    assert wrong.compared == 40 and wrong.relative > 0.01 and "off by" in wrong.why
    assert quantized.p50_ms and quantized.int8_share > 0 and quantized.accuracy_change <= 0
    assert quantized.accuracy_change_low <= quantized.accuracy_change_high
    assert missing.state == FAILS
    for row in (first, quantized):
        assert 1 < row.average_mb <= row.peak_mb * 1.01 and row.operators >= row.delegated > 0
    assert len((tmp_path / "records.jsonl").read_text().splitlines()) == 2
    text = output.as_text([first, wrong, quantized, missing])
    assert "converts, but answers wrong: an output is off by" in text and "why not" in text


def test_without_right_answers_there_is_no_quality(lenet_file, tmp_path):
    x = np.random.default_rng(0).standard_normal((4, 1, 28, 28), np.float32)
    [row] = race.run(
        [Candidate("onnx", False, lenet_file, is_source=True)],
        Examples(x, None),
        task="classification",
        threads=1,
        rounds=6,
        store=tmp_path / "records.jsonl",
    )
    assert row.state == WORKS and row.quality is None and row.accuracy is None
    heading = output.as_text(rows.with_ratios([row])).splitlines()[0]
    assert "p50 (ms)" in heading and "accuracy" not in heading


# ---- networks by name, and what others have published


@pytest.mark.parametrize("name", ["mobilenet_v3_small"])
def test_a_network_by_its_name_has_random_weights_here(name, monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBOOK_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("WORKBOOK_DATA", raising=False)
    source, said = named.source(name)
    assert source.name == name and not source.network.training
    assert said == (f"{name} has random weights, so no accuracy is shown (WORKBOOK_OFFLINE is set)")
    examples = named.random_examples(name)
    assert examples.x.shape == (8, 3, 224, 224) and examples.y is None
    answers = verdicts.of_model(source.network, examples.x)
    assert np.ptp(answers, axis=0).max() > 1e-4, "different images get different answers"


def test_trained_weights_are_found_in_the_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBOOK_DATA", str(tmp_path))
    (tmp_path / "models").mkdir()
    trained = named.source("mobilenet_v3_small")[0].network.state_dict()
    trained["classifier.3.bias"] += 1
    torch.save(trained, tmp_path / "models" / "mobilenet_v3_small-047dcff4.pth")
    source, said = named.source("mobilenet_v3_small")
    assert said == "mobilenet_v3_small has trained weights, from mobilenet_v3_small-047dcff4.pth"
    assert torch.equal(source.network.classifier[3].bias, trained["classifier.3.bias"])


def test_published_figures_stay_apart():
    figures = published.of_network("mobilenet_v2")
    by_place = {(one.machine, one.runtime, one.precision): one.ms for one in figures}
    assert by_place["Raspberry Pi 4", "ONNX Runtime", "float32"] == pytest.approx(91.9)
    assert by_place["Raspberry Pi 5", "TFLite", "int8"] == pytest.approx(10.8)
    text = published.as_text(figures)
    assert text.startswith("Published for mobilenet_v2, not measured here:")
    assert "263.8" in text and "Source: " in text and "threads not stated" in text
    assert published.of_network("lenet") == []


def test_a_row_without_verdict_is_unchanged():
    row = rows.without_file(Candidate("ncnn", False, None, "why"))
    assert rows.with_verdict(row, verdicts.Verdict(FAILS, "why")) == replace(row, state=FAILS)
