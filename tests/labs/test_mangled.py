"""A few of the mangled submissions of tests/fuzz/submissions.py."""

from tests.fuzz.submissions import silent_zeros


def test_twenty_mangled_submissions_lose_no_point_without_a_word(tmp_path):
    silent, outcomes = silent_zeros(tmp_path, 20)
    assert not silent and sum(outcomes.values()) == 20, (silent, outcomes)
