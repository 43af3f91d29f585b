"""The model files for a Pi: three networks, every runtime that a Pi has, float32 and int8.

The laptop creates them, because it has torch and the converters; a Pi only opens them. Notebook 08
compares them.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from helpers.paths import build_path, locked, whole_file
from modelfiles.errors import WrongAnswers

NETWORKS = {  # network: the shape of its input; 08's table has these rows first
    "mnist_cnn": (1, 1, 28, 28),
    "mobilenet_v2": (1, 3, 224, 224),
    "resnet18": (1, 3, 224, 224),
}
# suffix after the network's name: the runtime that opens the file, and its precision
VARIANTS = {
    ".onnx": ("ONNX Runtime", "float32"),
    # U8 is faster on x86, but perhaps not on Arm: the Pi gets both
    "_int8_u8.onnx": ("ONNX Runtime", "int8, U8 activations"),
    "_int8_s8.onnx": ("ONNX Runtime", "int8, S8 activations"),
    ".tflite": ("LiteRT", "float32"),
    "_int8.tflite": ("LiteRT", "int8"),
    # float32 only: int8 needs tools that ncnn's Python package does not have
    ".ncnn.param": ("ncnn", "float32"),
    ".mnn": ("MNN", "float32"),
    "_int8.mnn": ("MNN", "int8 weights"),  # stored as int8, computed as float32
}
# six convolutions with an activation that the quantizer supports (ReLU) or does not (GELU)
TOY_NETWORKS = {
    "six_convs_relu": (1, 3, 28, 28),
    "six_convs_gelu": (1, 3, 28, 28),
}
_INPUT_SHAPES = NETWORKS | TOY_NETWORKS
TOY_VARIANTS = (".onnx", "_int8_u8.onnx")
SIGNED_OPERATORS = "_int8_s8_qoperator.onnx"  # slow on x86: 08 explains but does not rank it
WITH_SIGNED_OPERATORS = ("mnist_cnn", "mobilenet_v2")
# files that notebooks 06 and 07 write: the depthwise network in float32, after PTQ and after QAT
DEPTHWISE = {
    "float32": ("ptq", "depthwise.onnx"),
    "int8, PTQ": ("qat", "depthwise_ptq_int8.onnx"),
    "int8, QAT": ("qat", "depthwise_int8.onnx"),
}
# images per call of notebook 03's files of MnistNet, and the runtimes that run such batches
BATCH_SUFFIXES = {
    1: (".onnx",),  # other files for one image are those of VARIANTS
    10: (".onnx", ".tflite", ".mnn"),
    1000: (".onnx", ".tflite", ".mnn"),
}
BATCHES = tuple(BATCH_SUFFIXES)
CALIBRATION_IMAGES = 200  # of all classes, for the trained network
NOISE_IMAGES = 8  # for networks with random weights, whose accuracy is not measured


@dataclass(frozen=True)
class ModelFile:
    """One model file: the network in it, the runtime that opens it, its precision and its path."""

    network: str
    runtime: str
    precision: str
    path: Path

    @property
    def parts(self) -> list[Path]:
        """The files on disk: see parts_of."""
        return parts_of(self.path)

    @property
    def exists(self) -> bool:
        """Whether all its parts exist."""
        return all(part.exists() for part in self.parts)


def parts_of(path: Path) -> list[Path]:
    """The files of a model: one, or two for ncnn, which stores layers and weights separately."""
    if path.suffix == ".param":
        return [path, path.with_suffix(".bin")]
    return [path]


def files(networks: Sequence[str] = tuple(NETWORKS)) -> list[ModelFile]:
    """The model files of `networks`, names in NETWORKS or TOY_NETWORKS, existing or not.

    ValueError for other names.
    """
    if unknown := set(networks) - set(NETWORKS) - set(TOY_NETWORKS):
        raise ValueError(
            f"no network is called {', '.join(sorted(unknown))}; "
            f"there are {', '.join(_INPUT_SHAPES)}"
        )
    return [
        ModelFile(network, *VARIANTS[suffix], build_path("models", network + suffix))
        for network in networks
        for suffix in (VARIANTS if network in NETWORKS else TOY_VARIANTS)
    ]


def network_info() -> dict[str, dict]:
    """What build_missing counted: {network: {"parameters", "macs", "input_shape", "weights"}}.

    "weights" is "trained", "published" or "random". The result is empty if no file was built yet.
    A Pi cannot count without torch, so it reads the stored numbers.
    """
    path = _network_info_file()
    return json.loads(path.read_text()) if path.exists() else {}


def _network_info_file() -> Path:
    return build_path("models", "networks.json")


def deployable_files() -> list[Path]:
    """The files to copy to a Pi: existing model files, 03's batches, what 07 and 08 wrote."""
    paths = [path for file in files(list(_INPUT_SHAPES)) if file.exists for path in file.parts]
    paths += map(signed_operators_file, WITH_SIGNED_OPERATORS)
    paths += [path for batch in BATCHES for path in _batch_files(batch)]
    paths += [build_path("models", *place) for place in DEPTHWISE.values()]
    paths += [_network_info_file(), build_path("models", "laptop_answers.json")]
    return [path for path in paths if path.exists()]


