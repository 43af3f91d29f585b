"""Half precision on an emulated Pi 4 and Pi 5, beside the same networks in numpy's float16.

Run it with `pytest -s tests/emulated_half.py`. A Pi 5's processor computes in float16 (`asimdhp`),
a Pi 4's only converts it to float32 and back. Compared are answers, never times.
"""

import json
from dataclasses import dataclass

import emulated_pi
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from torch import nn

from helpers import convert, metrics
from helpers.bench.entrants import HALF
from helpers.data import mnist, normalize
from helpers.runtimes import open_model

pytestmark = pytest.mark.skipif(bool(emulated_pi.missing()), reason=str(emulated_pi.missing()))
LAYERS = {"lenet": 5, "mnist_cnn": 4}  # those with weights
NETWORKS = tuple(LAYERS)
CHANGED = 0.02  # of the answers, half of them hard ones, may differ between a Pi and numpy
UNIT = 2.0**-11  # float16 has 11 significant bits: rounding changes a number by this share at most
HARD = 100  # images for which the float32 network decides by the narrowest margins ...
OTHERS = 100  # ... and some of the others

ARITHMETIC = dict(HALF["ncnn"])
STORAGE = ARITHMETIC | {"fp16_arithmetic": False}
FORMS = {  # the file's suffix and the runtime's settings
    "ncnn, float32": ("ncnn.param", {}),
    "ncnn, storage": ("ncnn.param", STORAGE),
    "ncnn, arithmetic": ("ncnn.param", ARITHMETIC),
    "MNN, float32": ("mnn", {}),
    "MNN, low": ("mnn", dict(HALF["MNN"])),
}

RUN = """
import json, os, sys
from pathlib import Path
import numpy as np
from helpers.runtimes import open_model
from modelfiles.runtimes import options

folder, answers = map(Path, sys.argv[1:3])
found = {}
for name, images, file, settings in json.loads(sys.argv[3]):
    os.environ[options.VARIABLE] = json.dumps(settings)
    found[name] = open_model(folder / file).predict(np.load(folder / images))
np.savez(answers, **found)
"""


@dataclass(frozen=True)
class Numbers:
    """Which numbers of a network are float16."""

    activations: bool = False  # images too
    convolutions: bool = False  # their weights
    sums: bool = False  # every partial sum of a layer, instead of one float32 sum


DENSE_WEIGHTS = Numbers()  # ncnn on a Pi 4: of the weights, only those of dense layers
STORED = Numbers(activations=True, convolutions=True)
COMPUTED = Numbers(activations=True, convolutions=True, sums=True)
# what a runtime does with a setting on a processor; None is float32
EXPECTED = {
    ("cortex-a72", "ncnn, storage"): DENSE_WEIGHTS,
    ("cortex-a72", "ncnn, arithmetic"): DENSE_WEIGHTS,
    ("cortex-a72", "MNN, low"): None,
    ("cortex-a76", "ncnn, storage"): STORED,
    ("cortex-a76", "ncnn, arithmetic"): COMPUTED,
    ("cortex-a76", "MNN, low"): COMPUTED,
}


def half(values: np.ndarray, rounded: bool = True) -> np.ndarray:
    """`values` as float32, rounded to float16 before."""
    return values.astype(np.float16 if rounded else np.float32).astype(np.float32)


