"""How much memory is free for this process, which may be less than the machine has free."""

from pathlib import Path

import psutil

from helpers.device.limits import control_groups, memory_limit, read_number, read_words


def available_bytes(root: Path | str = "/") -> int:
    """How much of the memory that this process may use is free."""
    free = [psutil.virtual_memory().available]
    for folder in control_groups(Path(root), "memory"):
        limit = memory_limit(folder)
        if limit:
            current = read_number(folder / "memory.current")  # version 2 of control groups
            used = current or read_number(folder / "memory.usage_in_bytes") or 0
            free.append(min(limit, max(0, limit - used + _file_cache(folder))))
    return min(free)


def _file_cache(folder: Path) -> int:
    """Bytes of files that the kernel keeps in memory; a program that needs them gets them."""
    words = read_words(folder / "memory.stat")
    counts = dict(zip(words[::2], words[1::2]))
    count = counts.get("total_inactive_file", counts.get("inactive_file", "0"))
    return int(count) if count.isdigit() else 0
