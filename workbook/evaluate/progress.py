"""What is happening, on standard error: at once, and then at most every few seconds."""

import sys
import time
from collections.abc import Callable

EVERY_S = 3  # between two lines about rounds


def say(sentence: str) -> None:
    """Print a line of progress."""
    print(sentence, file=sys.stderr, flush=True)


class Rounds:
    """Reports the rounds of a race, with the time that is left.

    `clock` returns seconds, as time.monotonic does.
    """

    def __init__(
        self,
        total: int,
        say: Callable[[str], None] = say,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total = total
        self._say = say
        self._clock = clock
        self._start_s = self._last_s = clock()

    def finished(self, number: int) -> None:
        """Report that `number` rounds are finished, unless the last line is very recent."""
        now_s = self._clock()
        if now_s - self._last_s < EVERY_S or number >= self.total:
            return
        self._last_s = now_s
        left_s = (now_s - self._start_s) / number * (self.total - number)
        self._say(f"round {number} of {self.total}, about {duration(left_s)} left")


def duration(seconds: float) -> str:
    """A duration in words.

    >>> duration(8.2), duration(90), duration(5400)
    ('8 s', '1.5 minutes', '1.5 hours')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.1f} minutes"
    return f"{seconds / 3600:.1f} hours"
