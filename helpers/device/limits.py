"""The cores and memory that this process may use: a container or a service often has limits.

Linux limits processes by control groups, version 1 or 2: folders with a file for each limit.
"""

import math
import os
from pathlib import Path

import psutil

from helpers.device._files import read


def cores(root: Path | str = "/") -> int:
    """The number of cores that this process may use, by its affinity and its CPU quota."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    return max(1, min([cores, *map(math.ceil, _processor_shares(Path(root)))]))


def memory_bytes(root: Path | str = "/") -> int:
    """The memory that this process may use: the machine's, or less."""
    limits = [memory_limit(folder) for folder in control_groups(Path(root), "memory")]
    return min([psutil.virtual_memory().total, *filter(None, limits)])


def memory_limit(folder: Path) -> int | None:
    """The bytes that a control group may use; None if it sets no limit."""
    return read_number(folder / "memory.max") or read_number(folder / "memory.limit_in_bytes")


def _processor_shares(root: Path) -> list[float]:
    """The limits on processor time, in cores."""
    shares = []
    for folder in control_groups(root, "cpu"):
        quota, period = [*read_words(folder / "cpu.max"), "", ""][:2]
        if not quota:
            quota = " ".join(read_words(folder / "cpu.cfs_quota_us"))
            period = " ".join(read_words(folder / "cpu.cfs_period_us"))
        if quota.isdigit() and period.isdigit() and int(period):  # "max" and -1 stand for no limit
            shares.append(int(quota) / int(period))
    return shares


def control_groups(root: Path, controller: str) -> list[Path]:
    """The folders of this process's control group and of all above it; each may set a limit.

    In a container, the path may be that on the machine outside, so the top folder is always used.
    `controller` is "cpu" or "memory".
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


def read_words(path: Path) -> list[str]:
    """The words in a file; [] if it is missing."""
    return (read(path) or "").split()


def read_number(path: Path) -> int | None:
    """The whole number that a file begins with; None if it has none."""
    words = read_words(path)
    return int(words[0]) if words and words[0].isdigit() else None
