"""Does the machine get hot, and slow? The rate over time, beside temperature, clock and flags."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from helpers import device
from helpers.vision.stages import StageClock

EVERY_S = 10.0
MOST = 10_000  # moments that are kept: more than a day
FELL = 0.95  # of the first rate; less is a fall


@dataclass(frozen=True)
class Moment:
    """What was seen since the moment before, and the machine's state at the end of it.

    `minute` counts from the beginning. `temp_c` and `ghz` are None where the machine does not
    report them, and so is `flags`; without throttling `flags` is "".
    """

    minute: float
    fps: float
    temp_c: float | None
    ghz: float | None
    flags: str | None


class Heat:
    """Moments of a long run. `conditions` gives the state as helpers.device.conditions does."""

    def __init__(
        self,
        stages: Callable[[], StageClock],
        conditions: Callable[[], dict] = device.conditions,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`stages` gives the clock of the picture that runs now, `clock` the time in seconds."""
        self.moments: deque[Moment] = deque(maxlen=MOST)
        self._stages = stages
        self._conditions = conditions
        self._clock = clock
        self._begin_s = clock()
        self._last_s = self._begin_s
        self._frames = stages().frames
        self._of = stages()

    def note(self) -> Moment:
        """Add a moment, and return it."""
        now_s = self._clock()
        stages = self._stages()
        if stages is not self._of:  # it was stopped and started: its clock is a new one
            self._of = stages
            self._frames = 0
        state = self._conditions()
        khz = state["clock_khz"] or state["freq_khz"]
        moment = Moment(
            minute=(now_s - self._begin_s) / 60,
            fps=(stages.frames - self._frames) / (now_s - self._last_s),
            temp_c=state["temp_c"],
            ghz=khz / 1e6 if khz else None,
            flags=_flags(state["throttled"]),
        )
        self._last_s = now_s
        self._frames = stages.frames
        self.moments.append(moment)
        return moment

    def table(self) -> pd.DataFrame:
        """A row per moment."""
        rows = [
            {
                "minute": f"{one.minute:.1f}",
                "frames per second": f"{one.fps:.1f}",
                "°C": _text(one.temp_c, ".1f"),
                "GHz": _text(one.ghz, ".2f"),
                "the Pi reports": one.flags or "-",
            }
            for one in self.moments
        ]
        return pd.DataFrame(rows)

    def report(self) -> str:
        """In sentences: how the rate changed, and whether the machine was throttled."""
        if len(self.moments) < 2:
            return "The run was too short to compare its beginning with its end."
        first = self.moments[0]
        last = self.moments[-1]
        rates = f"{first.fps:.1f} to {last.fps:.1f} frames per second"
        said = f"The rate stayed about the same: {rates} in {last.minute:.1f} minutes."
        if last.fps < FELL * first.fps:
            said = f"The rate fell from {rates} in {last.minute:.1f} minutes."
        return f"{said} {self._throttling()}"

    def _throttling(self) -> str:
        known = [one for one in self.moments if one.flags is not None]
        if not known:
            return "This machine does not report throttling."
        hot = [one for one in known if one.flags]
        if not hot:
            return "The Pi reported no throttling."
        names = dict.fromkeys(name for one in hot for name in (one.flags or "").split(", "))
        return (
            f"From minute {hot[0].minute:.1f} on the Pi reported: {', '.join(names)}. Cool it, and "
            "use the official power supply."
        )


def line(moment: Moment) -> str:
    """A moment in one line, for the page and the terminal."""
    parts = [f"{_text(moment.temp_c, '.1f')} °C", f"{_text(moment.ghz, '.2f')} GHz"]
    known = [part for part in parts if not part.startswith("-")]
    if moment.flags:
        known.append(moment.flags)
    return ", ".join(known)


def _flags(throttled: str | None) -> str | None:
    """What happens now in words: since the last start, other programs may have been the reason."""
    if throttled is None:
        return None
    names = device.throttle_flags(throttled)
    return ", ".join(name for name in names if not name.endswith("since boot"))


def _text(value: float | None, form: str) -> str:
    if value is None:
        return "-"
    return format(value, form)
