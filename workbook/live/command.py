"""`workbook live [HOST]`: the options, and the order of events."""

import argparse
import json
import os
import re
import select
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from modelfiles.errors import WorkbookError
from workbook.arguments import UsageError, check_threads
from workbook.pi.on_device.live import ADDRESS, SILENCE_S

if TYPE_CHECKING:
    from workbook.live.session import Session

EXAMPLES = """
examples:
  workbook live                                    moving digits, and the digit detector
  workbook live --source usb:0                     a USB camera, and FastestDet
  workbook live --source holiday.mp4 --model yolox_nano.onnx
  workbook live --source usb:0 --model mobilenet_v2_1.0_224_quant.tflite
                                                   a classifier: its ten best labels
  workbook live --source usb:0 --minutes 10        does the machine get hot, and slow?
  workbook live pi@raspberrypi.local --source picamera2
                                                   the camera and the network on a Pi, the page here

Only browsers of this machine can open the page, with the address that is printed. On a Pi, too,
nothing listens but on 127.0.0.1, and the page comes through an SSH tunnel. No frame is stored.
"""


def add_to(commands) -> None:
    """Add `live` to the commands of `workbook`."""
    parser = commands.add_parser(
        "live",
        help="a camera's picture with what a network finds in it, on a page in the browser",
        description="Show a camera's picture, with the boxes or labels of a network, in the "
        "browser of this machine.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("host", metavar="HOST", nargs="?", help="a Pi, to run it there")
    parser.add_argument(
        "--source",
        default="scenes",
        help="picamera2, usb:0, a video, a folder of pictures, the address of a stream, or scenes "
        "(default: digits that move); with HOST, it is one of the Pi's",
    )
    parser.add_argument(
        "--model",
        metavar="FILE",
        type=Path,
        help="a detector or a classifier of this machine (default: the digit detector for scenes, "
        "otherwise FastestDet)",
    )
    parser.add_argument(
        "--labels", metavar="FILE", type=Path, help="the names of its classes, one per line"
    )
    parser.add_argument("--threads", type=int, default=1, help="of the network (default: 1)")
    parser.add_argument("--size", metavar="WIDTHxHEIGHT", help="of the pictures, such as 640x480")
    parser.add_argument("--fps", type=float, help="frames per second that the source delivers")
    parser.add_argument(
        "--minutes",
        type=float,
        help="end after so many minutes with a table of the frames per second, the temperature, "
        "the clock and the throttling over time",
    )
    parser.add_argument("--connected", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> int:
    """Show the live picture until Ctrl-C."""
    _check(options)
    for number in (signal.SIGTERM, signal.SIGINT):  # both end it as Ctrl-C does
        signal.signal(number, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    if options.host:
        return _on_host(options)
    if options.connected:
        threading.Thread(target=_end_with_connection, daemon=True).start()
    return _here(options)


def _check(options: argparse.Namespace) -> None:
    check_threads(options.threads)
    if options.fps is not None and not 0 < options.fps <= 1000:
        raise UsageError("--fps must be a number above 0, such as 30")
    if options.minutes is not None and not 0 < options.minutes <= 1440:
        raise UsageError("--minutes must be a number above 0, such as 10")
    if options.minutes is not None and options.host:
        raise UsageError(
            f"--minutes prints a table where it runs: `ssh {options.host}`, and there in the "
            "folder workbook `.venv/bin/python -m workbook live --minutes 10`"
        )
    if options.size is not None and not re.fullmatch(r"[1-9]\d{0,3}x[1-9]\d{0,3}", options.size):
        raise UsageError(f"--size is WIDTHxHEIGHT in pixels, such as 640x480, not {options.size}")
    for name in ("model", "labels"):
        path = getattr(options, name)
        if path is not None and not path.is_file():
            raise UsageError(f"--{name}: there is no file {path}")


def _here(options: argparse.Namespace) -> int:
    from helpers.vision.camera import open_source
    from workbook.live.defaults import network_for
    from workbook.live.networks import open_step, read_names
    from workbook.live.server import LiveServer
    from workbook.live.session import Session

    size = None
    if options.size:
        width, height = options.size.split("x")
        size = (int(width), int(height))
    names = None
    if options.labels:
        names = read_names(options.labels)
    try:
        model = options.model or network_for(options.source, _say)
        step = open_step(model, names, options.threads)
        with Session(lambda: open_source(options.source, size, options.fps), step) as session:
            session.start()
            with LiveServer(session) as server:
                _announce(server, options.connected)
                _watch(session, options.minutes)
    except KeyboardInterrupt:
        _say("Stopped. The source is closed.")
    except (ValueError, OSError, ImportError) as error:
        if isinstance(error, WorkbookError):
            raise
        raise WorkbookError(str(error)) from error
    return 0


def _watch(session: "Session", minutes: float | None) -> None:
    """Note the heat until the end, which is Ctrl-C without `minutes`, and then print the table."""
    from workbook.live import heat

    noted = heat.Heat(lambda: session.stages)
    every_s = heat.EVERY_S
    if minutes is not None:
        every_s = min(every_s, minutes * 60 / 4)
    try:
        while minutes is None or not noted.moments or noted.moments[-1].minute < minutes:
            time.sleep(every_s)
            if minutes is not None and not session.is_running:
                _say(session.state()["problem"] or "It was stopped on the page.")
                break
            session.processor = heat.line(noted.note())
    finally:
        if minutes is not None and noted.moments:
            _say(f"\n{noted.table().to_string(index=False)}\n\n{noted.report()}")


def _announce(server, is_connected: bool) -> None:
    """Print the address; for the laptop if a Pi runs this, in one line."""
    if is_connected:
        address = {"port": server.port, "token": server.token}
        sys.stdout.write(f"{ADDRESS}{json.dumps(address)}\n")
        sys.stdout.flush()
        os.dup2(2, 1)  # nobody reads more from it; this is the log
    else:
        _say(f"\nOpen  {server.address}\n\nCtrl-C ends it and closes the source.")


def _end_with_connection() -> None:
    """End this process when the laptop is gone: no line from it, or the end of the input.

    A camera that hangs may keep the process from ending, so it is ended the hard way after a while.
    """
    while select.select([0], [], [], SILENCE_S)[0] and os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10)
    os._exit(1)


def _on_host(options: argparse.Namespace) -> int:
    from workbook.live import remote
    from workbook.live.defaults import network_for
    from workbook.pi.commands import require_openssh

    require_openssh()
    model = options.model or network_for(options.source, _say)
    words = ["--source", options.source, "--threads", str(options.threads)]
    for name in ("size", "fps"):
        value = getattr(options, name)
        if value is not None:
            words += [f"--{name}", str(value)]
    remote.start(options.host, words, model, options.labels, _say)
    return 0


def _say(text: str) -> None:
    print(text, flush=True)
