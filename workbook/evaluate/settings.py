"""What `--tune` may change: threads, cores, waiting threads, and options of each runtime.

Nothing here changes the numbers that a network computes with: half precision is another file, not
a setting.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from modelfiles.runtimes.options import VARIABLE

USES_OPENMP = ("torch", "ncnn")  # OMP_WAIT_POLICY and GOMP_SPINCOUNT are those of their threads

# {option: its values other than the default}; modelfiles.runtimes.options explains them
OPTIONS: dict[str, dict[str, tuple]] = {
    "onnx": {
        "spinning": (False,),
        "denormals_as_zero": (True,),
        "memory_arena": (False,),
        "memory_pattern": (False,),
    },
    "tflite": {"xnnpack": (False,)},
    "ncnn": {
        "winograd": (False,),
        "sgemm": (False,),
        "packing_layout": (False,),
        "lightmode": (False,),
        "blocktime": (0, 100),
    },
    "mnn": {"power": ("low", "high"), "memory": ("low", "high")},
    "torch": {"denormals_as_zero": (True,)},
}


@dataclass(frozen=True)
class Setting:
    """One way to run a model file. `cores` None: the system chooses; `wait` is OMP_WAIT_POLICY."""

    threads: int = 1
    cores: tuple[int, ...] | None = None
    wait: str | None = None
    options: tuple[tuple[str, object], ...] = field(default=())

    def __str__(self) -> str:
        words = [f"{self.threads} thread{'s' * (self.threads > 1)}"]
        if self.cores:
            words.append(f"on core{'s' * (len(self.cores) > 1)} {', '.join(map(str, self.cores))}")
        if self.wait:
            words.append(f"OMP_WAIT_POLICY={self.wait}")
        words += [f"{name}={value}" for name, value in self.options]
        return ", ".join(words)

    def variables(self) -> dict[str, str]:
        """The environment variables of a process with this setting."""
        found = {}
        if self.wait:
            found["OMP_WAIT_POLICY"] = self.wait
        if self.options:
            found[VARIABLE] = json.dumps(dict(self.options))
        return found

    def facts(self) -> dict:
        """The settings other than threads, for a record; {} for the default."""
        found: dict = dict(self.options)
        if self.cores:
            found["cores"] = list(self.cores)
        if self.wait:
            found["OMP_WAIT_POLICY"] = self.wait
        return found


def cores_here() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def placements(default: Setting, cores: Sequence[int]) -> list[Setting]:
    """The default, and other numbers of threads, each on any core, on the first and on the last.

    The first core serves most interrupts. macOS and Windows have no affinity here.
    """
    can_pin = hasattr(os, "sched_setaffinity")
    found = [default]
    for threads in _thread_counts(len(cores)):
        free = replace(default, threads=threads)
        found.append(free)
        if can_pin and threads < len(cores):
            found.append(replace(free, cores=tuple(cores[:threads])))
            found.append(replace(free, cores=tuple(cores[-threads:])))
        elif can_pin and threads > 1:
            found.append(replace(free, cores=tuple(cores)))
    return list(dict.fromkeys(found))


def _thread_counts(cores: int) -> list[int]:
    """1, 2, 4 ... and the number of cores.

    >>> _thread_counts(6)
    [1, 2, 4, 6]
    """
    powers = [2**power for power in range(cores.bit_length()) if 2**power <= cores]
    return sorted({*powers, cores})


def variants(runtime: str, base: Setting) -> list[Setting]:
    """`base`, and one change at a time of the runtime's options and its waiting threads."""
    found = [base]
    for name, values in OPTIONS.get(runtime, {}).items():
        # spinning threads exist only next to others
        if name in ("spinning", "blocktime") and base.threads == 1:
            continue
        found += [replace(base, options=((name, value),)) for value in values]
    if runtime in USES_OPENMP and base.threads > 1:
        found += [replace(base, wait=policy) for policy in ("active", "passive")]
    return found


@contextlib.contextmanager
def pinned(cores: Sequence[int] | None) -> Iterator[None]:
    """Processes that this thread starts in the block run on these cores only; None: on any."""
    if cores is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
