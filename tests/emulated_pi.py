"""A Raspberry Pi without a Pi: qemu runs 64-bit Arm programs of Debian trixie.

It has what requirements-pi.txt lists. Functionally it is a Pi: the processor's features decide
which kernels the runtimes choose. Its times mean nothing.
Made once, in build/emulated-pi: `python` there is Python 3.13 for Arm, started like any other.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from helpers.paths import ROOT

CPUS = {
    "cortex-a72": "a Pi 4: no int8 dot product",
    "cortex-a76": "a Pi 5: int8 dot products and half precision",
}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# qemu comes from trixie as well: version 10 at least is needed (7.2 crashes in ONNX Runtime), and
# trixie's needs no library
PACKAGES = "python3,libgomp1,libatomic1,libstdc++6,qemu-user:amd64"
# a program that the kernel can execute: so a Python in the emulator can start another one, as
# helpers.workers does
WRAPPER = (
    "#!/bin/sh\n"
    'exec "{home}/root/usr/bin/qemu-aarch64" -0 "$0" '
    '-L "{home}/root" "{home}/root/usr/bin/python3.13" "$@"\n'
)


def missing() -> str | None:
    """Why the emulated Pi cannot be made here, and the command that helps; None if it can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "the emulated Pi needs Linux on x86-64"
    if not shutil.which("mmdebstrap") or not KEYRING.exists():
        return "mmdebstrap is missing: sudo apt-get install $(cat tests/apt-packages.txt)"
    return None


def python() -> Path:
    """The emulated Pi's Python; the first call makes it (a minute, 1 GB).

    RuntimeError if it cannot be created, with the reason.
    """
    pins = [(ROOT / name).read_text() for name in ("requirements-pi.txt", "requirements.txt")]
    recipe = [PACKAGES, WRAPPER, str(ROOT), *pins]
    return made_once(ROOT / "build" / "emulated-pi", recipe, _make) / "bin" / "python"


def made_once(parent: Path, recipe: Iterable[str], make: Callable[[Path, Path], None]) -> Path:
    """The folder of `recipe` in `parent`; make(folder now, its path later) fills it if it is new.

    Another recipe gets another folder, and the old one is deleted.
    """
    home = parent / hashlib.sha256("\n".join(recipe).encode()).hexdigest()[:12]
    if not home.exists():
        parent.mkdir(parents=True, exist_ok=True)
        # created under another name and then renamed, so an existing folder is complete
        with tempfile.TemporaryDirectory(dir=parent, prefix="unfinished-") as unfinished:
            made = Path(unfinished, "made")
            made.mkdir()
            make(made, home)
            try:
                os.rename(made, home)
            except OSError:  # another run of the tests was faster
                if not home.exists():
                    raise
        for old in parent.glob("[0-9a-f]" * 12):
            if old != home:
                shutil.rmtree(old, ignore_errors=True)
    return home


def settings(cpu: str) -> dict[str, str]:
    """The environment variables that make the emulated Pi's Python run on `cpu`."""
    if cpu not in CPUS:
        raise ValueError(f"{cpu} is no processor of a Pi: {', '.join(CPUS)}")
    # threads of OpenMP and OpenBLAS wait by spinning, which the emulator pays dearly
    return {"QEMU_CPU": cpu, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def run(cpu: str, *arguments: str | Path, timeout: float = 1200) -> subprocess.CompletedProcess:
    """Run the emulated Pi's Python with `arguments`, from the workbook's root, on `cpu`."""
    return subprocess.run(
        [python(), *arguments],
        cwd=ROOT,
        env=os.environ | settings(cpu),
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def unpacked_bytes() -> int:
    """The size of what requirements-pi.txt brings to a Pi, without what Python compiles later."""
    return sum(
        path.lstat().st_size
        for path in _files(python().parent.parent)
        if "__pycache__" not in path.parts
    )


def call(what: str, *command: str | Path) -> None:
    """Run `command`; RuntimeError names `what` failed and its last lines."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise RuntimeError(f"{what} failed: {' / '.join(lines[-4:])}")


def _files(home: Path) -> Iterator[Path]:
    return (path for path in (home / "lib").rglob("*") if path.is_symlink() or path.is_file())


def unpack_debian(
    root: Path, release: str, packages: str, architectures: str, leave_out: Sequence[str] = ()
) -> None:
    """Unpack Debian's `release` with `packages` into `root`, a new folder.

    `leave_out` are patterns of files. No maintainer script runs, so nothing needs emulation.
    """
    # as an archive, since a normal user's mmdebstrap leaves a folder that belongs to another user
    archive = root.with_suffix(".tar")
    call(
        "getting Debian for Arm",
        "mmdebstrap",
        "--quiet",
        "--variant=extract",
        f"--architectures={architectures}",
        f"--include={packages}",
        f"--keyring={KEYRING}",
        release,
        archive,
    )
    root.mkdir()
    call(
        "unpacking Debian for Arm",
        "tar",
        "--extract",
        "--file",
        archive,
        "--directory",
        root,
        "--no-same-owner",
        *(f"--exclude={pattern}" for pattern in ("./dev", *leave_out)),
    )
    archive.unlink()
    for name in ("bin", "lib", "sbin"):
        if not (root / name).exists():
            (root / name).symlink_to(f"usr/{name}")


def _make(folder: Path, home: Path) -> None:
    """Make in `folder` the emulated Pi that will lie in `home`."""
    other_processors = ("./usr/bin/qemu-[!a]*", "./usr/bin/qemu-a[!a]*")  # 450 MB
    unpack_debian(folder / "root", "trixie", PACKAGES, "arm64,amd64", other_processors)
    packages = folder / "lib" / "python3.13" / "site-packages"
    call(
        "installing requirements-pi.txt for Arm",
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        "--quiet",
        "--no-config",
        "--python-platform",
        "aarch64-manylinux_2_28",
        "--python-version",
        "3.13",
        "--only-binary",
        ":all:",
        "--target",
        packages,
        "-r",
        ROOT / "requirements-pi.txt",
    )
    (packages / "workbook.pth").write_text(f"{ROOT}\n")
    (folder / "pyvenv.cfg").write_text(
        f"home = {home}/root/usr/bin\ninclude-system-site-packages = false\n"
    )
    (folder / "bin").mkdir()
    (folder / "bin" / "python").write_text(WRAPPER.format(home=home))
    (folder / "bin" / "python").chmod(0o755)
