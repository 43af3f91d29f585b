"""Metrics of a classifier: accuracy with its interval, confusion matrix, scores per class."""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from helpers.metrics._checks import class_numbers, ratio

MAX_CLASSES = 20_000  # a confusion matrix of this size takes 3 GB


@dataclass(frozen=True)
class Accuracy:
    """The fraction of `n` images that are classified correctly, and its 95 % interval."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        value, low, high = (f"{100 * x:.1f}" for x in (self.value, self.low, self.high))
        return f"{value} % (95 % interval {low} to {high} %, n = {self.n:,})"


@dataclass(frozen=True)
class ClassScores:
    """Precision, recall and F1, one array entry per class; `macro` has their means by name."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    macro: dict[str, float]


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a proportion, by Wilson: within 0 to 1, and reliable near both ends.

    ValueError unless 0 <= successes <= n and n > 0.

    Source: E. B. Wilson, Journal of the American Statistical Association 22 (1927), 209-212,
    https://doi.org/10.1080/01621459.1927.10502953

    >>> low, high = wilson_interval(successes=990, n=1000)
    >>> print(f"{low:.3f} to {high:.3f}")
    0.982 to 0.995
    """
    if not 0 <= successes <= n or n == 0:
        raise ValueError(
            f"successes must be between 0 and n, and n at least 1; got {successes} of {n}"
        )
    z = NormalDist().inv_cdf(0.975)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half_width = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half_width), min(1.0, centre + half_width)


def accuracy(labels: ArrayLike, predictions: ArrayLike) -> Accuracy:
    """The fraction of equal entries, with its Wilson interval. Both are N class numbers.

    ValueError for unequal lengths, for no entries and for numbers that are not integers.

    >>> print(accuracy(labels=[7, 2, 1, 0], predictions=[7, 2, 1, 6]))
    75.0 % (95 % interval 30.1 to 95.4 %, n = 4)
    """
    labels, predictions = class_numbers(labels, predictions)
    correct = int((labels == predictions).sum())
    return Accuracy(correct / len(labels), *wilson_interval(correct, len(labels)), len(labels))


def confusion_matrix(
    labels: ArrayLike, predictions: ArrayLike, classes: int | None = None
) -> np.ndarray:
    """Counts, int64 classes x classes: [i, j] is the number of images of class i predicted as j.

    The default of `classes` is one more than the largest number in both. ValueError for unequal
    lengths and for numbers that are not from 0 to classes - 1.

    >>> confusion_matrix(labels=[0, 0, 1, 1], predictions=[0, 1, 1, 1])
    array([[1, 1],
           [0, 2]])
    """
    labels, predictions = class_numbers(labels, predictions)
    largest = max(labels.max(), predictions.max())
    if classes is None:
        classes = largest + 1
    if isinstance(classes, bool) or not isinstance(classes, (int, np.integer)) or classes < 1:
        raise ValueError(f"classes must be a whole number of at least 1, not {classes!r}")
    if classes > MAX_CLASSES:
        raise ValueError(
            f"a matrix of {classes:,} classes is too large; "
            f"class numbers up to {MAX_CLASSES - 1:,} are supported"
        )
    classes = int(classes)
    smallest = min(labels.min(), predictions.min())
    if smallest < 0 or largest >= classes:
        wrong = smallest if smallest < 0 else largest
        raise ValueError(f"class numbers must be from 0 to {classes - 1}, but one is {wrong}")
    counts = np.bincount(labels * classes + predictions, minlength=classes**2)
    return counts.reshape(classes, classes)


def precision_recall_f1(matrix: np.ndarray) -> ClassScores:
    """Scores of every class from a confusion matrix whose rows are the true classes.

    Precision is the fraction of correct predictions among all images predicted as class i, recall
    the fraction among all images of class i, F1 their harmonic mean. 0/0 is 0, as in scikit-learn
    with zero_division=0: a class that is never predicted has precision 0, and a class that does not
    occur lowers the macro means. ValueError unless the matrix is square and contains counts.

    >>> scores = precision_recall_f1([[1, 1], [0, 2]])
    >>> print(scores.precision.round(2), scores.recall)
    [1.   0.67] [0.5 1. ]
    """
    matrix = np.asarray(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"a confusion matrix must be square, not {matrix.shape}")
    if not (np.issubdtype(matrix.dtype, np.number) and (matrix >= 0).all()):
        raise ValueError("a confusion matrix contains counts: no negative numbers, NaN or text")
    true_positives = np.diag(matrix)
    actual = matrix.sum(axis=1)
    predicted = matrix.sum(axis=0)
    scores = {
        "precision": ratio(true_positives, predicted),
        "recall": ratio(true_positives, actual),
        "f1": ratio(2 * true_positives, actual + predicted),
    }
    means = {name: float(values.mean()) for name, values in scores.items()}
    return ClassScores(**scores, macro=means)
