"""A value and its 95 % interval: percentiles, the bootstrap over rounds, Student's t.

helpers.timing uses and exports all of it. It needs only numpy and the standard library.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# 97.5 % points of Student's t distribution with 2 to 29 degrees of freedom
# fmt: off
STUDENT_T = (
    4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201,
    2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080,
    2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045,
)
# fmt: on


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Ratio(Interval):
    """How many times faster the candidate is than the baseline; above 1 means faster."""

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def percentile(samples: np.ndarray, q: float) -> float:
    """The q-th percentile of all entries, by the rule of MLPerf's LoadGen.

    It is the entry at index n * q / 100, rounded down, of the n sorted entries. ValueError if there
    are no entries, or if q is not from 0 to 100.

    >>> percentile(np.array([30, 10, 20, 40]), 50)
    30.0
    """
    if not 0 <= q <= 100 or not np.size(samples):
        raise ValueError(
            f"q must be from 0 to 100 (it is {q}), of at least one value ({np.size(samples)})"
        )
    ordered = np.sort(samples, axis=None)
    index = int(len(ordered) * q / 100)
    return float(ordered[min(len(ordered) - 1, index)])


def bootstrap(
    arrays: list[np.ndarray], statistic: Callable, resamples: int = 400
) -> tuple[float, float]:
    """The 95 % interval of statistic(*arrays), by resampling the same rows of each array.

    All arrays have the same number of rows. `statistic` returns a number.
    Efron's percentile bootstrap: https://doi.org/10.1214/aos/1176344552
    """
    generator = np.random.default_rng(0)
    rounds = len(arrays[0])
    values = [
        statistic(*(array[chosen] for array in arrays))
        for chosen in generator.integers(0, rounds, (resamples, rounds))
    ]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def student_t(freedom: int) -> float:
    """The 97.5 % point of Student's t for `freedom` degrees of freedom, at least 2.

    The error is below 0.001. Beyond the table it uses the first terms of Abramowitz and Stegun,
    Handbook of Mathematical Functions, 26.7.5.
    """
    if freedom < len(STUDENT_T) + 2:
        return STUDENT_T[freedom - 2]
    z = 1.959964
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
