"""Weights as indices into codebooks: what notebook 04b and the solutions take over from 04.

`nearest_index`, `lloyd`, `linear_start`, `inertia`, `pack` and `unpack` do the same as the
functions in notebook 04, which explains them; a test compares the two.
"""

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class CodebookTensor:
    """A tensor as indices into codebooks, one for each group of its weights.

    >>> tensor = CodebookTensor((2, 2), np.float32([[-1, 0, 2]]), np.uint8([[0, 2, 1, 2]]))
    >>> tensor.weights()
    array([[-1.,  2.],
           [ 0.,  2.]], dtype=float32)
    >>> tensor.index_bits
    2
    """

    shape: tuple[int, ...]
    codebooks: np.ndarray  # float32, groups x k
    indices: np.ndarray  # uint8, groups x (weights per group)

    @property
    def index_bits(self) -> int:
        """The bits of one index: 0 if all weights share one value."""
        return (self.codebooks.shape[1] - 1).bit_length()

    def weights(self) -> np.ndarray:
        """The reconstructed weights, float32."""
        rows = np.take_along_axis(self.codebooks, self.indices.astype(np.int64), axis=1)
        return rows.reshape(self.shape)


def nearest_index(weights: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """The number of the nearest of the ascending `centroids`, for each weight."""
    borders = (centroids[1:] + centroids[:-1]) / 2  # halfway between neighbours
    return np.searchsorted(borders, weights)


def lloyd(
    weights: np.ndarray, centroids: np.ndarray, rounds: int = 10_000
) -> tuple[np.ndarray, int]:
    """Lloyd's algorithm until nothing moves: the final centroids, and the rounds it took.

    A centroid that no weight is nearest to stays where it is.
    """
    for done in range(1, rounds + 1):
        nearest = nearest_index(weights, centroids)
        counts = np.bincount(nearest, minlength=len(centroids))
        sums = np.bincount(nearest, weights, minlength=len(centroids))
        moved = np.where(counts > 0, sums / np.maximum(counts, 1), centroids)
        if np.array_equal(moved, centroids):
            return centroids, done
        centroids = moved
    return centroids, rounds


def linear_start(weights: np.ndarray, k: int) -> np.ndarray:
    """`k` evenly spaced centroids from the smallest to the largest weight."""
    return np.linspace(weights.min(), weights.max(), k, dtype=np.float64)


def inertia(weights: np.ndarray, centroids: np.ndarray) -> float:
    """Sum of squared distances of the weights to their nearest of the ascending `centroids`."""
    distances = weights - centroids[nearest_index(weights, centroids)]
    return np.square(distances, dtype=np.float64).sum()


def pack(numbers: np.ndarray, bits: int) -> bytes:
    """Numbers below 2 ** bits as bytes: highest bit first, no gaps, zeros at the end."""
    digits = (numbers.reshape(-1, 1) >> np.arange(bits)[::-1]) & 1  # numbers x bits
    return np.packbits(digits).tobytes()


def unpack(data: bytes, bits: int, count: int) -> np.ndarray:
    """The `count` numbers that `pack` wrote, as uint8."""
    digits = np.unpackbits(np.frombuffer(data, np.uint8), count=count * bits)
    digits = digits.reshape(count, bits)
    return (digits @ (1 << np.arange(bits)[::-1])).astype(np.uint8)


def layer_weights(model: "torch.nn.Module") -> dict[str, np.ndarray]:
    """The weights of the convolutions and linear layers of `model`, by name."""
    weights = {
        name.removesuffix(".weight"): parameter.detach().numpy()
        for name, parameter in model.named_parameters()
        if name.endswith(".weight")
    }
    return {name: weight for name, weight in weights.items() if weight.ndim > 1}  # no batch norms


def with_weights(model: "torch.nn.Module", layers: dict[str, CodebookTensor]) -> "torch.nn.Module":
    """A copy of `model` with the reconstructed weights of `layers`, by the name of the layer."""
    import torch

    model = copy.deepcopy(model)
    for name, tensor in layers.items():
        model.get_parameter(f"{name}.weight").data = torch.from_numpy(tensor.weights())
    return model
