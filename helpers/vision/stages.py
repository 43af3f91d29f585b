"""Where the time of a frame goes: the stages of a live picture, and the time from light to result.

Frames per second alone hide a queue: a picture can be fluent and two seconds late.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

import numpy as np
import pandas as pd

from helpers.intervals import percentile
from helpers.vision.sources import Frame

CAPTURE = "capture"  # from the light to the moment when the frame is taken
WHOLE = "light to result"


class StageClock:
    """The times of the last `keep` frames, by stage. Several threads may use it.

    >>> stages = StageClock()
    >>> frame = Frame(np.zeros((4, 4, 3), np.uint8), exposed_ns=time.monotonic_ns(), number=0)
    >>> stages.begin(frame)
    >>> with stages.stage("network"):
    ...     time.sleep(0.01)
    >>> stages.finish(frame)
    >>> stages.table().index.tolist()
    ['capture', 'network', 'light to result']
    >>> stages.latency_ms(50) > 10
    True
    """

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns, keep: int = 300) -> None:
        """`clock` gives the nanoseconds of the clock that Frame.exposed_ns is on."""
        self.frames = 0  # finished since the beginning
        self._clock = clock
        self._keep = keep
        self._lock = Lock()
        self._times_ns: dict[str, deque[int]] = {}
        self._latencies_ns: deque[int] = deque(maxlen=keep)
        self._finished_ns: deque[int] = deque(maxlen=keep)

    def begin(self, frame: Frame) -> None:
        """Call it when `frame` is taken: its age is the stage "capture".

        It consists of the exposure, the transfer from the sensor, and the wait until the frame is
        taken.
        """
        self._add(CAPTURE, self._clock() - frame.exposed_ns)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as the stage `name`. A block that fails is not counted."""
        start_ns = self._clock()
        yield
        self._add(name, self._clock() - start_ns)

    def finish(self, frame: Frame) -> None:
        """Call it when the result of `frame` is shown."""
        now_ns = self._clock()
        with self._lock:
            self.frames += 1
            self._latencies_ns.append(now_ns - frame.exposed_ns)
            self._finished_ns.append(now_ns)

    @property
    def fps(self) -> float:
        """Frames that were finished per second; NaN before the second one."""
        with self._lock:
            finished_ns = list(self._finished_ns)
        if len(finished_ns) < 2 or finished_ns[-1] == finished_ns[0]:
            return math.nan
        return (len(finished_ns) - 1) * 1e9 / (finished_ns[-1] - finished_ns[0])

    def latency_ms(self, q: float) -> float:
        """The q-th percentile of the time from light to result; NaN before the first frame."""
        with self._lock:
            latencies_ns = list(self._latencies_ns)
        return _percentile_ms(latencies_ns, q)

    def table(self) -> pd.DataFrame:
        """p50_ms and p90_ms of each stage in the order of their first use, then from light to
        result. Percentiles of stages do not add up to the last row.
        """
        with self._lock:
            rows = {name: list(times_ns) for name, times_ns in self._times_ns.items()}
            rows[WHOLE] = list(self._latencies_ns)
        columns = {f"p{q}_ms": [_percentile_ms(row, q) for row in rows.values()] for q in (50, 90)}
        return pd.DataFrame(columns, index=pd.Index(rows, name="stage"))

    def _add(self, name: str, duration_ns: int) -> None:
        with self._lock:
            if name not in self._times_ns:
                self._times_ns[name] = deque(maxlen=self._keep)
            self._times_ns[name].append(duration_ns)


def _percentile_ms(times_ns: list[int], q: float) -> float:
    if not times_ns:
        return math.nan
    return percentile(np.array(times_ns), q) / 1e6
