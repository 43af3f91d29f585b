"""Google's protobuf format, field by field: enough to write and read parts of ONNX files.

The onnx package does this for whole files, but is not installed on a Pi.
"""

from collections.abc import Iterator

# how a field is stored
VARINT = 0
FIXED64 = 1
LENGTH = 2
FIXED32 = 5
BYTES = {FIXED32: 4, FIXED64: 8}  # the sizes of the two fixed kinds

Message = bytes | memoryview


def field(number: int, content: int | str | bytes) -> bytes:
    """One field of a message: its tag, then a number, or a length and that many bytes."""
    if isinstance(content, int):
        return varint(number << 3 | VARINT) + varint(content)
    if isinstance(content, str):
        content = content.encode()
    return varint(number << 3 | LENGTH) + varint(len(content)) + content


def varint(number: int) -> bytes:
    """A non-negative number, seven bits per byte, lowest first."""
    if number < 128:
        return bytes([number])
    return bytes([number & 127 | 128]) + varint(number >> 7)


def messages(message: Message, number: int) -> list[memoryview]:
    """The contents of the fields with this number that are bytes: strings and inner messages."""
    fields = [content for found, content in _fields(message) if found == number]
    return [content for content in fields if not isinstance(content, int)]


def numbers(message: Message, number: int) -> list[int]:
    """The whole numbers in the fields with this number, packed or one by one."""
    values = []
    for found, content in _fields(message):
        if found != number:
            continue
        if isinstance(content, int):
            values.append(content)
            continue
        at = 0
        while at < len(content):
            value, at = _read_varint(content, at)
            values.append(value)
    return values


def _fields(message: Message) -> Iterator[tuple[int, int | memoryview]]:
    """(number, content) of every field; the content is a number or a view of the bytes."""
    view = memoryview(message)
    at = 0
    while at < len(view):
        tag, at = _read_varint(view, at)
        kind = tag & 7
        content: int | memoryview
        if kind == VARINT:
            content, at = _read_varint(view, at)
        elif kind == LENGTH:
            length, at = _read_varint(view, at)
            content = view[at : at + length]
            at += length
        elif kind in BYTES:
            content = int.from_bytes(view[at : at + BYTES[kind]], "little")
            at += BYTES[kind]
        else:
            raise ValueError(f"not a protobuf message: a field has type {kind}")
        yield tag >> 3, content


def _read_varint(view: memoryview, at: int) -> tuple[int, int]:
    """A number, and the offset after it."""
    value = shift = 0
    while True:
        byte = view[at]
        value |= (byte & 127) << shift
        at += 1
        shift += 7
        if byte < 128:
            return value, at
