"""Half precision on an emulated Pi 4 and Pi 5, beside the same networks in numpy's float16.

Run it with `pytest -s tests/emulated_half.py`. A Pi 5's processor computes in float16 (`asimdhp`),
a Pi 4's only converts it to float32 and back. Compared are answers, never times.
"""

import json
from dataclasses import dataclass, replace
from itertools import combinations

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
# float16 sums differ by their order, which a runtime chooses. These are orders of a sum's n terms;
# how far the logits of two of them are apart, at most, is the `spread`.
ORDERS = {
    "as written": np.arange,
    "reversed": lambda n: np.arange(n)[::-1],
    "shuffled": lambda n: np.random.default_rng(1).permutation(n),
    "shuffled again": lambda n: np.random.default_rng(2).permutation(n),
}
# A Pi's logits are at most so many spreads from numpy's nearest ones. MNN computes convolutions by
# Winograd's method, which transforms inputs, weights and sums, and rounds there too. So its float32
# is more than ten times further from ONNX Runtime's than ncnn's is (see the table).
SPREADS = {"ncnn": 2, "MNN": 4}
RANGE = 4  # a Pi's largest difference from float32 may be so many times numpy's, or a part of it
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
    order: str | None = None  # every partial sum, in this one of ORDERS; None: a float32 sum


DENSE_WEIGHTS = Numbers()  # ncnn on a Pi 4: of the weights, only those of dense layers
STORED = Numbers(activations=True, convolutions=True)
COMPUTED = tuple(replace(STORED, order=order) for order in ORDERS)
# what a runtime does with a setting on a processor, in each order of the sums; None is float32
EXPECTED: dict[tuple[str, str], tuple[Numbers | None, ...]] = {
    **{(cpu, f"{runtime}, float32"): (None,) for cpu in emulated_pi.CPUS for runtime in SPREADS},
    ("cortex-a72", "ncnn, storage"): (DENSE_WEIGHTS,),
    ("cortex-a72", "ncnn, arithmetic"): (DENSE_WEIGHTS,),
    ("cortex-a72", "MNN, low"): (None,),
    ("cortex-a76", "ncnn, storage"): (STORED,),
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
    if numbers.order is None:
        return half(rows @ weights + bias, numbers.activations)
    # the bias is a term like the others, with the input 1; it is the first of those as written
    order = ORDERS[numbers.order](len(weights) + 1)
    rows = np.column_stack([np.ones(len(rows), np.float32), rows])[:, order]
    weights = np.vstack([half(bias), weights])[order]
    # blocks of rows stay in the processor's cache
    blocks = np.array_split(rows, max(1, len(rows) // 1000))
    return np.concatenate([half_sums(block, weights) for block in blocks])


def half_sums(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Each product is added and the sum rounded to float16 (a fused multiply-add)."""
    total = np.zeros((len(rows), weights.shape[1]), np.float32)
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


@dataclass(frozen=True)
class Row:
    """A form's logits on a Pi, beside numpy's in each order and those in float32."""

    form: str
    there: np.ndarray
    orders: tuple[np.ndarray, ...]
    exact: np.ndarray
    rounding: float  # one per layer, each at most UNIT of the largest logit

    @property
    def nearest(self) -> np.ndarray:
        return min(self.orders, key=lambda here: metrics.largest_difference(self.there, here))

    @property
    def apart(self) -> float:
        return metrics.largest_difference(self.there, self.nearest)

    @property
    def spread(self) -> float:
        """With float32 sums, a result may just be rounded to the other side."""
        if len(self.orders) == 1:
            return self.rounding
        return max(metrics.largest_difference(*pair) for pair in combinations(self.orders, 2))

    @property
    def tolerance(self) -> float:
        """Of `apart`."""
        if len(self.orders) == 1:
            return self.spread
        return SPREADS[self.form.split(",")[0]] * self.spread

    @property
    def sizes(self) -> tuple[float, float, float]:
        """The largest difference from float32: on the Pi, numpy's smallest, numpy's largest."""
        sizes = [metrics.largest_difference(here, self.exact) for here in self.orders]
        return metrics.largest_difference(self.there, self.exact), min(sizes), max(sizes)

    def __str__(self) -> str:
        pi, low, high = self.sizes
        changed = [
            metrics.count_disagreements(logits, self.exact) for logits in (self.there, self.nearest)
        ]
        return (
            f"{self.form:17} {pi:10.1e} {low:10.1e} {high:10.1e} {changed[0]:8} {changed[1]:8} "
            f"{self.apart:10.1e} {self.spread:10.1e} {self.apart / self.spread:8.2f} "
            f"{self.tolerance / self.spread:8.0f}"
        )


@pytest.mark.parametrize("name", NETWORKS)
def test_a_pi_computes_as_numpy_does(name, answers, references, cases):
    """The same differences from float32 and as many changed answers as in numpy's float16.

    Only the order of the sums is another, and with it their roundings.
    """
    cpu, found = answers
    x, exact = cases[1][name]
    rounding = LAYERS[name] * UNIT * float(np.abs(exact).max())
    rows = []
    for (where, form), networks in EXPECTED.items():
        if where == cpu:
            orders = tuple(references(name, numbers) for numbers in networks)
            rows.append(Row(form, found[name, form], orders, exact, rounding))
    print(f"\n{cpu}, {name}, {len(x)} images: logits up to {np.abs(exact).max():.1f}")
    print(f"{'':17} {'from float32':^32} {'changed answers':^17} {'from the nearest of numpy':^39}")
    heads = ("Pi", "numpy from", "to", "Pi", "numpy", "by", "spread", "spreads", "allowed")
    widths = (10, 10, 10, 8, 8, 10, 10, 8, 8)
    titles = [f"{head:>{width}}" for head, width in zip(heads, widths, strict=True)]
    print(" " * 17, *titles)
    print(*rows, sep="\n")
    for row in rows:
        assert row.apart <= row.tolerance, row.form
        pi, low, high = row.sizes
        runtime = row.form.split(",")[0]
        is_float32 = (row.there == found[name, f"{runtime}, float32"]).all()
        if EXPECTED[cpu, row.form] == (None,):
            assert is_float32, row.form
        else:
            assert not is_float32, row.form
            assert low / RANGE <= pi <= high * RANGE, row.form
        if EXPECTED[cpu, row.form] == (DENSE_WEIGHTS,):  # float32 sums of them, not rounded
            assert row.apart <= pi / 10, row.form
        # an answer can change only where its margin is within twice the difference
        changed = row.there.argmax(axis=1) != row.nearest.argmax(axis=1)
        reach = metrics.largest_difference(row.nearest, exact) + row.tolerance
        assert (margins(exact)[changed] <= 2 * reach).all(), row.form
        assert changed.sum() <= CHANGED * len(x), row.form
    stored, computed = (found[name, f"ncnn, {form}"] for form in ("storage", "arithmetic"))
    assert (stored == computed).all() == (cpu == "cortex-a72")  # it has no float16 arithmetic
