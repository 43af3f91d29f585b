"""Notebooks 00 and 01: their functions against those of libraries, and the figures they print."""

import ast
import builtins
import concurrent.futures
import copy
import re
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import executed_notebooks
import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from notebook_code import NOTEBOOKS, code_cells, definitions
from notebook_pages import run_cell

from helpers import metrics, training
from helpers.data import Images
from helpers.models import LeNet, MnistNet
from helpers.paths import ROOT

start = definitions("00_start_here")
train = definitions("01_train_mnist_cnn")


def printed(name: str) -> str:
    """All text in the committed outputs."""
    texts = []
    for cell in code_cells(name):
        for output in cell.outputs:
            data = output.get("data", {})
            texts += [output.get("text", ""), data.get("text/plain", "")]
            texts.append(data.get("text/markdown", ""))
    return "\n".join(texts)


def number(pattern: str, text: str) -> float:
    """The first number that the pattern's group finds."""
    found = re.search(pattern, text)
    assert found, pattern
    return float(found[1].replace(",", ""))


@pytest.mark.parametrize("shape, size", [((5, 4), 3), ((9, 9), 1), ((7, 12), 5)])
def test_convolve_is_pytorchs(shape, size):
    generator = np.random.default_rng(0)
    image = generator.normal(size=shape)
    kernel = generator.normal(size=(size, size))
    theirs = F.conv2d(*(torch.from_numpy(array)[None, None] for array in (image, kernel)))
    np.testing.assert_allclose(start.convolve(image, kernel), theirs[0, 0], atol=1e-12)


@pytest.mark.parametrize("shape, size", [((4, 4), 2), ((7, 10), 2), ((9, 12), 3)])
def test_max_pool_is_pytorchs(shape, size):
    values = np.random.default_rng(0).normal(size=shape)
    theirs = F.max_pool2d(torch.from_numpy(values)[None], size)[0]
    np.testing.assert_array_equal(start.max_pool(values, size), theirs)


def test_the_limits_of_the_machine_follow_from_its_peaks():
    text = printed("00_start_here")
    peak = number(r"float32 arithmetic \(GFLOP/s\) +([\d.]+)", text)
    bandwidth = number(r"memory, 64 MB copied \(GB/s\) +([\d.]+)", text)
    network = MnistNet()
    arithmetic = 2 * metrics.count_macs(network, (1, 1, 28, 28)) / peak / 1e3
    memory = 4 * metrics.count_parameters(network) / bandwidth / 1e3
    assert number(r"arithmetic (\d+) µs, memory", text) == pytest.approx(arithmetic, rel=0.02)
    assert number(r"arithmetic \d+ µs, memory (\d+) µs", text) == pytest.approx(memory, rel=0.02)


def test_most_of_a_file_is_weights():
    text = printed("00_start_here")
    held = number(r"([\d,]+) of [\d,]+ bytes are weights", text)
    size = number(r"[\d,]+ of ([\d,]+) bytes are weights", text)
    assert 4 * metrics.count_parameters(MnistNet()) <= held < size < 1.05 * held


@pytest.mark.parametrize("lost", [0, 1, 2, 9])
@pytest.mark.parametrize("gained", [0, 5, 9, 30])
def test_p_is_that_of_mcnemar(lost, gained):
    labels = np.zeros(lost + gained + 3, int)  # both get the last three right
    first = np.repeat([0, 1, 0], [lost, gained, 3])
    second = np.repeat([1, 0, 0], [lost, gained, 3])
    theirs = metrics.mcnemar(labels, first, second)
    assert train.p_value(lost, gained) == pytest.approx(theirs.p)


def constant_network() -> torch.nn.Module:
    """It gives each digit the same probability."""
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    return network


def test_the_loss_of_equal_probabilities():
    images = np.zeros((3, 28, 28), np.uint8)
    labels = np.arange(3)
    assert train.mean_loss(constant_network(), images, labels) == pytest.approx(np.log(10))


