"""Copying to a Pi: what differs is found by content, and each file arrives whole or not at all.

rsync copies if both machines have it: after a broken connection it continues within a file.
Without rsync, or if it fails, the files are sent over the open connection.
"""

import hashlib
import io
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

from workbook.pi.connection import Pi
from workbook.pi.openssh import QUIET, Program, options, target

REPORT_S = 5  # how often a copy reports its progress


def update(pi: Pi, files: dict[str, Path], requirements: str, say: Callable[[str], None]) -> None:
    """Copy those of `files` {path there: file here} that differ; report the notebooks kept."""
    facts = {
        path: (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_size)
        for path, file in files.items()
    }
    plan = pi.ask("plan", files=facts, requirements=requirements)
    for name in plan["kept"]:
        say(f"{name} was changed on the Pi and is kept; rename it there to get the one from here")
    if not plan["send"]:
        return
    megabytes = sum(facts[path][1] for path in plan["send"]) / 1e6
    say(f"copying {len(plan['send'])} of {len(files)} files, {megabytes:.1f} MB")
    if plan["rsync"] and shutil.which("rsync"):
        _rsync(pi, {path: files[path] for path in plan["send"]}, _reporter(say))
        plan = pi.ask("plan", files=facts, requirements=requirements)
    _send(pi, {path: files[path] for path in plan["send"]}, _reporter(say))


def _rsync(pi: Pi, files: dict[str, Path], report: Callable[[float], None]) -> None:
    """Copy with rsync. It may fail: what has not arrived shows when the contents are compared."""
    *port, name = target(pi.host)
    user, at, address = name.rpartition("@")
    if ":" in address:  # IPv6: rsync needs brackets
        name = f"{user}{at}[{address}]"
    shell = shlex.join(["ssh", *options(pi.host), *QUIET, *port])
    with tempfile.TemporaryDirectory() as tree:
        for path, file in files.items():
            link = Path(tree, path)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file.resolve())
        flags = ["--recursive", "--copy-links", "--ignore-times", "-s", "--no-inc-recursive"]
        scratch = ["--temp-dir", f"{pi.folder}/.pi/incoming"]
        scratch += ["--partial-dir", f"{pi.folder}/.pi/partial"]
        command = ["rsync", "--rsh", shell, *flags, *scratch, "--info=progress2", "--"]
        command += [f"{tree}/", f"{name}:{pi.folder}/"]
        process = Program(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        try:
            output = cast(io.BufferedReader, process.stdout)
            for printed in iter(lambda: output.read1(4096), b""):
                for percent in re.findall(rb"(\d+)%", printed):
                    report(int(percent) / 100)
            process.wait()
        finally:
            process.end()


def _send(pi: Pi, files: dict[str, Path], report: Callable[[float], None]) -> None:
    total = sum(file.stat().st_size for file in files.values()) or 1
    sent = 0
    for path, file in files.items():
        pi.put(file, path, progress=partial(_report_part, report, sent, total))
        sent += file.stat().st_size


def _report_part(report: Callable[[float], None], before: int, total: int, size: int) -> None:
    report((before + size) / total)


def _reporter(say: Callable[[str], None]) -> Callable[[float], None]:
    """A function that reports what fraction is copied, every few seconds only."""
    last = time.monotonic()

    def report(fraction: float) -> None:
        nonlocal last
        if time.monotonic() - last >= REPORT_S:
            last = time.monotonic()
            say(f"{fraction:.0%} copied")

    return report
