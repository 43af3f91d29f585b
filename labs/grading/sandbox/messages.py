"""Messages between the grader and a student process.

A message is a JSON tree whose arrays follow as raw bytes, never pickle. Its frame is: 8 bytes of
length of the JSON part, 8 bytes of length of the arrays' bytes, the JSON part, the bytes. The
reader trusts nothing: lengths, types and shapes are checked first.

This file is also loaded inside the jail.
"""

import json
import math
import struct

import numpy as np

MAX_BYTES = 64 << 20  # no answer of any lab is near this
MAX_TREE = 4 << 20  # a tree of this size needs some 100 MB as Python objects
SMALLEST_PART = len('{"plain": 0}')  # as JSON
_DTYPES = {np.dtype(code).str: np.dtype(code) for code in "?bhilqBHILQefdFD"}
_HEAD = struct.Struct("<QQ")
# what reading a malformed message may raise
_MALFORMED = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    struct.error,
    RecursionError,
    OverflowError,
)


class WireError(ValueError):
    """A message is too large, malformed, or contains what cannot be sent; the text says which."""


def encode(value) -> bytes:
    """A frame with `value`.

    That is None, a bool, int, float or str, a numpy or torch array, or a dict with text keys, a
    list or a tuple of them.
    """
    blobs: list[bytes] = []
    tree = _tree(value, blobs, depth=0)
    head = json.dumps(tree).encode()
    body = b"".join(blobs)
    _check_sizes(len(head), len(body))
    return _HEAD.pack(len(head), len(body)) + head + body


def _tree(value, blobs: list[bytes], depth: int):
    if depth > 20:
        raise WireError("the value is nested too deeply")
    # a torch tensor, without importing torch
    if hasattr(value, "detach") and hasattr(value, "numpy"):
        value = value.detach().cpu().resolve_conj().resolve_neg().numpy()
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        _check_sizes(0, array.nbytes)
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
        if array.dtype.str not in _DTYPES:
            raise WireError(
                f"an array of type {array.dtype} cannot be sent, only booleans and numbers"
            )
        blobs.append(array.tobytes())
        return {"array": [array.dtype.str, list(array.shape)]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"plain": value}
    if isinstance(value, (list, tuple, dict)):
        _check_sizes(len(value) * SMALLEST_PART, 0)  # before the seconds that a million parts take
    if isinstance(value, (list, tuple)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_tree(v, blobs, depth + 1) for v in value]}
    if isinstance(value, dict):
        return {"dict": [[str(key), _tree(v, blobs, depth + 1)] for key, v in value.items()]}
    if hasattr(value, "__array__"):
        return _tree(np.asarray(value), blobs, depth + 1)
    raise WireError(
        f"a {type(value).__name__} cannot be sent: return numbers, arrays, or tuples of them"
    )


def read_frame(read) -> bytes:
    """One frame's bytes through `read(n)`, which gives exactly n bytes.

    WireError if it is too large.
    """
    head = read(_HEAD.size)
    sizes = _HEAD.unpack(head)
    _check_sizes(*sizes)
    return head + read(sum(sizes))


def _check_sizes(tree: int, body: int) -> None:
    if body > MAX_BYTES:
        raise WireError(
            f"arrays of {body >> 20} MiB are too large: at most {MAX_BYTES >> 20} MiB can be sent"
        )
    if tree > MAX_TREE:
        raise WireError("a value of so many parts is too large to be sent: return arrays")


def decode(frame: bytes, lists_to_arrays: bool = True):
    """The value in `frame`.

    Arrays of no dimension become numpy scalars. With `lists_to_arrays`, lists of numbers become
    arrays. WireError if the frame is malformed.
    """
    try:
        size, body_size = _HEAD.unpack_from(frame)
        tree = json.loads(frame[_HEAD.size : _HEAD.size + size])
        body = memoryview(frame)[_HEAD.size + size :]
        if len(body) != body_size:
            raise WireError("the lengths do not fit")
        value, used = _value(tree, body, 0, lists_to_arrays)
    except WireError:
        raise
    except _MALFORMED as error:
        raise WireError(f"a malformed message ({type(error).__name__})") from error
    if used != len(body):
        raise WireError("the arrays do not have the announced sizes")
    return value


def _value(tree, body: memoryview, offset: int, lists_to_arrays: bool):
    ((kind, content),) = tree.items()
    if kind == "plain":
        if not (content is None or isinstance(content, (bool, int, float, str))):
            raise WireError("a malformed message")
        return content, offset
    if kind == "array":
        code, shape = content
        dtype = _DTYPES[code]
        if len(shape) > 32 or not all(type(n) is int and n >= 0 for n in shape):
            raise WireError("an array with an impossible shape")
        size = math.prod(shape) * dtype.itemsize
        if size > len(body) - offset:
            raise WireError("an array that is shorter than its shape requires")
        array = np.frombuffer(body[offset : offset + size], dtype).reshape(shape).copy()
        if not shape:
            array = array[()]
        return array, offset + size
    names = []
    values = []
    for entry in content:
        if kind == "dict":
            name, entry = entry
            names.append(str(name))
        value, offset = _value(entry, body, offset, lists_to_arrays)
        values.append(value)
    if kind == "dict":
        return dict(zip(names, values)), offset
    if kind == "tuple":
        return tuple(values), offset
    if kind == "list":
        if lists_to_arrays:
            values = _as_array(values)
        return values, offset
    raise WireError("a malformed message")


def _as_array(values: list):
    """`values` as an array if it is a rectangular list of numbers, else as it is."""
    numeric = (bool, int, float, np.ndarray, np.generic)
    if not values or not all(isinstance(value, numeric) for value in values):
        return values
    if len({np.shape(value) for value in values}) > 1:
        return values
    array = np.asarray(values)
    if array.dtype.str not in _DTYPES:
        return values
    return array