@pytest.fixture
def learn(monkeypatch):
    """The loop of 01 with its parameter."""
    monkeypatch.setitem(train.learn.__globals__, "batch_size", 4)
    return train.learn


def test_the_loop_steps_against_the_gradient(learn):
    """One batch, one step: AdamW's first step is the learning rate, in the gradient's direction."""
    images = np.random.default_rng(0).integers(0, 256, (4, 28, 28)).astype(np.uint8)
    labels = np.arange(4)
    network = constant_network()
    [loss] = learn(network, images, labels, epochs=1, lr=1e-3)
    assert loss == pytest.approx(np.log(10))
    bias = network[1].bias.detach().numpy()
    # the gradient of a bias is the mean probability minus the share of the class
    np.testing.assert_allclose(bias, np.repeat([1e-3, -1e-3], [4, 6]), rtol=1e-3)
    assert train.mean_loss(network, images, labels) < loss


@pytest.mark.parametrize("shuffled", [False, True])
def test_the_loop_sees_every_image_once_per_epoch(learn, shuffled):
    images = np.arange(10, dtype=np.uint8)[:, None, None] * np.ones((1, 28, 28), np.uint8)
    seen = []

    class Recorder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = constant_network()

        def forward(self, x):
            pixel = x[:, 0, 0, 0] * train.PIXEL_STD + train.PIXEL_MEAN
            seen.append((255 * pixel).round().int().tolist())
            return self.layer(x)

    calls = []
    losses = learn(
        Recorder(),
        images,
        np.zeros(10, int),
        epochs=2,
        lr=1e-3,
        shuffled=shuffled,
        watch=lambda model, losses: calls.append(len(losses)),
    )
    assert [len(batch) for batch in seen] == [4, 4, 2] * 2
    epochs = [np.concatenate(seen[:3]).tolist(), np.concatenate(seen[3:]).tolist()]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert (epochs[0] == epochs[1]) == (not shuffled)
    assert calls == [1, 2, 3, 4, 5, 6] and len(losses) == 6


def test_what_01_says_of_its_networks_belongs_together():
    text = printed("01_train_mnist_cnn")
    count = number(r"MnistNet: [\d.]+ % \(.*n = ([\d,]+)\)", text)
    errors = {
        name: round(count * (1 - number(rf"{name}: ([\d.]+) % \(", text) / 100))
        for name in ("MnistNet", "LeNet")
    }
    lost = number(r"from MnistNet to LeNet: (\d+) lost", text)
    gained = number(r"from MnistNet to LeNet: \d+ lost, (\d+) gained", text)
    assert lost - gained == pytest.approx(errors["LeNet"] - errors["MnistNet"], abs=0.002 * count)
    sizes = [metrics.count_parameters(network) for network in (LeNet(), MnistNet())]
    assert f"LeNet: {sizes[0]:,} weights, one for every {sizes[1] / sizes[0]:.0f} of" in text
    steps = number(r"after (\d+) steps", text)
    assert f"The first {steps:.0f} steps already gave" in text.replace("\\\n", "")


@pytest.mark.parametrize("name", ["00_start_here", "01_train_mnist_cnn"])
def test_no_number_in_the_text_depends_on_the_images(name):
    """With other images, or other networks, the text stays true: figures are computed in cells."""
    for cell in nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4).cells:
        if cell.cell_type != "markdown":
            continue
        assert not re.search(r"\b([145]|10|60),000\b|\b\d\d\.\d %", cell.source), cell.source


# what the cells compute


@pytest.fixture(scope="module")
def kernel():
    """`display` is a name that only a kernel has."""
    with pytest.MonkeyPatch.context() as patch:
        handle = SimpleNamespace(update=lambda shown: None)
        patch.setattr(builtins, "display", lambda *_, **__: handle, raising=False)
        yield


@pytest.fixture(scope="module")
def start_page(kernel):
    return executed_notebooks.run("00_start_here", peak_seconds=0.02)


HISTORY = training.History([2.0, 1.0], [1e-3, 0.0], {1: 0.5, 2: 0.9}, 1.0, "")


