"""Start and stop: a source, a network and the pipeline, in a thread of their own."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from threading import Event, Lock, Thread

from helpers.vision.camera import Frame, Latest, Source
from helpers.vision.stages import StageClock
from modelfiles.errors import WorkbookError, reason
from workbook.live import pipeline
from workbook.live.networks import Step
from workbook.live.pipeline import Newest

FIGURES_S = 0.5  # how often the figures are computed
CLOSE_S = 5.0  # longer than a camera that works takes to close


class Session:
    """The live picture: `newest` has it while the session runs.

    open_source() gives the source, which is open only while the session runs. `step` is the
    network.
    """

    def __init__(self, open_source: Callable[[], Source], step: Step) -> None:
        self.newest = Newest()
        self.processor = ""  # its temperature and clock, for the page
        self._open_source = open_source
        self._step = step
        self._lock = Lock()  # one start or stop at a time
        self._stop = Event()
        self._thread: Thread | None = None
        self._latest: Latest | None = None
        self._source_name = ""
        self._problem = ""
        self._figures: dict = {}
        self._figures_at = -math.inf

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def stages(self) -> StageClock:
        """The clock of the picture that runs now, or ran last."""
        return self._step.stages

    @property
    def is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Open the source and run, unless it runs. The errors of the source are raised."""
        with self._lock:
            if self.is_running:
                return
            self._end()
            self._problem = ""
            try:
                source = self._open_source()
            except (WorkbookError, ValueError, OSError) as error:
                self._problem = _sentence(error)
                raise
            self._source_name = source.name
            self._step.stages = StageClock()
            self._figures = {}
            self._figures_at = -math.inf
            self._stop.clear()
            self._latest = Latest(source)
            # a daemon: a camera that hangs must not keep the process from ending
            self._thread = Thread(
                target=self._run, args=(self._latest,), name="live picture", daemon=True
            )
            self._thread.start()

    def state(self) -> dict:
        """What the page shows next to the picture, ready for JSON."""
        latest = self._latest
        dropped = 0
        if latest is not None:
            dropped = latest.dropped
        return {
            "running": self.is_running,
            "problem": self._problem,
            "source": self._source_name,
            "network": self._step.name,
            "dropped": dropped,
            "frames": self._step.stages.frames,
            "processor": self.processor,
            "labels": [asdict(label) for label in self._step.labels],
            **self._figures,
        }

    def stop(self) -> None:
        """End the thread, close the source, forget the picture. It may be called again.

        It waits CLOSE_S at most for the source. One that hangs is named in the state's "problem".
        """
        with self._lock:
            self._end()

    def _end(self) -> None:
        self._stop.set()
        latest = self._latest
        self._latest = None
        if latest is not None:
            closing = Thread(target=latest.close, name="closing the source", daemon=True)
            closing.start()  # wakes the thread of the picture
            closing.join(CLOSE_S)
            if closing.is_alive():
                self._problem = (
                    f"{self._source_name} does not respond, so it could not be closed: unplug it, "
                    "and start again"
                )
            elif self._thread is not None:
                self._thread.join()
        self._thread = None
        self.newest.clear()

    def _run(self, latest: Latest) -> None:
        try:
            pipeline.run(latest, self._step, self._show, self._step.stages, self._stop)
            problem = f"{self._source_name} has ended."
        except Exception as error:  # any error: the page shows it
            problem = _sentence(error)
        if latest is self._latest:  # otherwise it was stopped, and another one may run
            self._problem = problem
            self.newest.clear()
        latest.close()

    def _show(self, jpeg: bytes, frame: Frame) -> None:
        self.newest.put(jpeg, self._step.labels, frame)
        # here, so that viewers cost no time, however many they are
        now = time.monotonic()
        if now - self._figures_at >= FIGURES_S:
            self._figures_at = now
            self._figures = self._computed()

    def _computed(self) -> dict:
        stages = self._step.stages
        table = stages.table()
        return {
            "fps": _rounded(stages.fps),
            "p50_ms": _rounded(stages.latency_ms(50)),
            "p90_ms": _rounded(stages.latency_ms(90)),
            "stages": [
                {"stage": str(stage), "p50_ms": _rounded(p50), "p90_ms": _rounded(p90)}
                for stage, p50, p90 in zip(table.index, table["p50_ms"], table["p90_ms"])
            ],
        }


def _rounded(value: float) -> float | None:
    """One digit after the point; None for NaN, which JSON does not have."""
    if math.isnan(value):
        return None
    return round(value, 1)


def _sentence(error: Exception) -> str:
    if isinstance(error, (WorkbookError, ValueError, OSError)):
        return str(error)
    return reason(error)
