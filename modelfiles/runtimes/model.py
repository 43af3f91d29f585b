"""A loaded model: its inputs, its outputs, and their checks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

TO_LAST = (0, 2, 3, 1)  # transposes NCHW to NHWC
TO_FIRST = (0, 3, 1, 2)  # and back


class Unsupported(ValueError):
    """The file is intact, but not supported. The message follows the file's name in a sentence."""


@dataclass
class Model:
    """A model that is loaded and ready. Every runtime follows the same rules:

    - One input: float32, batch first, NCHW for images. It is quantized for a quantized input.
      Numbers of another type in `input_types`, such as the uint8 of pictures, are passed on as
      they are. An .onnx file that was made from TensorFlow may take NHWC: see `input_shape`.
    - One output: the first in the order of the file, with the batch as its first axis. Floats are
      returned as float32, quantized integers dequantized to float32, other integers and booleans
      (such as class numbers) as int64. predict_all returns all outputs in this way.
    - The caller's images do not change, even if the network works in place.

    `input_shape` is the shape for one call. A free size in it is None; it is None if the file does
    not contain the shape. `run` is the bare call, for timing: it takes a contiguous array of this
    shape, does not check it, and returns the runtime's own number type.
    """

    path: Path
    runtime: str
    version: str
    precision: str
    threads: int
    input_shape: tuple[int | None, ...] | None
    run: Callable[[np.ndarray], np.ndarray] = field(repr=False)
    run_all: Callable[[np.ndarray], list[np.ndarray]] = field(repr=False)
    input_types: tuple[str, ...] = ("float32",)
    rounds: bool = False  # whether for_floats rounds the inputs

    def for_floats(self, example: Sequence[int] = ()) -> "Model":
        """This model for one float32 array a call, as benchmarks pass it.

        A free batch size becomes 1, other free sizes those of `example`, the shape of an input.
        For an input of integers without a scale, such as the uint8 of pictures, the numbers are
        rounded and clipped. Integers with a scale are quantized anyway.
        """
        shape = _with_sizes(self.input_shape, tuple(example))
        if "float32" in self.input_types:
            return replace(self, input_shape=shape)
        kind = np.dtype(self.input_types[0]).type
        return replace(
            self,
            input_shape=shape,
            run=lambda x: self.run(quantize(x, kind, 1, 0)),
            run_all=lambda x: self.run_all(quantize(x, kind, 1, 0)),
            input_types=("float32", *self.input_types),
            rounds=True,
        )

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Run the images `x`, float32 N x channels x height x width, and return N x outputs.

        The file's batch size is the number of images per call (one in most of the book's files).
        ValueError for another type or shape, for NaN and infinity, and for an output whose first
        axis is not the batch.
        """
        return self._predict(x, lambda images: [self.run(images)])[0]

    def predict_all(self, x: np.ndarray) -> list[np.ndarray]:
        """Like predict, and return every output of the file, in its order."""
        return self._predict(x, self.run_all)

    def _predict(
        self, x: np.ndarray, run: Callable[[np.ndarray], list[np.ndarray]]
    ) -> list[np.ndarray]:
        batch = self._check(x)
        x = np.ascontiguousarray(x)  # runtimes read a transposed or flipped view in the wrong order
        if len(x) == batch:
            answers = self._run_batch(x, run)
            # a network may only reshape
            answers = [one.copy() if np.may_share_memory(one, x) else one for one in answers]
        else:
            batches = [self._run_batch(x[i : i + batch], run) for i in range(0, len(x), batch)]
            answers = [np.concatenate(parts) for parts in zip(*batches)]
        return [_as_float_or_integer(answer, self.path.name) for answer in answers]

    def _check(self, x: np.ndarray) -> int:
        """Raise ValueError if `x` is not an input of the model; return the images per call."""
        name = self.path.name
        if not isinstance(x, np.ndarray):
            raise ValueError(f"{name} takes a numpy array, not {type(x).__name__}")
        if not any(x.dtype == np.dtype(kind) for kind in self.input_types):
            wanted = " or ".join(self.input_types)
            raise ValueError(f"{name} takes {wanted}, not {x.dtype}; see helpers.data.normalize")
        shape = self.input_shape or (1, None, None, None)
        if x.ndim != len(shape) or 0 in x.shape:
            images = "images as N x channels x height x width"
            wanted = images if len(shape) == 4 else f"arrays of {len(shape)} axes"
            raise ValueError(f"{name} takes {wanted}, not {x.shape}")
        batch = shape[0] or len(x)
        fits = all(size in (None, given) for size, given in zip(shape[1:], x.shape[1:]))
        if not fits or len(x) % batch:
            wanted = " x ".join(str(n or "any") for n in shape[1:])
            raise ValueError(
                f"{name} takes images of {wanted} in batches of {batch}; these are {x.shape}"
            )
        if not np.isfinite(x).all():
            image = int(np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(axis=1))[0])
            raise ValueError(
                f"image {image} for {name} contains NaN or infinity; check how it was normalized"
            )
        return batch

    def _run_batch(
        self, x: np.ndarray, run: Callable[[np.ndarray], list[np.ndarray]]
    ) -> list[np.ndarray]:
        try:
            answers = run(x)
        except Exception as error:
            if self.input_shape and None not in self.input_shape:
                raise
            # the file leaves the size free, but a layer may not support this one
            why = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ValueError(
                f"{self.path.name} cannot compute an input of {x.shape}: {why}"
            ) from error
        for answer in answers:
            if answer.shape[:1] != x.shape[:1]:
                raise ValueError(
                    f"{self.path.name} returns an array of shape {answer.shape} for {len(x)} "
                    "image(s); the first axis must be the batch. Export the network with a batch "
                    "axis"
                )
        return answers


def _with_sizes(
    shape: tuple[int | None, ...] | None, example: tuple[int, ...]
) -> tuple[int | None, ...] | None:
    """`shape` with 1 for a free batch size, and the sizes of `example` if it fits, NCHW or NHWC."""
    wanted = (1, *example[1:])
    if shape is None:
        return wanted if example else None
    turned = tuple(wanted[axis] for axis in TO_LAST) if len(wanted) == 4 else ()
    for given in (wanted, turned):
        if len(given) == len(shape) and all(size in (None, n) for size, n in zip(shape, given)):
            return given
    return (shape[0] or 1, *shape[1:])


def _as_float_or_integer(answer: np.ndarray, name: str) -> np.ndarray:
    if answer.dtype.kind == "f":
        return answer.astype(np.float32, copy=False)
    if answer.dtype.kind in "iub":
        return answer.astype(np.int64, copy=False)
    raise ValueError(f"{name} returns {answer.dtype}; only float and integer outputs are supported")


def check_one_input(names: list[str]) -> None:
    """Unsupported if a file has no or several inputs."""
    if len(names) != 1:
        raise Unsupported(
            f"has {len(names)} inputs ({', '.join(names) or 'none'}); "
            "only networks with a single input are supported"
        )


def check_float_input(dtype: object, is_float32: bool) -> None:
    """Unsupported if the input of a file has none of the types that are supported."""
    if not is_float32:
        raise Unsupported(
            f"takes {dtype}; only float32 inputs are supported, so export it with one"
        )


def sizes(shape) -> tuple[int | None, ...]:
    """`shape` with None for each free size: a name, a symbol, zero, or a negative number."""
    return tuple(int(n) if isinstance(n, (int, np.integer)) and n > 0 else None for n in shape)


def quantize(x: np.ndarray, dtype: type, scale: float, zero_point: int) -> np.ndarray:
    """x / scale + zero point, rounded half to even and clipped to the range of `dtype`.

    With dtype float32, `x` is returned unchanged. A plain cast would truncate fractions and wrap
    200 to -56, and both silently cost accuracy.

    >>> quantize(np.array([-1.0, 0.0, 0.5, 9.0]), np.int8, scale=0.5, zero_point=3)
    array([ 1,  3,  4, 21], dtype=int8)
    """
    if dtype == np.float32:
        return x
    limits = np.iinfo(dtype)
    rounded = np.rint(x / np.float32(scale)) + zero_point
    return np.clip(rounded, limits.min, limits.max).astype(dtype)


def dequantize(q: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """scale * (q - zero point) as float32; a float32 `q` is returned unchanged.

    >>> dequantize(np.array([1, 3, 4], np.int8), scale=0.5, zero_point=3)
    array([-1. ,  0. ,  0.5], dtype=float32)
    """
    if q.dtype == np.float32:
        return q
    return (q.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
