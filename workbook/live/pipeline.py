"""The loop from a frame to a JPEG, and the newest JPEG for those who wait for it."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition, Event

import numpy as np

from helpers.vision import as_jpeg
from helpers.vision.camera import Frame, Latest
from helpers.vision.stages import StageClock


@dataclass(frozen=True)
class Label:
    """What was found: a name, and its score from 0 to 1."""

    name: str
    score: float


@dataclass(frozen=True)
class Shown:
    """A picture to show, as JPEG, with the labels in it and the frame that it was made from.

    `exposed_ns` is the time of the frame's exposure on the clock of time.monotonic_ns. `turn`
    counts the pictures from 1 on.
    """

    jpeg: bytes
    labels: tuple[Label, ...]
    exposed_ns: int
    turn: int


class Newest:
    """The newest picture, for any number of viewers. There is one, so memory is bounded.

    A viewer asks for a picture after the one that it has. If it is slow, it misses pictures, and
    never gets an old one.
    """

    def __init__(self) -> None:
        self._shown: Shown | None = None
        self._turn = 0
        self._is_closed = False
        self._changed = Condition()

    def put(self, jpeg: bytes, labels: tuple[Label, ...], frame: Frame) -> None:
        """Replace the picture and wake those who wait."""
        with self._changed:
            self._turn += 1
            self._shown = Shown(jpeg, labels, frame.exposed_ns, self._turn)
            self._changed.notify_all()

    def clear(self) -> None:
        """Forget the picture: nothing is kept after the camera was stopped."""
        with self._changed:
            self._shown = None
            self._changed.notify_all()

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def after(self, turn: int, timeout_s: float) -> Shown | None:
        """The newest picture, once it is another one than `turn`; None after `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._is_other(turn), timeout_s)
            if self._is_other(turn):
                return self._shown
            return None

    def _is_other(self, turn: int) -> bool:
        return self._shown is not None and self._shown.turn != turn


def run(
    latest: Latest,
    step: Callable[[np.ndarray], np.ndarray],
    show: Callable[[bytes, Frame], object],
    stages: StageClock,
    stop: Event,
) -> None:
    """Show frames until `stop` is set or the source ends.

    For each frame, the newest at that moment, `step` turns the picture (uint8 H x W x 3, RGB) into
    the one to show. It is encoded as JPEG, and show(jpeg, frame) shows it. Errors of the source, of
    `step` and of `show` are raised.
    """
    while not stop.is_set():
        frame = latest.take()
        if frame is None:
            break
        stages.begin(frame)
        picture = step(frame.image)
        with stages.stage("encode"):
            jpeg = as_jpeg(picture)
        show(jpeg, frame)
        stages.finish(frame)
