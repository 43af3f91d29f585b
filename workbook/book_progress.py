"""The progress line of `make workbook`, and a line for each notebook that is done."""

import asyncio
import contextlib
from collections.abc import Callable

from tqdm import tqdm


class Progress:
    """A bar over the seconds that all notebooks will take; in a log file only the other lines."""

    def __init__(self, expected_s: dict[str, float]) -> None:
        """`expected_s` is {notebook: seconds}, known from an earlier run or guessed."""
        self._expected_s = dict(expected_s)
        self._share_done = dict.fromkeys(expected_s, 0.0)
        self._running: dict[str, str] = {}
        self._bar = tqdm(
            total=sum(expected_s.values()),
            bar_format="{percentage:3.0f} % |{bar:24}| {desc}{remaining} left",
            smoothing=0,
            disable=None,  # disabled where standard error is no terminal
        )

    def of(self, name: str) -> Callable[[int, int], None]:
        """What a notebook calls at the start of each cell, with its number and their count."""

        def begin_cell(number: int, count: int) -> None:
            self._running[name] = f"{name.partition('_')[0]} cell {number} of {count}"
            self._share_done[name] = (number - 1) / count
            self._show()

        return begin_cell

    def end(self, name: str, line: str) -> None:
        """Print `line` for a notebook that is done."""
        self._running.pop(name, None)
        self._share_done[name] = 1.0
        tqdm.write(line)
        self._show()

    def skip(self, name: str, line: str) -> None:
        """Print `line` for a notebook that does not run."""
        self._expected_s[name] = 0.0
        self._bar.total = sum(self._expected_s.values()) or 1
        self.end(name, line)

    @contextlib.asynccontextmanager
    async def shown(self):
        """Keep the time that is left up to date while cells run."""
        ticks = asyncio.create_task(self._tick())
        try:
            yield
        finally:
            ticks.cancel()
            self._bar.close()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1)
            self._bar.refresh()

    def _show(self) -> None:
        self._bar.n = sum(
            seconds * self._share_done[name] for name, seconds in self._expected_s.items()
        )
        self._bar.set_description_str("".join(f"{text}, " for text in self._running.values()))
