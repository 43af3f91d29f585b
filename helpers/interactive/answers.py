"""The check of a short task: it prints, and never stops the notebook."""

from typing import Any

import numpy as np

ROUNDING = 1e-9  # relative: sums in another order differ by this much


def check(answer: Any, expected: Any, hint: str = "", tolerance: float = 0) -> None:
    """Print whether `answer` is `expected`: a number, a text, or an array or list of numbers.

    Numbers may differ by `tolerance`, absolute, in any element. Case and outer spaces of a text
    do not matter. An answer that is None has not been given yet.

    >>> check(None, 676)
    No answer yet.
    >>> check(26 * 26, 676)
    Right.
    >>> check(28 * 28, 676, "at how many places does the kernel fit?")
    Not yet: at how many places does the kernel fit?
    """
    if answer is None:
        print("No answer yet.")
    elif _is_same(answer, expected, tolerance):
        print("Right.")
    else:
        print(f"Not yet: {hint}" if hint else "Not yet.")


def _is_same(answer: Any, expected: Any, tolerance: float) -> bool:
    if isinstance(expected, str):
        return str(answer).strip().casefold() == expected.strip().casefold()
    try:
        given = np.asarray(answer, dtype=float)
        wanted = np.asarray(expected, dtype=float)
    except (TypeError, ValueError, RuntimeError):  # an object that is no number or no array
        return False
    if given.shape != wanted.shape:
        return False
    return bool(np.allclose(given, wanted, rtol=ROUNDING, atol=tolerance))
