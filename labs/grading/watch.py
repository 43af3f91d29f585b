"""Keeps an eye on a process and all its children: memory, processor time, and ending them."""

import subprocess
import threading
import time

import psutil

from labs.grading.jail import Limits


class Watch:
    """Looks at a process and its children ten times a second, and kills them once they hold too much memory.

    reason: why they were killed, "" if they were not. cpu_s: their processor time, short of the last tenth.
    """

    def __init__(self, process: subprocess.Popen, limits: Limits):
        self.reason, self.cpu_s = "", 0.0
        self._process, self._room = process, limits.memory_mb << 20
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        seen: dict[int, float] = {}
        while self._process.poll() is None:
            used = 0
            for child in tree(self._process.pid):
                try:
                    used += child.memory_info().rss
                    seen[child.pid] = sum(child.cpu_times()[:2])
                except (psutil.NoSuchProcess, psutil.AccessDenied):  # it ended meanwhile
                    continue
            self.cpu_s = sum(seen.values())
            if used > self._room:
                self.reason = f"it took more than {self._room >> 20} MB of memory"
                for child in reversed(tree(self._process.pid)):
                    kill(child)
                return
            time.sleep(0.1)


def tree(pid: int) -> list[psutil.Process]:
    """The process and its children, theirs too; none where it has ended."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill(process: psutil.Process) -> None:
    """Kill `process` unless it has ended."""
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