@pytest.fixture(scope="module")
def train_page(kernel, quick_networks):
    """01 with networks that have been trained already, and a thread as its second process."""
    train_really = training.train

    def trained_already(model, train_set, recipe, *_, **__):
        if len(train_set.images) < 1000:  # the experiment with seeds
            return train_really(model, train_set, recipe)
        return quick_networks["lenet" if isinstance(model, LeNet) else "mnist_cnn"], HISTORY

    def a_thread(*_):
        return concurrent.futures.ThreadPoolExecutor(1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "train", trained_already)
        patch.setattr(training, "save", lambda *_: None)
        patch.setattr(concurrent.futures, "ProcessPoolExecutor", a_thread)
        return executed_notebooks.run(
            "01_train_mnist_cnn",
            loop_images=1280,
            loop_epochs=1,
            few_images=100,
            few_epochs=6,
            watched_images=100,
        )


def test_the_tasks_of_00_expect_the_right_answers(start_page):
    assert start_page.expected == ["int8", 0.0, 12, 1010, ".pt"]


def test_the_guesses_of_00_are_scored_with_the_truth(start_page):
    truths = start_page.truths
    assert truths["00-camera-stream"] == 27.6  # MB/s
    assert start_page["answer_bytes"] == 1200
    assert truths["00-output-shape"] == "2 x 3"
    assert truths["00-reversed"] == "transformer"
    assert 99 < truths["00-weights-share"] < 100
    slower = "arithmetic" if start_page["compute_us"] > start_page["memory_us"] else "memory"
    assert truths["00-limit"] == slower


def test_the_layers_of_00(start_page):
    assert start_page["output"] == 3.5
    hidden = (start_page["first"] @ start_page["inputs"]).clip(0)
    np.testing.assert_allclose(start_page["hidden"], hidden)
    images, kernels = (
        torch.from_numpy(np.stack(arrays))[:, None]
        for arrays in ([start_page["digit"]], [start_page["kernel"], start_page["kernel"].T])
    )
    vertical, horizontal = F.conv2d(images, kernels)[0].numpy()
    np.testing.assert_allclose(start_page["vertical"], vertical)
    np.testing.assert_allclose(start_page["horizontal"], horizontal)
    channel = torch.from_numpy(start_page["channel"])[None, None]
    theirs = F.batch_norm(
        channel, None, None, torch.tensor([2.0]).double(), torch.tensor([0.5]).double(), True
    )
    np.testing.assert_allclose(start_page["normalized"], theirs[0, 0], atol=1e-9)
    rows = {"MLP": "no no", "CNN": "yes no", "RNN": "no no", "transformer": "yes yes"}
    assert {name: " ".join(row) for name, row in start_page["same"].T.items()} == rows


def test_the_counts_of_00(start_page):
    layers = start_page["layers"]
    assert layers["parameters"].tolist() == [320, 18_496, 1_179_776, 1_290]
    assert layers["MACs"].tolist() == [194_688, 10_616_832, 1_179_648, 1_280]
    peak = start_page["peak"]
    assert start_page["compute_us"] == pytest.approx(2e6 * 11_992_448 / peak.flops_per_s)
    assert start_page["memory_us"] == pytest.approx(4e6 * 1_199_882 / peak.bytes_per_s)
    assert start_page["table"]["bytes"].max() == 4 * 9216 * 128
    np.testing.assert_allclose(start_page["share"].sum(axis=1), 100)


