"""Compare two models on the same images, and two arrays."""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from helpers.metrics._checks import class_numbers, same_shape

BISECTIONS = 60  # halving [-1, 1] this often leaves less than 1e-17


@dataclass(frozen=True)
class Paired:
    """Two models, a and b, on the same `n` images.

    `lost` images are correct with a only, `gained` with b only. `p` is McNemar's exact two-sided
    p-value. `value` is the accuracy of b minus that of a, `low` and `high` its 95 % interval.
    """

    lost: int
    gained: int
    p: float
    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        value, low, high = (f"{100 * x:+.1f}" for x in (self.value, self.low, self.high))
        return (
            f"{self.lost} lost, {self.gained} gained of {self.n:,}: {value} points "
            f"(95 % interval {low} to {high}), p = {self.p:.3g}"
        )


def mcnemar(labels: ArrayLike, a: ArrayLike, b: ArrayLike) -> Paired:
    """Whether model b is better or worse than model a, from their predictions of the same images.

    `labels`, `a` and `b` are N class numbers each. Only images that exactly one model classifies
    correctly are evidence of a difference. If the models are equally good, each of these is lost or
    gained with probability 1/2: that binomial distribution gives `p` (McNemar 1947).

    The interval is the score interval of Tango, Statistics in Medicine 17 (1998), 891-908. It has
    nearly its nominal coverage, even for few changes, and stays within -1 and 1.

    >>> labels = [0] * 100
    >>> b = [1] * 9 + [0] * 91
    >>> print(mcnemar(labels, a=labels, b=b))
    9 lost, 0 gained of 100: -9.0 points (95 % interval -16.2 to -4.8), p = 0.00391
    """
    labels, a = class_numbers(labels, a)
    _, b = class_numbers(labels, b)
    lost = int(((a == labels) & (b != labels)).sum())
    gained = int(((a != labels) & (b == labels)).sum())
    n = len(labels)
    low, high = _tango_interval(lost, gained, n)
    return Paired(lost, gained, _exact_p(lost, gained), (gained - lost) / n, low, high, n)


def _exact_p(lost: int, gained: int) -> float:
    """Twice the smaller tail of the binomial distribution with probability 1/2, at most 1."""
    changed = lost + gained
    ways = tail = 1  # whole numbers of any size: no rounding
    for k in range(min(lost, gained)):
        ways = ways * (changed - k) // (k + 1)
        tail += ways
    return min(1.0, 2 * tail / 2**changed)


def _tango_interval(lost: int, gained: int, n: int) -> tuple[float, float]:
    """The differences that a score test at 5 % does not reject."""
    z = NormalDist().inv_cdf(0.975)
    estimate = (gained - lost) / n

    def bound(outside: float) -> float:
        inside = estimate
        for _ in range(BISECTIONS):
            middle = (inside + outside) / 2
            if abs(_score(lost, gained, n, middle)) < z:
                inside = middle
            else:
                outside = middle
        return inside

    return bound(-1.0), bound(1.0)


def _score(lost: int, gained: int, n: int, difference: float) -> float:
    """Tango's statistic: standard normal if `difference` is the true one."""
    # the probability of a lost image, by maximum likelihood under this difference
    linear = (2 * n - gained + lost) * difference - gained - lost
    constant = -lost * difference * (1 - difference)
    p_lost = (sqrt(linear**2 - 8 * n * constant) - linear) / (4 * n)
    variance = n * (2 * p_lost + difference * (1 - difference))
    deviation = gained - lost - n * difference
    if variance <= 0:
        return float("inf") if deviation else 0.0
    return deviation / sqrt(variance)


def count_disagreements(logits_a: np.ndarray, logits_b: np.ndarray) -> int:
    """The number of images that two models classify differently, from their logits, N x classes.

    Compare two models on the same images by this count rather than by two accuracies, whose
    intervals are wide. ValueError for other shapes and for NaN, which has no argmax.

    >>> count_disagreements(np.array([[2, 1], [0, 3]]), np.array([[2, 1], [4, 3]]))
    1
    """
    logits_a, logits_b = same_shape(logits_a, logits_b)
    if logits_a.ndim != 2:
        raise ValueError(f"logits must be N x classes, not {logits_a.shape}")
    if np.isnan(logits_a).any() or np.isnan(logits_b).any():
        raise ValueError("some logits are NaN, so these images have no prediction")
    return int((logits_a.argmax(axis=1) != logits_b.argmax(axis=1)).sum())


def largest_difference(a: np.ndarray, b: np.ndarray) -> float:
    """max |a - b| over all entries, in float64; NaN if any entry is. ValueError if shapes differ.

    >>> largest_difference(np.array([1.0, 2.0]), np.array([1.5, 1.75]))
    0.5
    """
    a, b = same_shape(a, b)
    return float(np.abs(a - b).max())
