"""A table in Google's FlatBuffers format, field by field: enough for parts of .mnn and .pte.

Fields are numbered in the order of the schema; a union has two numbers, for its type and content.
"""

import struct
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Table:
    """A table that begins at byte `at` of `content`."""

    content: bytes
    at: int

    @classmethod
    def root(cls, content: bytes) -> "Table":
        """The root table of a file."""
        return cls(content, _u32(content, 0))

    def number(self, field: int, layout: str = "<i", default: int = 0) -> int:
        """A whole number, stored as the struct module's `layout`."""
        at = self._place(field)
        if not at:
            return default
        return struct.unpack_from(layout, self.content, at)[0]

    def table(self, field: int) -> "Table | None":
        """An inner table."""
        at = self._place(field)
        if not at:
            return None
        return Table(self.content, at + _u32(self.content, at))

    def tables(self, field: int) -> list["Table"]:
        """A vector of tables."""
        return [Table(self.content, at + _u32(self.content, at)) for at in self._items(field)]

    def data(self, field: int) -> bytes:
        """A vector of bytes, or a string, which is stored in the same way."""
        at = self._place(field)
        if not at:
            return b""
        start = at + _u32(self.content, at)
        return self.content[start + 4 : start + 4 + _u32(self.content, start)]

    def numbers(self, field: int, layout: str) -> np.ndarray:
        """A vector of numbers, stored as numpy's `layout`."""
        at = self._place(field)
        if not at:
            return np.empty(0, layout)
        start = at + _u32(self.content, at)
        return np.frombuffer(self.content, layout, _u32(self.content, start), start + 4)

    def texts(self, field: int) -> list[str]:
        """A vector of strings."""
        starts = [at + _u32(self.content, at) for at in self._items(field)]
        return [self.content[at + 4 : at + 4 + _u32(self.content, at)].decode() for at in starts]

    def _items(self, field: int) -> list[int]:
        """The offsets of a vector's references."""
        at = self._place(field)
        if not at:
            return []
        start = at + _u32(self.content, at)
        return [start + 4 + 4 * i for i in range(_u32(self.content, start))]

    def _place(self, field: int) -> int:
        """The offset of a field; 0 if it is not stored."""
        index = self.at - struct.unpack_from("<i", self.content, self.at)[0]
        size = struct.unpack_from("<H", self.content, index)[0]
        if 4 + 2 * field >= size:
            return 0
        offset = struct.unpack_from("<H", self.content, index + 4 + 2 * field)[0]
        if not offset:
            return 0
        return self.at + offset


def _u32(content: bytes, at: int) -> int:
    return struct.unpack_from("<I", content, at)[0]
