"""Call a function in a child process, so that a converter which crashes ends only that process.

The child is a copy of this process (fork), so it has the network already and imports nothing again.
One child makes all calls; if a call ends it, another child makes the rest. Fork is safe on Linux
only: on macOS and Windows the calls are made in this process.
"""

import contextlib
import faulthandler
import multiprocessing
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, TypeVar

LIMIT_S = 900  # for one call

Item = TypeVar("Item")
CAN_FORK = sys.platform == "linux"


class Crashed(Exception):
    """A call ended its process, or took too long. The message says how."""


def results(
    function: Callable[[Item], Any], items: Sequence[Item], limit_s: float = LIMIT_S
) -> Generator[tuple[Item, Any], None, None]:
    """(item, function(item)) for each item, in order; the result is a Crashed if there is none.

    `function` must not raise, and its results must be picklable.
    """
    if not CAN_FORK:
        for item in items:
            yield item, function(item)
        return
    done = 0
    while done < len(items):
        rest = items[done:]
        # the function's state in this process: what it has learned is copied to the child
        for result in _of_one_child(function, rest, limit_s):
            yield items[done], result
            done += 1


def _of_one_child(
    function: Callable[[Item], Any], items: Sequence[Item], limit_s: float
) -> Iterator[Any]:
    """The results up to the first crash, which is the last of them."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_serve, args=(sender, function, items), daemon=True)
    child.start()
    sender.close()  # the child has its own: when it ends, receiver.recv raises EOFError
    try:
        for _ in items:
            if not receiver.poll(limit_s):
                yield Crashed(f"it did not finish within {limit_s:.0f} s")
                return
            try:
                result = receiver.recv()
            except EOFError:
                child.join()
                yield Crashed(f"it ended its process ({_how(child.exitcode)})")
                return
            yield result
    finally:
        child.kill()
        child.join()
        receiver.close()


def _serve(sender: Connection, function: Callable[[Item], Any], items: Sequence[Item]) -> None:
    faulthandler.disable()  # a crash is a result, without the stack of this process
    if "torch" in sys.modules:
        # OpenMP's threads are not copied: a copy that waits for them would wait forever
        sys.modules["torch"].set_num_threads(1)
    with contextlib.suppress(KeyboardInterrupt):  # the parent reports it
        for item in items:
            sender.send(function(item))


def _how(status: int | None) -> str:
    if status is not None and status < 0:
        return f"signal {-status}"
    return f"exit status {status}"
