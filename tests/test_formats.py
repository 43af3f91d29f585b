"""The formats of model files, field by field."""

import pytest

from modelfiles.formats import protobuf


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**24 + 1, 2**40, 2**64 - 1])
def test_a_number_is_read_as_it_was_written(number):
    message = protobuf.field(7, number) + protobuf.field(8, 5)
    assert protobuf.numbers(message, 7) == [number]
    assert protobuf.numbers(message, 8) == [5]


def test_a_field_of_more_than_16_mb_is_read_whole():
    content = bytes(2**24 + 3)
    message = protobuf.field(1, content) + protobuf.field(2, "after it")
    assert [bytes(found) for found in protobuf.messages(message, 1)] == [content]
    assert [bytes(found) for found in protobuf.messages(message, 2)] == [b"after it"]


def test_an_unknown_kind_of_field_is_an_error():
    with pytest.raises(ValueError, match="a field has type 3"):
        protobuf.messages(bytes([1 << 3 | 3]), 1)
