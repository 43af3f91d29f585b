"""Cells of several notebooks take turns: one that measures time runs while no other does.

Some cells leave a process running, and nothing can be measured until a later cell has ended it.
They begin when the notebooks that run beside them have measured.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """Who may run: any number of ordinary cells, or one that must be alone."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._running = 0
        self._is_alone = False
        self._waiting_alone = 0
        self._will_measure = 0

    @asynccontextmanager
    async def measuring(self) -> AsyncIterator[None]:
        """Inside, a notebook still has cells to run alone."""
        self._will_measure += 1
        try:
            yield
        finally:
            async with self._changed:
                self._will_measure -= 1
                self._changed.notify_all()

    @asynccontextmanager
    async def turn(self, alone: bool = False, runs_on: bool = False) -> AsyncIterator[None]:
        """Wait for a turn and keep it inside the `with`: `runs_on` for many cells, not only one."""
        if runs_on:
            async with self._changed:
                await self._changed.wait_for(lambda: self._will_measure == 0)
        if alone:
            await self._wait_for_silence()
        else:
            await self._wait_for_others()
        try:
            yield
        finally:
            async with self._changed:
                self._running -= 1
                self._is_alone = False
                self._changed.notify_all()

    async def _wait_for_silence(self) -> None:
        async with self._changed:
            self._waiting_alone += 1
            try:
                await self._changed.wait_for(lambda: self._running == 0)
                self._running += 1
                self._is_alone = True
            finally:
                self._waiting_alone -= 1
                self._changed.notify_all()

    async def _wait_for_others(self) -> None:
        """Those that wait to be alone come first: else they would wait for ever."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._is_alone and not self._waiting_alone)
            self._running += 1
