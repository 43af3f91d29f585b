"""What a submission may use, and the watch over it: memory, processor time, deadlines."""

import select
import subprocess
import threading
import time
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Limits:
    """What one submission may use. Seconds are elapsed time, sizes are in MB.

    On a busy machine, a call and loading may take up to three times as long.
    """

    call_s: float = 10  # one call of a student's function
    load_s: float = 30  # the definitions of a notebook
    wall_s: float = 180  # all calls together
    notebook_s: float = 120  # executing the whole notebook for the feedback page
    memory_mb: int = 3000  # resident, all processes together
    disk_mb: int = 256  # what it writes, and what was submitted
    processes: int = 128  # processes and threads

    def rlimits(self, seconds: float) -> dict[str, int]:
        """Limits for worker.restrict, with `seconds` of processor time and 10 more.

        The address space is larger than the resident limit: libraries reserve more than they use.
        """
        return {
            "RLIMIT_AS": (2 * self.memory_mb + 2000) << 20,
            "RLIMIT_FSIZE": self.disk_mb << 20,
            "RLIMIT_CORE": 0,
            "RLIMIT_NPROC": self.processes,
            "RLIMIT_CPU": int(seconds) + 10,
        }


DEFAULT_LIMITS = Limits()


class Watch:
    """Measures a process and its children ten times a second.

    It kills them once they use too much memory.

    reason: why they were killed, "" if they were not. cpu_s: their processor time, except for
    the last tenth of a second.
    """

    def __init__(self, process: subprocess.Popen, limits: Limits):
        self.reason = ""
        self.cpu_s = 0.0
        self._process = process
        self._room = limits.memory_mb << 20
        threading.Thread(target=self._measure, daemon=True).start()

    def _measure(self) -> None:
        seen: dict[int, float] = {}
        while self._process.poll() is None:
            children = tree(self._process.pid)
            resident = 0
            for child in children:
                try:
                    resident += child.memory_info().rss
                    seen[child.pid] = sum(child.cpu_times()[:2])
                except (psutil.NoSuchProcess, psutil.AccessDenied):  # it has ended
                    continue
            self.cpu_s = sum(seen.values())
            if resident > self._room and _memory(children) > self._room:
                self.reason = f"it took more than {self._room >> 20} MB of memory"
                for child in reversed(tree(self._process.pid)):
                    kill(child)
                return
            time.sleep(0.1)


class Deadline:
    """`seconds` of elapsed time, or up to three times as long on a busy machine.

    The time is up early only if the process has used the processor for most of it. A correct
    function must not lose points because many submissions are graded at once.
    """

    def __init__(self, seconds: float, watch: Watch):
        self._seconds = seconds
        self._watch = watch
        self._began = time.monotonic()
        self._cpu = watch.cpu_s

    def wait(self, pipe, writing: bool) -> None:
        """Return once `pipe` can be read or written; TimeoutError when the time is up."""
        read = [] if writing else [pipe]
        written = [pipe] if writing else []
        while not any(select.select(read, written, [], 0.2)):
            self._check()
        self._check()

    def _check(self) -> None:
        passed = time.monotonic() - self._began
        worked = self._watch.cpu_s - self._cpu
        if passed > self._seconds and (worked >= 0.9 * self._seconds or passed > 3 * self._seconds):
            raise TimeoutError


def _memory(processes: list[psutil.Process]) -> int:
    """Bytes that the processes use together; shared memory counts once."""
    total = 0
    for process in processes:
        try:
            total += _proportional(process)
        except psutil.NoSuchProcess:
            continue
    return total


def _proportional(process: psutil.Process) -> int:
    try:
        return process.memory_full_info().pss
    except psutil.AccessDenied:
        return process.memory_info().rss


def tree(pid: int) -> list[psutil.Process]:
    """The process and all its descendants; none if it has ended."""
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