def signed_operators_file(network: str) -> Path:
    """The path of the int8 file of `network` with integer operators and S8 activations."""
    return build_path("models", network + SIGNED_OPERATORS)


def _batch_files(batch: int) -> list[Path]:
    stem = f"mnist_cnn_batch{batch}"
    return [build_path("models", stem + suffix) for suffix in BATCH_SUFFIXES[batch]]


def build_missing(
    networks: Sequence[str] = (*NETWORKS, *TOY_NETWORKS), batches: Sequence[int] = BATCHES
) -> list[Path]:
    """Convert the missing files of `networks`, and of mnist_cnn for `batches`; return new paths.

    Files older than the checkpoint of a trained network are recreated. mobilenet_v2 has published
    weights where its file can be had (see vision.mobilenet), else random ones like resnet18: as
    fast, but useless for accuracy. A file is skipped, with a message, if its converter is not
    installed or its answers are wrong. ImportError if torch is missing.
    """
    made: list[Path] = []
    try:
        import torch  # noqa: F401  (only whether it is installed)
    except ImportError as error:
        raise ImportError(
            "creating model files needs torch: create them on the laptop; "
            "`workbook pi` copies them to the Pi"
        ) from error
    for name in networks:
        wanted = {file.path: file.parts for file in files([name])}
        if name == "mnist_cnn":
            wanted |= {path: [path] for batch in batches for path in _batch_files(batch)}
        if name in WITH_SIGNED_OPERATORS:
            path = signed_operators_file(name)
            wanted[path] = [path]
        with locked(_network_info_file()):
            missing = [path for path, parts in wanted.items() if not are_current(name, parts)]
            if missing or name not in network_info():
                made += _make(name, missing)
    return made


def are_current(name: str, paths: list[Path]) -> bool:
    """Whether all files exist and are as new as the checkpoint of the network, if it has one."""
    if not all(path.exists() for path in paths):
        return False
    checkpoint = build_path("models", f"{name}.pt")
    if not checkpoint.exists():
        return True
    return all(path.stat().st_mtime >= checkpoint.stat().st_mtime for path in paths)


def _make(name: str, missing: list[Path]) -> list[Path]:
    from torch.fx.experimental.optimization import fuse

    from helpers import metrics, models, training
    from helpers.vision import mobilenet

    weights = "trained" if name in models.BY_NAME else "random"
    if weights == "trained":
        network = training.trained(name)
    elif name in TOY_NETWORKS:
        network = _six_convs(name)
    elif name == "mobilenet_v2":
        network, weights = mobilenet.published_or_random()
    else:
        network = models.torchvision_model(name)
    if weights == "random":
        print(f"{name} has random weights: as fast as trained ones, and its accuracy is not shown")
    # converters fold batch normalizations too, but take twice as long
    folded = network if weights == "trained" else fuse(network)
    made = []
    for path in missing:
        try:
            _convert(folded, name, path)
            made.append(path)
        # litert-torch is missing on Windows; MobileNetV2 loses much with int8 weights in MNN
        except (ImportError, FileNotFoundError, WrongAnswers) as error:
            print(f"{path.name} is skipped: {error}".partition("\n")[0])
    shape = _INPUT_SHAPES[name]
    counted = {
        "parameters": metrics.count_parameters(network),
        "macs": metrics.count_macs(network, shape),
        "input_shape": shape,
        "weights": weights,
    }
    with whole_file(_network_info_file()) as part:
        part.write_text(json.dumps(network_info() | {name: counted}, indent=1))
    return made


def _six_convs(name: str):
    import torch
    from torch import nn

    activation = nn.ReLU if name.endswith("relu") else nn.GELU
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 32, 3, padding=1)]
        layers += [nn.Conv2d(32, 32, 3, padding=1) for _ in range(5)]
        parts = [part for layer in layers for part in (layer, activation())]
        return nn.Sequential(*parts).eval()


def _convert(network, name: str, path: Path) -> None:
    """Write one file. int8 and MNN files are made from a float32 file, which is written first."""
    import torch

    from modelfiles.conversion import variants

    # NAME_batch10.onnx takes ten images per call, NAME.onnx one
    [(batch, suffix)] = re.findall(r"^(?:_batch(\d+))?(.+)", path.name.removeprefix(name))
    example = torch.zeros(_INPUT_SHAPES[name]).repeat(int(batch or 1), 1, 1, 1)
    stem = path.with_name(path.name.removesuffix(suffix))
    variants.write(stem, suffix, network, example, partial(_calibration, name))


def _calibration(name: str):
    """Images to calibrate int8 ranges, float32 N x channels x height x width."""
    import numpy as np

    from helpers.data import mnist, normalize
    from helpers.vision import mobilenet

    if name == "mnist_cnn":
        return normalize(mnist("train").images[:CALIBRATION_IMAGES])
    if name == "mobilenet_v2":
        return mobilenet.calibration_images(NOISE_IMAGES)
    shape = (NOISE_IMAGES, *_INPUT_SHAPES[name][1:])
    return np.random.default_rng(0).standard_normal(shape, np.float32)
