"""Compare the outputs of a file with those of the network that it was made from."""

import numpy as np

FLOAT_TOLERANCE = 1e-3  # of the largest output
HALF_TOLERANCE = 2e-2  # float16 has three digits
# the RMS error of an int8 file may be half of the standard deviation of the correct outputs ...
INT8_SPREAD = 0.5
# ... or more if nine images in ten keep their class: clipped outputs are far off, but harmless
INT8_CLASSES = 0.9


def float_fault(
    answers: np.ndarray, wanted: np.ndarray, tolerance: float = FLOAT_TOLERANCE
) -> str | None:
    """What is wrong with the outputs of a float file, or None if they are correct.

    Both arrays are N x outputs. The outputs of an image may differ by `tolerance` times its largest
    output.
    """
    fault = _plain_fault(answers, wanted)
    if fault:
        return fault
    answers = _flat(answers)
    wanted = _flat(wanted)
    largest = np.abs(wanted).max(axis=1)
    error = np.abs(answers - wanted).max(axis=1)
    # an image with tiny outputs may differ by the rounding errors of larger ones
    limit = tolerance * np.maximum(largest, tolerance * largest.max() + 1e-9)
    worst = int((error / limit).argmax())
    if error[worst] <= limit[worst]:
        return None
    return (
        f"an output is off by {error[worst]:.3g}; "
        f"the network's largest output for that image is {largest[worst]:.3g}"
    )


def half_fault(answers: np.ndarray, wanted: np.ndarray) -> str | None:
    """What is wrong with the outputs of a file with float16 weights, or None."""
    return float_fault(answers, wanted, HALF_TOLERANCE)


def int8_fault(answers: np.ndarray, wanted: np.ndarray) -> str | None:
    """What is wrong with the outputs of a quantized file, or None if they are good for int8.

    Both arrays are N x outputs. Rounding changes every output a little. The outputs of broken files
    are far off: one constant, or noise.
    """
    fault = _plain_fault(answers, wanted)
    if fault:
        return fault
    answers = _flat(answers)
    wanted = _flat(wanted)
    largest = np.abs(wanted).max()
    if np.ptp(answers, axis=0).max() == 0 and np.ptp(wanted, axis=0).max() > 0.01 * largest:
        return "its outputs are the same for every image"
    error = np.sqrt(np.mean((answers - wanted) ** 2))
    spread = np.sqrt(np.mean((wanted - wanted.mean()) ** 2))
    if error <= max(INT8_SPREAD * spread, FLOAT_TOLERANCE * largest, 1e-9):
        return None
    kept = np.mean(answers.argmax(1) == wanted.argmax(1))
    if wanted.shape[1] > 1 and kept >= INT8_CLASSES:
        return None
    return f"its RMS error is {error:.3g}, and the correct outputs' standard deviation {spread:.3g}"


def largest_difference(
    answers: np.ndarray, wanted: np.ndarray
) -> tuple[float | None, float | None]:
    """The largest difference of two outputs, and the largest of `wanted`.

    Both are None if they cannot be compared: another number of outputs, or NaN.
    """
    if answers.size != wanted.size or not np.isfinite(answers).all():
        return None, None
    error = np.abs(_flat(answers) - _flat(wanted)).max()
    return float(error), float(np.abs(wanted).max())


def _flat(answers: np.ndarray) -> np.ndarray:
    return answers.reshape(len(answers), -1).astype(np.float64)


def _plain_fault(answers: np.ndarray, wanted: np.ndarray) -> str | None:
    flat = (len(wanted), wanted[0].size)
    if answers.shape not in (wanted.shape, flat):
        return f"its outputs have the shape {answers.shape}, the network's {wanted.shape}"
    if not np.isfinite(answers).all():
        return "its outputs contain NaN or infinity"
    return None
