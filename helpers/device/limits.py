"""What this process may use of the machine: a container or a service often has less than all.

Linux limits processes by control groups, of version 1 or 2: folders with a file for each limit.
"""

import math
import os
from pathlib import Path

import psutil

from helpers.device._files import read

# the two controllers
PROCESSOR = "cpu"
MEMORY = "memory"


def cores(root: Path | str = "/") -> int:
    """How many cores this process can keep busy, by its affinity and its share of time."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    return max(1, min([cores, *map(math.ceil, _processor_shares(Path(root)))]))


def memory_bytes(root: Path | str = "/") -> int:
    """How much memory this process may use: the machine's, or less."""
    limits = [_memory_limit(folder) for folder in _folders(Path(root), MEMORY)]
    return min([psutil.virtual_memory().total, *filter(None, limits)])


def available_bytes(root: Path | str = "/") -> int:
    """How much of that is free."""
    free = [psutil.virtual_memory().available]
    for folder in _folders(Path(root), MEMORY):
        limit = _memory_limit(folder)
        if limit:
            used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes")
            free.append(min(limit, max(0, limit - (used or 0) + _file_cache(folder))))
    return min(free)


def _memory_limit(folder: Path) -> int | None:
    return _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")


def _processor_shares(root: Path) -> list[float]:
    """The limits on processor time, in cores."""
    shares = []
    for folder in _folders(root, PROCESSOR):
        quota, period = [*_words(folder / "cpu.max"), "", ""][:2]
        if not quota:
            quota = " ".join(_words(folder / "cpu.cfs_quota_us"))
            period = " ".join(_words(folder / "cpu.cfs_period_us"))
        if quota.isdigit() and period.isdigit() and int(period):  # "max" and -1 stand for no limit
            shares.append(int(quota) / int(period))
    return shares


def _file_cache(folder: Path) -> int:
    """Memory that keeps files at hand; a program that needs it gets it."""
    words = _words(folder / "memory.stat")
    counts = dict(zip(words[::2], words[1::2]))
    count = counts.get("total_inactive_file", counts.get("inactive_file", "0"))
    return int(count) if count.isdigit() else 0


def _folders(root: Path, controller: str) -> list[Path]:
    """The folders of this process's control group and of all above it; each may set a limit.

    In a container, the path may be that on the machine outside, so the top folder is always used.
    """
    folders = []
    for line in (read(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup"
        if controllers:  # version 1: a folder for each controller
            top /= controller
        parts = [part for part in path.split("/") if part not in ("", "..")]
        folders += [top.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]
    return folders


def _words(path: Path) -> list[str]:
    return (read(path) or "").split()


def _number(path: Path) -> int | None:
    words = _words(path)
    return int(words[0]) if words and words[0].isdigit() else None
