"""An x86 processor without VNNI on any x86: qemu runs this machine's own Python as a Haswell.

Made once, in build/emulated-haswell: only the emulator, since libraries and packages are this
machine's. Its times mean nothing. For what it computes it is a Haswell of 2013: runtimes choose
their kernels by its features.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import emulated_pi

from helpers.paths import ROOT

missing = emulated_pi.missing


def emulator() -> Path:
    """qemu for x86-64 programs; the first call gets it (20 seconds, 15 MB)."""
    path = ROOT / "build" / "emulated-haswell" / "qemu-x86_64"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="unfinished-") as unfinished:
            archive = Path(unfinished, "root.tar")
            emulated_pi.call(
                "getting qemu",
                "mmdebstrap",
                "--quiet",
                "--variant=extract",
                "--architectures=amd64",
                "--include=qemu-user",
                f"--keyring={emulated_pi.KEYRING}",
                "trixie",
                archive,
            )
            emulated_pi.call(
                "unpacking qemu",
                "tar",
                "--extract",
                "--file",
                archive,
                "--directory",
                unfinished,
                "--no-same-owner",
                "./usr/bin/qemu-x86_64",
            )
            Path(unfinished, "usr/bin/qemu-x86_64").rename(path)
    return path


def run(*arguments: str | Path, timeout: float = 1200) -> subprocess.CompletedProcess:
    """Run this environment's Python with `arguments`, from the workbook's root, on a Haswell."""
    settings = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(
        [emulator(), "-cpu", "Haswell", sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
