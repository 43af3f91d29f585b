"""A measurement in a Python process of its own, which nothing before it has disturbed."""

import os
import subprocess
import sys

from helpers.paths import ROOT


def run(arguments: list[str], environment: dict[str, str], question: str = "") -> str:
    """What a fresh Python process, which finds helpers, writes to its standard output."""
    places = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": places, **environment},
        input=question,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode or not done.stdout:
        how = f"exit status {done.returncode}"
        if done.returncode < 0:
            how = f"signal {-done.returncode}: out of memory?"
        said = done.stderr.strip().splitlines() or ["no output"]
        raise RuntimeError(f"the measuring process ended early ({how}): {said[-1]}")
    return done.stdout
