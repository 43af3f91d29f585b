"""Which model files a Pi gets: three networks, every runtime that a Pi has, float32 and int8. Notebook 08 compares them.

They are made on the laptop, where torch and the converters are; a Pi only opens them.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.paths import build

NETWORKS = {  # network: the shape of its input; 08's table has these rows first
    "mnist_cnn": (1, 1, 28, 28),
    "mobilenet_v2": (1, 3, 224, 224),
    "resnet18": (1, 3, 224, 224),
}
FORMS = {  # how a file's name goes on after the network's: the runtime that opens it, and what its numbers are
    ".onnx": ("ONNX Runtime", "float32"),
    "_int8_u8.onnx": ("ONNX Runtime", "int8, U8 activations"),  # quicker on x86 ...
    "_int8_s8.onnx": (
        "ONNX Runtime",
        "int8, S8 activations",
    ),  # ... which need not hold on Arm: the Pi gets both
    ".tflite": ("LiteRT", "float32"),
    "_int8.tflite": ("LiteRT", "int8"),
    ".ncnn.param": (
        "ncnn",
        "float32",
    ),  # ncnn's int8 needs tools that its Python package does not have
    ".mnn": ("MNN", "float32"),
    "_int8.mnn": ("MNN", "int8 weights"),  # stored as int8, computed with as float32
}
EXAMPLES = {  # six convolutions with one activation or the other between, which a quantizer knows or does not
    "six_convs_relu": (1, 3, 28, 28),
    "six_convs_gelu": (1, 3, 28, 28),
}
EXAMPLE_FORMS = (".onnx", "_int8_u8.onnx")
# integer operators with S8 activations, slow on x86: notebook 08 shows it, it does not race
SIGNED_OPERATORS = "_int8_s8_qoperator.onnx"
WITH_SIGNED_OPERATORS = ("mnist_cnn", "mobilenet_v2")
BATCHES = (1, 10, 100, 1000)  # MnistNet for so many images a call, for notebook 03
CALIBRATION_IMAGES = 200  # of all classes, for the trained network
NOISE_IMAGES = 8  # for networks with random weights, whose ranges nobody will judge by accuracy


@dataclass(frozen=True)
class ModelFile:
    """One model file: the network in it, the runtime that opens it, what its numbers are, and where it lies."""

    network: str
    runtime: str
    precision: str
    path: Path

    @property
    def parts(self) -> list[Path]:
        """The files on the disk: one, or two where ncnn keeps the weights beside the layers."""
        return [self.path, *([_weights(self.path)] if self.path.suffix == ".param" else [])]

    @property
    def exists(self) -> bool:
        """Whether all of it is there."""
        return all(part.exists() for part in self.parts)


def _weights(param: Path) -> Path:
    return param.with_suffix(".bin")


def files(networks: Sequence[str] = tuple(NETWORKS)) -> list[ModelFile]:
    """The model files of `networks`, of NETWORKS or EXAMPLES, whether they exist yet or not."""
    if unknown := set(networks) - set(NETWORKS) - set(EXAMPLES):
        raise ValueError(
            f"no network is called {', '.join(sorted(unknown))}; there are {', '.join(NETWORKS | EXAMPLES)}"
        )
    return [
        ModelFile(network, *FORMS[ending], build("models", network + ending))
        for network in networks
        for ending in (FORMS if network in NETWORKS else EXAMPLE_FORMS)
    ]


def facts() -> dict[str, dict]:
    """What make_missing counted: {network: {"parameters", "macs", "input_shape", "weights": "trained" or "random"}}.

    Empty where nothing was made yet. A Pi cannot count without torch and reads it here.
    """
    path = _facts_file()
    return json.loads(path.read_text()) if path.exists() else {}


def _facts_file() -> Path:
    return build("models", "networks.json")


def for_the_pi() -> list[Path]:
    """The files to copy to a Pi: every model file that exists, 03's batches, what facts() reads."""
    parts = [part for file in files([*NETWORKS, *EXAMPLES]) if file.exists for part in file.parts]
    parts += map(signed_operators_file, WITH_SIGNED_OPERATORS)
    return [path for path in [*parts, *map(_batch_file, BATCHES), _facts_file()] if path.exists()]


def signed_operators_file(network: str) -> Path:
    """Where the int8 file with integer operators and S8 activations of `network` is stored."""
    return build("models", network + SIGNED_OPERATORS)


def _batch_file(batch: int) -> Path:
    return build("models", f"mnist_cnn_batch{batch}.onnx")


