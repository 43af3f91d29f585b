"""Whether a file's answers are those of the network that it was made from."""

import numpy as np

FLOAT_TOLERANCE = 1e-3  # of the largest output
# an int8 file may be off (RMS) by half of the spread of the right answers ...
INT8_SPREAD = 0.5
# ... or keeps the class of nine images in ten: clipped outputs are far off, and harmless
INT8_CLASSES = 0.9


def float_fault(answers: np.ndarray, wanted: np.ndarray) -> str | None:
    """What is wrong with the answers of a float file, or None if they are right.

    Each image may differ by 1e-3 of its largest output.
    """
    fault = _plain_fault(answers, wanted)
    if fault:
        return fault
    answers = _flat(answers)
    wanted = _flat(wanted)
    largest = np.abs(wanted).max(axis=1)
    error = np.abs(answers - wanted).max(axis=1)
    # an image that gives almost nothing may differ by rounding errors of the others
    limit = FLOAT_TOLERANCE * np.maximum(largest, FLOAT_TOLERANCE * largest.max() + 1e-9)
    worst = int((error / limit).argmax())
    if error[worst] <= limit[worst]:
        return None
    return (
        f"an answer is off by {error[worst]:.3g}, "
        f"and the network's largest output for that image is {largest[worst]:.3g}"
    )


def int8_fault(answers: np.ndarray, wanted: np.ndarray) -> str | None:
    """What is wrong with the answers of a quantized file, or None if they are as good as int8 gets.

    Rounding moves every answer. Broken files are far away: they answer one number, or noise.
    """
    fault = _plain_fault(answers, wanted)
    if fault:
        return fault
    answers = _flat(answers)
    wanted = _flat(wanted)
    largest = np.abs(wanted).max()
    if np.ptp(answers, axis=0).max() == 0 and np.ptp(wanted, axis=0).max() > 0.01 * largest:
        return "it gives the same answer to every image"
    error = np.sqrt(np.mean((answers - wanted) ** 2))
    spread = np.sqrt(np.mean((wanted - wanted.mean()) ** 2))
    if error <= max(INT8_SPREAD * spread, FLOAT_TOLERANCE * largest, 1e-9):
        return None
    kept = np.mean(answers.argmax(1) == wanted.argmax(1))
    if wanted.shape[1] > 1 and kept >= INT8_CLASSES:
        return None
    return f"its answers are off by {error:.3g} (RMS), and the right ones spread by {spread:.3g}"


def _flat(answers: np.ndarray) -> np.ndarray:
    return answers.reshape(len(answers), -1).astype(np.float64)


def _plain_fault(answers: np.ndarray, wanted: np.ndarray) -> str | None:
    flat = (len(wanted), wanted[0].size)
    if answers.shape not in (wanted.shape, flat):
        return f"its answers have the shape {answers.shape}, and the network's {wanted.shape}"
    if not np.isfinite(answers).all():
        return "it answers NaN or infinity"
    return None