def test_the_four_kinds_of_networks_are_pytorchs(start_page):
    names = ("to_scores", "mlp_weights", "cnn_kernels", "rnn_input", "rnn_state")
    names += ("query", "key", "value")
    weights = {name: torch.from_numpy(start_page[name]) for name in names}
    moments = np.random.default_rng(1).normal(size=(8, 3))
    x = torch.from_numpy(moments)
    # a kernel's rows are three moments of three sensors; PyTorch wants sensors x moments
    kernels = weights["cnn_kernels"].T.reshape(5, 3, 3).transpose(1, 2)
    recurrent = torch.nn.RNN(3, 5, bias=False).double()
    recurrent.weight_ih_l0.data = weights["rnn_input"].T
    recurrent.weight_hh_l0.data = weights["rnn_state"].T
    asked, offered, passed = ((x @ weights[name])[None] for name in ("query", "key", "value"))
    hidden = {
        "mlp": F.relu(F.linear(x.flatten(), weights["mlp_weights"].T)),
        "cnn": F.relu(F.conv1d(x.T[None], kernels))[0].amax(dim=1),
        "rnn": recurrent(x)[1][0].detach(),
        "transformer": F.scaled_dot_product_attention(asked, offered, passed)[0].mean(dim=0),
    }
    for name, values in hidden.items():
        theirs = values @ weights["to_scores"]
        np.testing.assert_allclose(start_page[name](moments), theirs, atol=1e-9, err_msg=name)


def test_what_00_shows_is_in_the_units_that_it_names(start_page):
    peak = start_page["peak"]
    [shown] = [s for s in start_page.shown if getattr(s, "columns", ["?"])[0] == "peak"]
    rates = [peak.flops_per_s, peak.int8_ops_per_s, peak.bytes_per_s]
    np.testing.assert_allclose(shown["peak"], np.array(rates) / 1e9, atol=0.051)
    assert start_page["fc1_share"] == pytest.approx(1_179_776 / 1_199_882)
    assert start_page["conv2_share"] == pytest.approx(10_616_832 / 11_992_448)
    class_scores = start_page["second"] @ start_page["hidden"]
    assert f"answer: class {class_scores.argmax()}" in start_page.printed
    first_image = start_page["test_set"].images[0] / 255
    np.testing.assert_allclose(
        start_page["sample"][0, 0], (first_image - 0.1307) / 0.3081, atol=1e-5
    )


