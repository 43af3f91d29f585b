"""Functions for hidden checks. Most turn what a student's function returned into numbers.

If a value is not as expected, they raise AssertionError with a sentence for the student. The
sentence contains no expected value.
"""

import json
import zipfile
from pathlib import Path

import numpy as np

# what a broken or hostile .npz file may raise
_UNREADABLE = (
    OSError,
    ValueError,
    zipfile.BadZipFile,
    EOFError,
    KeyError,
    NotImplementedError,
    MemoryError,
)


def array(value, shape: tuple, what: str, *, integers: bool = False) -> np.ndarray:
    """`value` as a finite array of `shape`; with `integers`, of an integer type.

    `what` names it in the message.
    """
    kinds = "iuf"
    wanted = "an array of numbers"
    if integers:
        kinds = "iu"
        wanted = "an array of an integer type"
    try:
        found = np.asarray(value)
    except ValueError:
        found = np.array(None)
    assert found.dtype.kind in kinds, f"{what}: {wanted} was expected"
    assert found.shape == tuple(shape), (
        f"{what}: its shape is {found.shape}, it should be {tuple(shape)}"
    )
    assert np.isfinite(found).all(), f"{what}: it contains NaN or infinity"
    return found


def number(value, what: str) -> float:
    """`value`, a finite number or an array of one, as a float."""
    found = np.asarray(value)
    assert found.dtype.kind in "iuf" and found.size == 1 and np.isfinite(found).all(), (
        f"{what}: a number was expected"
    )
    return float(found.reshape(()))


def whole(value, what: str) -> int:
    """`value` as an int; a float such as 152.0 is accepted."""
    found = number(value, what)
    assert found == int(found), f"{what}: a whole number was expected"
    return int(found)


def parts(value, count: int, what: str) -> tuple:
    """`value`, a tuple, list or array of `count` entries, as a tuple."""
    sized = isinstance(value, (tuple, list)) or (isinstance(value, np.ndarray) and value.ndim > 0)
    assert sized and len(value) == count, f"{what}: {count} values were expected"
    return tuple(value)


def close(found: np.ndarray, expected: np.ndarray, what: str, *, relative: float = 1e-4) -> None:
    """Assert that `found` equals `expected` within `relative` times its largest absolute value."""
    tolerance = relative * np.abs(expected).max(initial=1e-30)
    differences = np.abs(np.asarray(found, np.float64) - expected)
    assert (differences <= tolerance).all(), f"{what}: some values are wrong"


def equal(found: np.ndarray, expected: np.ndarray, what: str) -> None:
    """Assert that the integer arrays are equal; the message counts the wrong numbers."""
    differ = int(np.count_nonzero(found != expected))
    assert not differ, f"{what}: {differ:,} of {expected.size:,} numbers are wrong"


def arrays_of(path: Path, *names: str) -> dict[str, np.ndarray]:
    """The arrays `names` of a submitted .npz file.

    Nothing is unpickled, and no file of more than 64 MB unpacked is read.
    """
    message = f"{path.name} cannot be read: write it with np.savez, from arrays of numbers"
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            assert size < 64e6, f"{path.name} is too large"
        with np.load(path, allow_pickle=False) as stored:
            missing = [name for name in names if name not in stored.files]
            assert not missing, f"{path.name} lacks {', '.join(missing)}"
            return {name: stored[name] for name in names}
    except _UNREADABLE as error:
        raise AssertionError(message) from error


def json_of(path: Path, *names: str) -> dict:
    """The object in a submitted JSON file, with at least the entries `names`."""
    try:
        found = json.loads(path.read_bytes()[:1_000_000])
    except (OSError, ValueError, RecursionError) as error:
        raise AssertionError(f"{path.name} is not JSON: write it with json.dump") from error
    missing = [name for name in names if not isinstance(found, dict) or name not in found]
    assert not missing, f"{path.name} lacks {', '.join(missing)}"
    return found