def make_missing(
    networks: Sequence[str] = (*NETWORKS, *EXAMPLES), batches: Sequence[int] = BATCHES
) -> list[Path]:
    """Convert what is missing of `networks`, and mnist_cnn for `batches`; returns what was made.

    Also makes anew what is older than the checkpoint of a trained network. mobilenet_v2 and resnet18 have random
    weights: as fast as trained ones, and useless for accuracy. A file whose converter is not installed on this
    machine is left out and named. ImportError where torch is missing.
    """
    made: list[Path] = []
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "model files are made on the laptop, where torch is installed: "
            "`python -m helpers pi` copies them to the Pi"
        ) from error
    for name in networks:
        wanted = {file.path: file.parts for file in files([name])}
        more = [_batch_file(n) for n in batches] if name == "mnist_cnn" else []
        more += [signed_operators_file(name)] if name in WITH_SIGNED_OPERATORS else []
        wanted |= {path: [path] for path in more}
        missing = [
            path
            for path, parts in wanted.items()
            if not all(_is_current(name, part) for part in parts)
        ]
        if missing or name not in facts():
            made += _make(name, missing)
    return made


def _is_current(name: str, path: Path) -> bool:
    checkpoint = build("models", f"{name}.pt")
    return path.exists() and not (
        checkpoint.exists() and path.stat().st_mtime < checkpoint.stat().st_mtime
    )


def _make(name: str, missing: list[Path]) -> list[Path]:
    from helpers import metrics, models, training

    is_trained, made = name in models.BY_NAME, []
    if is_trained:
        network = training.trained(name)
    else:
        network = _six_convs(name) if name in EXAMPLES else models.torchvision_model(name)
        print(
            f"{name} has random weights: as fast as trained ones, and no accuracy is shown for it"
        )
    for path in missing:
        try:
            _convert(network, name, path)
            made.append(path)
        except (
            ImportError,
            FileNotFoundError,
        ) as error:  # such as litert-torch, which Windows has not
            print(f"{path.name} is left out: {error}")
    shape = (NETWORKS | EXAMPLES)[name]
    counted = {
        "parameters": metrics.count_parameters(network),
        "macs": metrics.count_macs(network, shape),
        "input_shape": shape,
        "weights": "trained" if is_trained else "random",
    }
    scratch = _facts_file().with_suffix(".part")
    scratch.write_text(json.dumps(facts() | {name: counted}, indent=1))
    os.replace(scratch, _facts_file())
    return made


def _six_convs(name: str):
    import torch
    from torch import nn

    activation = nn.ReLU if name.endswith("relu") else nn.GELU
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 32, 3, padding=1)] + [
            nn.Conv2d(32, 32, 3, padding=1) for _ in range(5)
        ]
        return nn.Sequential(*(part for layer in layers for part in (layer, activation()))).eval()


def _convert(network, name: str, path: Path) -> None:
    """Write one file; int8 forms and MNN's start from the float32 file, which FORMS has before them."""
    import torch

    from helpers import convert

    def float_file(ending: str) -> Path:
        source = build("models", name + ending)
        if not source.exists():
            raise FileNotFoundError(f"it is made from {source.name}, which is missing")
        return source

    converters: dict[str, Callable[[], Path]] = {
        ".onnx": lambda: convert.to_onnx(network, example, path),
        "_int8_u8.onnx": lambda: convert.to_onnx_int8(
            float_file(".onnx"), path, _calibration(name), unsigned_activations=True
        ),
        "_int8_s8.onnx": lambda: convert.to_onnx_int8(
            float_file(".onnx"), path, _calibration(name), unsigned_activations=False
        ),
        SIGNED_OPERATORS: lambda: convert.to_onnx_int8(
            float_file(".onnx"), path, _calibration(name), qdq=False, unsigned_activations=False
        ),
        ".tflite": lambda: convert.to_tflite(network, example, path),
        "_int8.tflite": lambda: convert.to_tflite_int8(
            float_file(".tflite"), path, _calibration(name)
        ),
        ".ncnn.param": lambda: convert.to_ncnn(network, example, path),
        ".mnn": lambda: convert.to_mnn(float_file(".onnx"), path),
        "_int8.mnn": lambda: convert.to_mnn(float_file(".onnx"), path, weight_bits=8),
    }
    example, ending = torch.zeros((NETWORKS | EXAMPLES)[name]), path.name.removeprefix(name)
    if ending.startswith("_batch"):
        example, ending = (
            example.repeat(int(ending.removeprefix("_batch").removesuffix(".onnx")), 1, 1, 1),
            ".onnx",
        )
    converters[ending]()


def _calibration(name: str):
    """Images from which int8 takes its ranges, float32 N x channels x height x width."""
    import numpy as np

    from helpers.data import mnist, normalize

    if name == "mnist_cnn":
        return normalize(mnist("train").images[:CALIBRATION_IMAGES])
    return np.random.default_rng(0).standard_normal(
        (NOISE_IMAGES, *(NETWORKS | EXAMPLES)[name][1:]), np.float32
    )