def test_the_tasks_of_01_expect_the_right_answers(train_page):
    batches, kernels, half, fastest, factor, p, missed = train_page.expected
    assert (batches, kernels, factor) == (len(train_page["train_set"].images) // 64, 2400, 2)
    assert (half, p) == (pytest.approx(np.log(2)), pytest.approx(2 / 2**5))
    sixth = {int(name[0]): losses[5] for name, losses in train_page["curves"].items()}
    assert fastest == min(sixth, key=sixth.get)
    labels = train_page["test_set"].labels
    wrong = labels[train_page["answers"]["MnistNet"] != labels]
    assert np.bincount(wrong, minlength=10)[missed] == np.bincount(wrong).max()


def test_the_guesses_of_01_are_scored_with_the_truth(train_page, quick_networks):
    truths = train_page.truths
    test_set = train_page["test_set"]
    assert truths["01-first-loss"] == 2.3
    found = {
        name: training.evaluate(train_page[name], test_set)
        for name in ("cnn", "lenet", "quick_lenet")
    }
    assert truths["01-loop-accuracy"] == round(100 * found["quick_lenet"].value, 1)
    assert truths["01-lenet-accuracy"] == round(100 * found["lenet"].value, 1)
    left = (1 - found["cnn"].value) / (1 - found["lenet"].value)
    assert train_page["left"] == pytest.approx(left)
    words = ["hardly any left", "about half as many", "no fewer"]
    assert truths["01-errors-avoided"] == words[np.searchsorted([0.25, 0.75], left)]
    paired = metrics.mcnemar(test_set.labels, *train_page["answers"].values())
    assert train_page["paired"] == paired
    assert truths["01-told-apart"] == ("yes" if paired.p < 0.05 else "no")
    for name, row in zip(("cnn", "lenet"), train_page["table"].to_dict("records")):
        assert row == vars(found[name])


@pytest.mark.parametrize(
    "left, truth",
    [
        (0.2, "hardly any left"),
        (0.3, "about half as many"),
        (0.7, "about half as many"),
        (0.8, "no fewer"),
        (1.5, "no fewer"),
    ],
)
def test_how_many_errors_are_avoided(left, truth):
    scored = []
    run_cell("01_train_mnist_cnn", "truth = ", left=left, score=lambda *given: scored.append(given))
    assert scored == [("01-errors-avoided", truth)]


def test_what_01_counts_before_it_trains(train_page):
    sets = {name: train_page[f"{name}_set"] for name in ("train", "test")}
    for name, counted in train_page["counts"].items():
        assert [(sets[name].labels == digit).sum() for digit in range(10)] == counted.tolist()
    sizes = [metrics.count_parameters(network) for network in (LeNet(), MnistNet())]
    assert f"{sizes[1]:,} parameters" in train_page.printed
    ratio = f"{sizes[0]:,} weights, one for every {sizes[1] / sizes[0]:.0f} of MnistNet's"
    assert ratio in train_page.printed
    assert abs(train_page["x"].mean()) < 0.1 and abs(train_page["x"].std() - 1) < 0.1


def test_probabilities_by_hand(train_page):
    theirs = torch.softmax(torch.tensor([2.0, 1.0, -1.0]), 0)
    np.testing.assert_allclose(train_page["probabilities"], theirs, rtol=1e-6)
    assert "right class 1: probability 0.26, loss 1.35" in train_page.printed


def test_errors_are_counted_by_true_digit_and_by_answer(train_page):
    labels = train_page["test_set"].labels
    answers = train_page["answers"]["MnistNet"]
    wrong = answers != labels
    by_digit = train_page["by_digit"]
    for column, digits in (("missed", labels), ("falsely called so", answers)):
        np.testing.assert_array_equal(by_digit[column], np.bincount(digits[wrong], minlength=10))
    right = labels[~wrong]
    for column, digits in (("recall (%)", labels), ("precision (%)", answers)):
        shares = 100 * np.bincount(right, minlength=10) / np.bincount(digits, minlength=10)
        np.testing.assert_allclose(by_digit[column], shares, atol=0.51)
    chances = torch.softmax(torch.from_numpy(train_page["logits_of"]["MnistNet"]), 1).amax(1)
    surest = sorted(chances[np.flatnonzero(wrong)].tolist(), reverse=True)
    assert chances[train_page["worst"]].tolist() == surest[: len(train_page["worst"])]


def test_images_are_prepared_wrongly_as_their_names_say(train_page):
    images = train_page["test_set"].images[:100]
    labels = train_page["test_set"].labels[:100]
    moved = np.zeros_like(images)
    moved[:, :, 4:] = images[:, :, :-4]  # MNIST's digits are at least 4 pixels from the border
    prepared = {
        "as in training": images,
        "black on white": 255 - images,
        "4 pixels to the right": moved,
        "transposed": np.swapaxes(images, 1, 2),
    }
    for name, variant in prepared.items():
        for column, network in (("MnistNet (%)", "cnn"), ("LeNet (%)", "lenet")):
            answers = training.predict(train_page[network], variant).argmax(1)
            found = 100 * metrics.accuracy(labels, answers).value
            assert train_page["accuracies"].loc[name, column] == pytest.approx(found)
    for name, largest in (("0 to 1, not normalized", 1), ("0 to 255, not normalized", 255)):
        inputs = images[:, None] * (largest / 255)
        np.testing.assert_allclose(train_page["prepared"][name], inputs, rtol=1e-5, err_msg=name)


def test_the_curves_of_01(train_page):
    titled = {
        ax.get_title("left") or ax.get_title(): ax for f in train_page.figures for ax in f.axes
    }
    tested = titled["The test errors follow"].lines[0]
    np.testing.assert_allclose(tested.get_xydata(), [[50, 50], [100, 10]])
    first = train_page["gallery"]["1. as above"]
    assert first["test accuracy (%)"] == 100 * train_page["quick_accuracy"].value
    assert first["loss, last 20 steps"] == pytest.approx(np.mean(train_page["loop_losses"][-20:]))
    test_set = train_page["test_set"]
    logits = torch.from_numpy(training.predict(train_page["quick_lenet"], test_set.images))
    loss = F.cross_entropy(logits, torch.from_numpy(test_set.labels)).item()
    assert first["loss, test images"] == pytest.approx(loss)
    readings = [ax for title, ax in titled.items() if " reads a " in title]
    assert len(readings) == 2
    for ax in readings:
        assert sum(bar.get_height() for bar in ax.patches) == pytest.approx(100, abs=0.01)


def test_the_experiments_of_01_differ_as_they_should(train_page):
    images, labels = train_page["sorted_set"]
    assert (np.diff(labels) >= 0).all() and len(images) == 1280
    rates = {name: (rate, shuffled) for name, (_, rate, shuffled) in train_page["cases"].items()}
    assert rates == {
        "2. learning rate / 100": (pytest.approx(2e-3 / 100), True),
        "3. learning rate x 100": (pytest.approx(2e-3 * 100), True),
        "4. sorted, not shuffled": (2e-3, False),
    }
    plain = train_page["plain"]
    assert list(plain.index) == list(train_page["augmented"].index) == [3, 6]
    assert (plain.unseen != plain.seen).all()
    assert (plain.seen != train_page["augmented"].seen).all()


def test_a_run_is_summarized_by_its_last_losses(monkeypatch):
    names = train.summary.__globals__
    monkeypatch.setitem(names, "test_set", Images(np.zeros((1, 28, 28)), np.zeros(1), ""))
    monkeypatch.setitem(names, "mean_loss", lambda *_: 0.5)
    monkeypatch.setattr(training, "evaluate", lambda *_: SimpleNamespace(value=0.75))
    assert train.summary(torch.nn.Identity(), [9.0] * 20 + [1.0] * 20) == {
        "loss, last 20 steps": 1,
        "loss, test images": 0.5,
        "test accuracy (%)": 75,
    }


def test_the_time_left_is_that_of_the_epochs_left(monkeypatch):
    clock = iter([100.0, 100.0, 120.0])
    lines = []
    line = SimpleNamespace(update=lambda shown: lines.append(shown.data))
    names = train.progress_line.__globals__
    monkeypatch.setitem(names, "display", lambda *_, **__: line)
    monkeypatch.setitem(names, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    show = train.progress_line(10)
    show(0)
    show(2)
    assert lines[1] == "LeNet: epoch 3 of 10, about 80 s left."


def test_seen_and_unseen_losses_are_those_of_every_third_epoch(monkeypatch):
    few = (np.zeros((100, 28, 28), np.uint8), np.zeros(100, int))
    others = Images(np.ones((5, 28, 28), np.uint8), np.ones(5, int), "")

    def two_steps_per_epoch(model, images, labels, epochs, lr, augmented, watch):
        for step in range(1, 2 * epochs + 1):
            watch(step, [0.0] * step)

    for name, value in {
        "few_set": few,
        "few_images": 100,
        "few_epochs": 7,
        "batch_size": 64,
        "watched_set": others,
        "learn": two_steps_per_epoch,
        "mean_loss": lambda step, images, labels: 100 * int(images.max()) + step,
    }.items():
        monkeypatch.setitem(train.learn_from_few.__globals__, name, value)
    found = train.learn_from_few(augmented=False)
    assert found.to_dict() == {"seen": {3: 6, 6: 12}, "unseen": {3: 106, 6: 112}}


def test_the_loop_forgets_the_last_gradient(learn):
    """Two steps, against gradients that are computed from nothing each time."""
    images = np.random.default_rng(0).integers(0, 256, (8, 28, 28)).astype(np.uint8)
    labels = np.arange(8)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    reference = copy.deepcopy(network)
    learn(network, images, labels, epochs=1, lr=1e-2, shuffled=False)
    optimizer = torch.optim.AdamW(reference.parameters(), 1e-2)
    inputs = (torch.from_numpy(images[:, None]) / 255 - train.PIXEL_MEAN) / train.PIXEL_STD
    for part in (slice(0, 4), slice(4, 8)):
        loss = F.cross_entropy(reference(inputs[part]), torch.from_numpy(labels[part]))
        parameters = list(reference.parameters())
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters)):
            parameter.grad = gradient
        optimizer.step()
    for ours, theirs in zip(network.parameters(), reference.parameters()):
        torch.testing.assert_close(ours, theirs)


