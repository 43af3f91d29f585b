"""Notebooks 00 and 01: their functions against those of libraries, and the figures they print."""

import copy
import re

import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from notebook_code import NOTEBOOKS, code_cells, definitions

from helpers import metrics
from helpers.models import LeNet, MnistNet

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


# first steps: the shopping list, minutes


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
