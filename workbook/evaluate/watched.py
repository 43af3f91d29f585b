"""A Worker whose memory is read after every round of the race."""

import re
from pathlib import Path

import numpy as np

from helpers.workers import Worker
from modelfiles.limits import NO_LIMITS, Limits


class WatchedWorker(Worker):
    """A Worker that also reports its average memory.

    It is read between rounds, so that reading it takes no time from the calls.
    """

    def __init__(
        self,
        path: Path | str,
        threads: int = 1,
        delegate: str | None = None,
        limits: Limits = NO_LIMITS,
        example: tuple[int, ...] = (),
    ) -> None:
        super().__init__(path, threads, delegate=delegate, limits=limits, example=example)
        self._resident: list[int] = []

    def time_calls(self, calls: int, discard: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run timing.time_calls in the worker process, then read its memory."""
        taken = super().time_calls(calls, discard)
        resident = resident_bytes(self._process.pid)
        if resident is not None:
            self._resident.append(resident)
        return taken

    def average_rss(self) -> float | None:
        """The mean memory of the process after the rounds so far, in bytes; None if unknown."""
        if not self._resident:
            return None
        return float(np.mean(self._resident))


def resident_bytes(process: int) -> int | None:
    """The memory of a running process (VmRSS) in bytes; None if the system has no /proc."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    match = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    return int(match[1]) * 1024 if match else None
