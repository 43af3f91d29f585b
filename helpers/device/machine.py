"""The board, processor, memory and system of the measured machine, and an id for it."""

import hashlib
import platform
import re
import uuid
from pathlib import Path

from helpers.device import limits
from helpers.device._files import read

# instructions that make small networks fast, with their names in /proc/cpuinfo
# fmt: off
FEATURES = (
    # Arm
    "neon", "asimd",  # asimd is 64-bit NEON
    "asimddp",  # int8 dot products: a Pi 5 has them, a Pi 4 does not
    "fphp", "asimdhp",  # half precision
    "i8mm", "bf16", "sve",
    # x86
    "sse4_2", "avx", "avx2", "fma", "avx512f", "avx512bw",
    "avx512_vnni", "avx_vnni",  # int8 dot products
    "avx512_bf16", "amx_int8",
)
# fmt: on
ARM_CORES = {"0xd03": "Cortex-A53", "0xd08": "Cortex-A72", "0xd0b": "Cortex-A76"}  # Pi 3, 4 and 5


def describe(root: Path | str = "/") -> dict:
    """A description of this machine.

    The entries are board, cpu, cores, ram_mb (10**6 bytes), os, kernel, arch, python, features and
    machine_id. `cores` and `ram_mb` are what this process may use: a container may have less than
    the machine. `features` lists the FEATURES of the processor. `machine_id`, eight digits of a
    hash, identifies the machine without naming it. /proc and /etc are read under `root`.
    """
    root = Path(root)
    cpuinfo: dict[str, str] = {}
    for line in (read(root / "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        cpuinfo.setdefault(key.strip().lower(), value.strip())
    core = None
    if cpuinfo.get("cpu implementer") == "0x41":  # Arm
        core = ARM_CORES.get(cpuinfo.get("cpu part", ""))
    features = None
    flags = cpuinfo.get("flags", cpuinfo.get("features"))
    if flags is not None:
        features = [name for name in FEATURES if name in flags.split()]
    return {
        "board": read(root / "proc/device-tree/model") or _board_of(cpuinfo),
        "cpu": core or cpuinfo.get("model name") or platform.processor() or None,
        "cores": limits.cores(root),
        "ram_mb": limits.memory_bytes(root) // 10**6,
        "os": _system_name(root),
        "kernel": platform.release(),
        "arch": platform.machine(),
        "python": platform.python_version(),
        "features": features,
        "machine_id": _machine_id(root, cpuinfo.get("serial", "").strip()),
    }


def _board_of(cpuinfo: dict[str, str]) -> str | None:
    """A Pi's name in /proc/cpuinfo, for containers, which have no device tree.

    On x86, "model" is a number, not the name of a board.
    """
    model = cpuinfo.get("model", "")
    if model.isdigit():
        return None
    return model or None


def _system_name(root: Path) -> str:
    release = read(root / "etc/os-release") or ""
    name = re.search(r'^PRETTY_NAME="?([^"\n]+)', release, re.MULTILINE)
    if name:
        return name[1]
    return platform.platform(terse=True)


def _machine_id(root: Path, serial: str) -> str | None:
    # the serial number first: copies of one card share /etc/machine-id
    identity = read(root / "proc/device-tree/serial-number")
    if not identity and serial.strip("0"):
        identity = serial
    identity = identity or read(root / "etc/machine-id")
    if not identity:
        address = uuid.getnode()
        if address >> 40 & 1:  # no network card: a random number, different in each process
            return None
        identity = str(address)
    return hashlib.sha256(b"machine of the workbook " + identity.encode()).hexdigest()[:8]
