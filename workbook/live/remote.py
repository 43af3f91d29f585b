"""`workbook live HOST`: the camera and the network on a Pi, the page in a browser of this machine.

The server there ends with the connection: on Ctrl-C here, when the connection breaks, and when this
machine is silent for some seconds, because it was unplugged.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from helpers.model_files import parts_of
from workbook.live.server import page_address
from workbook.pi.connection import Pi
from workbook.pi.on_device.live import BEAT_S
from workbook.pi.openssh import PiError
from workbook.pi.setup import prepare
from workbook.pi.tunnel import Tunnel

FOLDER = "build/live"  # of the files on the Pi


def start(
    host: str, words: list[str], model: Path, labels: Path | None, say: Callable[[str], None]
) -> None:
    """Prepare the Pi, start `workbook live` there with the options `words`, stay until Ctrl-C.

    `model` and `labels` are files of this machine, and are copied. PiError if the Pi cannot be
    used, its source or network cannot be opened, or the connection breaks.
    """
    files = {f"{FOLDER}/{part.name}": part for part in parts_of(model)}
    words = [*words, "--model", f"{FOLDER}/{model.name}"]
    if labels:
        files[f"{FOLDER}/{labels.name}"] = labels
        words += ["--labels", f"{FOLDER}/{labels.name}"]
    with Pi(host) as pi:
        prepare(pi, say, files)
        say("opening the source and the network there")
        server = pi.ask("live", say, words=words)
        with _until_interrupted() as interrupted:
            try:
                _keep_open(pi, server, interrupted, say)
            finally:
                if pi.is_connected:
                    with contextlib.suppress(PiError):  # it ends when the connection does
                        pi.ask("live_end")
    say("Stopped. The source on the Pi is closed.")


def _keep_open(
    pi: Pi, server: dict, interrupted: threading.Event, say: Callable[[str], None]
) -> None:
    """Keep the tunnel open, and send the beats, until Ctrl-C."""
    with Tunnel(pi.host, "the live page", "/version") as tunnel:
        tunnel.open(server["port"])
        address = page_address(tunnel.local_port, server["token"])
        say(f"\nOpen  {address}\n\nCtrl-C ends it, and closes the source on the Pi.")
        while not interrupted.wait(BEAT_S):
            problem = pi.ask("live_beat")["problem_there"]
            if problem:
                raise PiError(f"{pi.host}: {problem}")
            if not tunnel.is_open:
                say(f"{pi.host}: the tunnel broke; opening it again")
                tunnel.open(server["port"])


@contextlib.contextmanager
def _until_interrupted() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets, so that no request to the Pi is broken off half-way."""
    interrupted = threading.Event()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP"):
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: interrupted.set()) for number in numbers}
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
