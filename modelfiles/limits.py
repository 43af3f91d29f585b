"""Limits of time and memory for a process that opens a file of unknown origin."""

from dataclasses import dataclass

# what libraries print when they get no memory
OUT_OF_MEMORY = ("bad_alloc", "MemoryError", "allocate memory", "out of memory", "bad allocation")


@dataclass(frozen=True)
class Limits:
    """What a process may use; None: no limit.

    `seconds` is the time for an answer, or for a whole program. `memory_bytes` is for the memory
    that it asks for, on systems that can limit another process (Linux).
    """

    seconds: float | None = None
    memory_bytes: int | None = None

    def apply_to(self, process: int) -> None:
        """Limit the memory of the process with this number."""
        if not self.memory_bytes:
            return
        try:
            import resource

            # not the address space: libraries reserve more of it than they use
            limit = (self.memory_bytes, self.memory_bytes)
            resource.prlimit(process, resource.RLIMIT_DATA, limit)
        except (ImportError, AttributeError):  # Windows and macOS cannot limit another process
            return
        except ProcessLookupError:  # it has ended already
            return

    def broken(self, output: str) -> str:
        """In words, that the process lacked memory; "" if its output does not show that."""
        if self.memory_bytes and any(words in output for words in OUT_OF_MEMORY):
            return f"it needs more than {self.memory_bytes / 1e9:.3g} GB of memory"
        return ""


NO_LIMITS = Limits()
