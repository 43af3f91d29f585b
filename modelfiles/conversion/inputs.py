"""Check networks, examples and calibration images before a converter gets them."""

import copy
from dataclasses import dataclass

import numpy as np
import torch

from modelfiles.errors import ConversionError, reason

MANY_IMAGES = 100  # of one call: several calls of so many take seconds


@dataclass(frozen=True)
class Reference:
    """A copy of a network, ready to convert, and its outputs.

    `images` are the example and random images, float32: several calls of the example's shape.
    `answers` are the network's outputs for all of them. `is_quantized` is whether it contains
    quantize operators.
    """

    network: torch.nn.Module
    example: torch.Tensor
    images: np.ndarray
    answers: np.ndarray
    is_quantized: bool


class _KeepsInput(torch.nn.Module):
    """Give a network that modifies its input a copy of it."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.training = False
        self.network = network

    def forward(self, x: torch.Tensor) -> object:
        return self.network(x.clone())


def reference(network: torch.nn.Module, example: torch.Tensor) -> Reference:
    """Copy `network`, set the copy to eval mode, and run it on `example` and on random images.

    Neither argument is changed. Raises ConversionError if one of them cannot be used.
    """
    check_example(example)
    example = example.detach().cpu().clone()
    network = _in_eval_mode(network)
    _check_batch_axis(network, example)
    quantized = is_quantized(network)
    pairs = _answers(network, example)
    if any(not torch.equal(before, after) for before, after, _ in pairs):
        network = _KeepsInput(network)
    return Reference(
        network,
        example,
        np.concatenate([before.numpy() for before, _, _ in pairs]),
        np.concatenate([answer for _, _, answer in pairs]),
        quantized,
    )


def check_example(example: torch.Tensor) -> None:
    """Raise ConversionError unless `example` is finite float32 with N as the first axis."""
    if not isinstance(example, torch.Tensor):
        found = type(example).__name__
        raise ConversionError(f"The example must be a float32 tensor, not {found}.")
    if example.dtype != torch.float32 or example.ndim < 2 or not example.numel():
        raise ConversionError(
            "The example must be float32, N x channels x height x width or N x features, not "
            f"{_described(example)}."
        )
    if not torch.isfinite(example).all():
        raise ConversionError("The example contains NaN or infinity.")


def _check_batch_axis(network: torch.nn.Module, example: torch.Tensor) -> None:
    """Raise ConversionError for one image without its batch axis, which 2-D layers also take."""
    kinds = [type(layer).__name__ for layer in network.modules()]
    if example.ndim == 3 and any(kind.endswith("2d") for kind in kinds):
        raise ConversionError(
            f"The images must be N x channels x height x width, not {_described(example)}."
        )


def _described(example: torch.Tensor) -> str:
    return f"{str(example.dtype).removeprefix('torch.')} {tuple(example.shape)}"


def one_call(calibration: np.ndarray) -> tuple[int | None, ...]:
    """The shape of the input of a network that takes one of these examples per call."""
    axes = getattr(calibration, "ndim", 4)
    return (1, *[None] * (max(axes, 2) - 1))


def check_calibration(images: np.ndarray, shape: tuple[int | None, ...]) -> None:
    """Raise ConversionError unless `images` can calibrate a network whose input is `shape`, NCHW.

    None in `shape` is a free size. A network that takes several images per call needs whole calls.
    """
    if not isinstance(images, np.ndarray):
        raise ConversionError(
            f"Calibration images must be a numpy array, not {type(images).__name__}."
        )
    wanted = " x ".join(str(size or "any") for size in shape[1:])
    found = f"{images.dtype} {images.shape}"
    fits = all(size in (None, given) for size, given in zip(shape[1:], images.shape[1:]))
    if images.dtype != np.float32 or images.ndim != len(shape) or not fits:
        raise ConversionError(f"Calibration images must be float32, N x {wanted}, not {found}.")
    if not len(images):
        raise ConversionError("The calibration images are empty.")
    if len(images) % (shape[0] or 1):
        raise ConversionError(
            f"The network takes {shape[0]} images per call, and {len(images)} calibration images "
            "are not a multiple of that."
        )
    if not np.isfinite(images).all():
        bad = np.flatnonzero(~np.isfinite(images).reshape(len(images), -1).all(axis=1))
        raise ConversionError(
            f"{len(bad)} of {len(images)} calibration images contain NaN or infinity; "
            f"the first is images[{bad[0]}]."
        )


def is_quantized(network: torch.nn.Module) -> bool:
    """Whether `network` is a graph with quantize operators, such as quantize_pt2e returns."""
    if not isinstance(network, torch.fx.GraphModule):
        return False
    return any("quantized_decomposed" in str(node.target) for node in network.graph.nodes)


def _in_eval_mode(network: torch.nn.Module) -> torch.nn.Module:
    """A copy of `network` on the CPU in eval mode."""
    if not isinstance(network, torch.nn.Module):
        raise ConversionError(
            f"The network must be a torch.nn.Module, not {type(network).__name__}."
        )
    try:
        network = copy.deepcopy(network).cpu()
    except Exception as error:
        raise ConversionError(f"The network cannot be copied: {reason(error)}") from error
    try:
        return network.eval()
    except NotImplementedError:  # a graph from torch.export has no train and eval modes
        from torchao.quantization.pt2e import move_exported_model_to_eval

        return move_exported_model_to_eval(network)


def some_calls(images: np.ndarray, batch: int, limit: int) -> np.ndarray:
    """At most `limit` of `images`, evenly spread, in whole calls of `batch` images."""
    calls = images.reshape(len(images) // batch, batch, *images.shape[1:])
    chosen = np.linspace(0, len(calls) - 1, min(len(calls), max(1, limit // batch))).astype(int)
    return calls[chosen].reshape(-1, *images.shape[1:])


def random_images(shape: tuple[int, ...]) -> np.ndarray:
    """Random images, float32, several calls of `shape`, NCHW, one after another.

    Several ranges, because a network may treat bright or dark images differently: around zero, and
    like pixels from 0 to 1, from -1 to 0, and from 0 to 255. A call for many images has all ranges.
    """
    generator = np.random.default_rng(0)
    noise = generator.standard_normal(shape, np.float32)
    pixels = generator.random(shape, np.float32)
    ranges = [noise, pixels, -pixels, np.round(255 * pixels)]
    if shape[0] >= MANY_IMAGES:
        ranges = [images[i :: len(ranges)] for i, images in enumerate(ranges)]
    return np.concatenate(ranges)


def _answers(network: torch.nn.Module, example: torch.Tensor) -> list[tuple]:
    """(image before, image after, output) for each probe image that the network can compute.

    ConversionError if the example is not one of them.
    """
    found = []
    noise = torch.from_numpy(random_images(tuple(example.shape))).split(len(example))
    for probe in (example, *noise):
        image = probe.clone()
        try:
            answer = run(network, image)
        except Exception as error:
            if probe is example:
                words = f"The network cannot run the example: {reason(error)}"
                raise ConversionError(words) from error
            continue
        if answer.shape[:1] != example.shape[:1]:
            raise ConversionError(
                f"The network returns an array of shape {answer.shape} for {len(example)} "
                "image(s); the first axis must be the batch."
            )
        if np.isfinite(answer).all():
            found.append((probe, image, answer))
        elif probe is example:
            raise ConversionError("The network's outputs for the example contain NaN or infinity.")
    probe, _, answer = found[-1]
    if not np.array_equal(answer, run(network, probe.clone())):
        raise ConversionError(
            "The network's outputs for the same image differ from call to call in eval mode. Is "
            "there a dropout that ignores the mode, such as F.dropout(x) without "
            "training=self.training?"
        )
    return found


def run(network: torch.nn.Module, images: torch.Tensor) -> np.ndarray:
    """The first output of `network` as an array."""
    with torch.no_grad():
        answer = network(images)
    while isinstance(answer, (tuple, list, dict)):
        if isinstance(answer, dict):
            answer = list(answer.values())
        answer = answer[0]
    return answer.detach().numpy()