# first steps: Colab, the shopping list, minutes


def colab_cell():
    [cell] = [c for c in code_cells("00_start_here") if "colab" in c.metadata.get("tags", [])]
    return cell


def imported(source: str) -> set[str]:
    """The packages that `source` imports at any place."""
    nodes = list(ast.walk(ast.parse(source)))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names}


def test_the_colab_cell_needs_nothing_that_it_installs():
    assert colab_cell() == code_cells("00_start_here")[0], "before all other imports"
    assert imported(colab_cell().source) <= set(sys.stdlib_module_names)
    assert not colab_cell().outputs


def test_the_colab_cell_does_nothing_elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("it ran a program"))
    exec(colab_cell().source, {})
    assert not list(tmp_path.iterdir())
    assert str(tmp_path) == start.os.getcwd()


def test_in_colab_the_cell_installs_the_pins_once_the_address_is_known(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    folder = tmp_path / "workbook"
    calls = []

    def run(command, check, cwd=None):
        assert check, "a failed installation is noticed"
        calls.append((command, cwd))
        if command[0] == "git":
            (folder / "notebooks").mkdir(parents=True)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(ValueError, match="REPOSITORY"):
        start.install_in_colab(start.REPOSITORY, folder)
    assert calls == []
    address = "https://example.org/book"
    start.install_in_colab(address, folder)
    (clone, _), (pins, pins_in), (own, own_in) = calls
    assert clone == ["git", "clone", "--depth=1", address, str(folder)]
    assert pins[:4] == [sys.executable, "-m", "pip", "install"] == own[:4]
    file = pins[pins.index("-r") + 1]
    assert (ROOT / file).exists() and pins_in == own_in == folder
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"pip install -r {file} --extra-index-url {pins[-1]}" in readme
    assert "pip install " + " ".join(own[-3:]) in readme
    assert start.os.getcwd() == str(folder / "notebooks")
    start.install_in_colab(address, folder)
    assert [command[0] for command, _ in calls].count("git") == 1


def test_the_shopping_list_has_links_and_no_prices():
    text = "\n".join(
        cell.source for cell in nbformat.read(NOTEBOOKS / "00_start_here.ipynb", 4).cells
    )
    shopping = text.partition("### What to buy")[2].partition("\n#")[0]
    for part in ("board", "power supply", "card", "cooler", "camera"):
        [row] = re.findall(rf"^\| {part}[ ,].*", shopping, re.M)
        assert "](https://www.raspberrypi.com/" in row
    assert not re.search(r"[$€£]|\b(USD|EUR|euro|dollar)s?\b", shopping)


@pytest.mark.parametrize("name", ["00_start_here", "01_train_mnist_cnn"])
def test_the_minutes_of_the_sections_add_up(name):
    cells = nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4).cells
    sections = [c.source for c in cells if c.source.startswith("## ")]
    ends = ("## What we saw", "## Caveats", "## Exercises", "## References")
    found = {
        source.splitlines()[0]: re.search(r"\*(\d+) minutes, (must|optional)\.\*", source)
        for source in sections
        if not source.startswith(ends)
    }
    assert all(found.values()), found
    minutes = [(int(match[1]), match[2]) for match in found.values()]
    all_of_them = sum(count for count, _ in minutes)
    must = sum(count for count, kind in minutes if kind == "must")
    assert f"about {all_of_them} minutes to work through, {must} without" in cells[0].source
    [table] = [
        c.source
        for c in nbformat.read(NOTEBOOKS / "00_start_here.ipynb", 4).cells
        if "| Your time |" in c.source
    ]
    [row] = [line for line in table.splitlines() if re.match(rf"\| \[?{name[:2]}[\] ]", line)]
    assert f"| {all_of_them} min | must |" in row
