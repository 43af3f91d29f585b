"""A few of the mangled hand-ins of tests/fuzz/hand_ins.py."""

from tests.fuzz.hand_ins import silent_zeros


def test_twenty_mangled_hand_ins_lose_no_point_without_a_word(tmp_path):
    silent, outcomes = silent_zeros(tmp_path, 20)
    assert not silent and sum(outcomes.values()) == 20, (silent, outcomes)
