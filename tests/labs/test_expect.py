"""What hidden checks accept as equal."""

import numpy as np
import pytest

from labs.grading.checks import expect

EXPECTED = np.array([1.0, -200.0, 3.0])


@pytest.mark.parametrize("off_by, is_close", [(0.0, True), (0.019, True), (0.021, False)])
def test_values_may_differ_by_a_share_of_the_largest(off_by, is_close):
    found = EXPECTED.copy()
    found[2] += off_by  # the tolerance is 1e-4 of 200
    if is_close:
        expect.close(found, EXPECTED, "y")
    else:
        with pytest.raises(AssertionError, match="y: some values are wrong"):
            expect.close(found, EXPECTED, "y")


def test_nothing_is_close_to_nan():
    with pytest.raises(AssertionError, match="some values are wrong"):
        expect.close(EXPECTED * [1, np.nan, 1], EXPECTED, "y")


def test_wrong_numbers_are_counted():
    with pytest.raises(AssertionError, match="q: 2 of 3 numbers are wrong"):
        expect.equal(np.array([1, 2, 3]), np.array([1, 0, 0]), "q")