def in_numpy(network: nn.Sequential, x: np.ndarray, numbers: Numbers) -> np.ndarray:
    """The logits of `network` for the images `x`, with `numbers` as float16."""
    x = half(x, numbers.activations)
    for layer in network:
        match layer:
            case nn.Conv2d(kernel_size=(size, _)):
                windows = sliding_window_view(x, (size, size), axis=(2, 3))
                n, _, height, width = windows.shape[:4]
                rows = windows.transpose(0, 2, 3, 1, 4, 5).reshape(n * height * width, -1)
                sums = weighted(layer, rows, numbers, numbers.convolutions)
                x = sums.reshape(n, height, width, -1).transpose(0, 3, 1, 2)
            case nn.Linear():
                x = weighted(layer, x, numbers, True)
            case nn.ReLU():
                x = np.maximum(x, 0)
            case nn.MaxPool2d(kernel_size=size):
                n, channels, height, width = x.shape
                blocks = (n, channels, height // size, size, width // size, size)
                x = x.reshape(blocks).max((3, 5))
            case nn.Flatten():
                x = x.reshape(len(x), -1)
            case nn.Dropout():
                pass
            case _:
                raise TypeError(f"{layer} is unknown here")
    return x


def weighted(layer: nn.Module, rows: np.ndarray, numbers: Numbers, rounded: bool) -> np.ndarray:
    """The outputs of a convolution or dense layer; a row holds the inputs of one output pixel.

    The weights are float16 if `rounded`.
    """
    weights = layer.weight.detach().numpy()
    weights = half(weights.reshape(len(weights), -1).T, rounded)
    bias = np.zeros(weights.shape[1], np.float32)
    if layer.bias is not None:
        bias = layer.bias.detach().numpy()
    if not numbers.sums:
        return half(rows @ weights + bias, numbers.activations)
    # blocks of rows stay in the processor's cache
    blocks = np.array_split(rows, max(1, len(rows) // 1000))
    return np.concatenate([half_sums(block, weights, bias) for block in blocks])


def half_sums(rows: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Each product is added and the sum rounded to float16 (a fused multiply-add)."""
    total = np.tile(half(bias), (len(rows), 1))
    for column, row in zip(rows.T, weights, strict=True):
        # float32 holds the product of two float16 numbers exactly
        total = half(total + column[:, None] * row)
    return total


def margins(logits: np.ndarray) -> np.ndarray:
    """How far each image's largest logit is above the second."""
    second, first = np.sort(logits, axis=1)[:, -2:].T
    return first - second


@pytest.fixture(scope="module")
def cases(quick_networks, tmp_path_factory):
    """The folder of files and images, and {network: (images, logits in float32 here)}."""
    import torch

    folder = tmp_path_factory.mktemp("half")
    example = torch.zeros(1, 1, 28, 28)
    x = normalize(mnist("test").images)
    found = {}
    for name in NETWORKS:
        onnx_file = convert.to_onnx(quick_networks[name], example, folder / f"{name}.onnx")
        convert.to_ncnn(quick_networks[name], example, folder / f"{name}.ncnn.param")
        convert.to_mnn(onnx_file, folder / f"{name}.mnn")
        logits = open_model(onnx_file).predict(x)
        order = margins(logits).argsort(kind="stable")
        others = np.linspace(HARD, len(order) - 1, OTHERS).astype(int)
        chosen = np.concatenate([order[:HARD], order[others]])
        np.save(folder / f"{name}.npy", x[chosen])
        found[name] = x[chosen], logits[chosen]
    return folder, found


@pytest.fixture(scope="module")
def references(quick_networks, cases):
    """A function of a network's name and Numbers: the logits in numpy. Each is computed once."""
    known = {}

    def find(name: str, numbers: Numbers | None) -> np.ndarray:
        x, exact = cases[1][name]
        if numbers is None:
            return exact
        if (name, numbers) not in known:
            known[name, numbers] = in_numpy(quick_networks[name], x, numbers)
        return known[name, numbers]

    return find


@pytest.fixture(scope="module", params=emulated_pi.CPUS)
def answers(request, cases, tmp_path_factory):
    """A processor, and {(network, form): logits there}."""
    jobs = [
        (f"{name}: {form}", f"{name}.npy", f"{name}.{suffix}", settings)
        for name in NETWORKS
        for form, (suffix, settings) in FORMS.items()
    ]
    file = tmp_path_factory.mktemp(request.param) / "answers.npz"
    done = emulated_pi.run(request.param, "-c", RUN, cases[0], file, json.dumps(jobs))
    assert done.returncode == 0, done.stderr
    with np.load(file) as found:
        return request.param, {
            (name, form): found[f"{name}: {form}"] for name in NETWORKS for form in FORMS
        }


@pytest.mark.parametrize("name", NETWORKS)
def test_a_pi_computes_as_numpy_does(name, answers, references, cases):
    """The same differences from float32 and as many changed answers as in numpy's float16.

    Only the order of the sums is another. So a logit may be off by one rounding per layer, each at
    most UNIT of the largest logit.
    """
    cpu, found = answers
    x, exact = cases[1][name]
    tolerance = LAYERS[name] * UNIT * np.abs(exact).max()
    print(f"\n{cpu}, {name}, {len(x)} images: logits up to {np.abs(exact).max():.1f}")
    print(f"{LAYERS[name]} roundings: {tolerance:.4f}")
    rows = {}
    for (where, form), numbers in EXPECTED.items():
        if where == cpu:
            rows[form] = found[name, form], references(name, numbers)
    for form, (there, here) in rows.items():
        sizes = [metrics.largest_difference(logits, exact) for logits in (there, here)]
        changed = [metrics.count_disagreements(logits, exact) for logits in (there, here)]
        apart = metrics.largest_difference(there, here)
        print(
            f"{form:17} largest difference {sizes[0]:.1e}, numpy {sizes[1]:.1e}; answers changed "
            f"{changed[0]}, numpy {changed[1]}; from numpy {apart:.1e}"
        )
    for form, (there, here) in rows.items():
        assert metrics.largest_difference(there, here) <= tolerance, form
        runtime = form.split(",")[0]
        is_float32 = (there == found[name, f"{runtime}, float32"]).all()
        assert is_float32 == (EXPECTED[cpu, form] is None), form
        # an answer can change only where its margin is within twice the difference
        reach = metrics.largest_difference(here, exact) + tolerance
        changed = there.argmax(axis=1) != here.argmax(axis=1)
        assert (margins(exact)[changed] <= 2 * reach).all(), form
        assert changed.sum() <= CHANGED * len(x), form
