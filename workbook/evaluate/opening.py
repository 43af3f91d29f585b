"""Open model files of unknown origin: in a process of their own, with limits.

This protects against files that hang or need too much memory. It is no sandbox: a .pt2 file can
contain code, as PyTorch warns, so open only those that you trust.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import psutil

from helpers.device.limits import memory_bytes
from modelfiles.errors import reason
from modelfiles.limits import Limits
from workbook.evaluate.runtimes import RUNTIMES
from workbook.evaluate.watched import WatchedWorker

SECONDS = 600.0  # for one answer; large networks take long for all examples
SHARE = 0.9  # of this machine's memory


def limits(seconds: float | None = None, gigabytes: float | None = None) -> Limits:
    """The limits of a process, with defaults for this machine."""
    memory = int(1e9 * gigabytes) if gigabytes else int(SHARE * memory_bytes())
    return Limits(seconds or SECONDS, min(memory, psutil.virtual_memory().total))


def start(
    path: Path, runtime: str, threads: int, limits: Limits, example: tuple[int, ...] = ()
) -> WatchedWorker:
    """A worker for a file in `runtime`, a key of RUNTIMES; the errors are those of Worker.

    `example` is the shape of the inputs, for sizes that the file leaves free.
    """
    delegate = RUNTIMES[runtime].delegate
    return WatchedWorker(path, threads, delegate=delegate, limits=limits, example=example)


@cache
def problem_of(path: Path, runtime: str, limits: Limits) -> str:
    """Why the file cannot be opened, in a sentence; "" if it can.

    Meanwhile this process imports torch, which a conversion needs anyway.
    """

    def attempt() -> str:
        try:
            start(path, runtime, 1, limits).close()
        except (RuntimeError, ValueError, OSError) as error:
            return reason(error)
        return ""

    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(attempt)
        import torch  # noqa: F401

        return opening.result()
