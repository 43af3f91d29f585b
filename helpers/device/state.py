"""The state of the measured machine now: clock, temperature, throttling, load."""

import os
import re
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from helpers.device._files import number, read

# bits 0 to 3: the state now
THROTTLE_BITS = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
SINCE_BOOT = 16  # bits 16 to 19: the same four, at any time since the Pi started


def _output_of(command: list[str]) -> str:
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=True, timeout=5
    ).stdout


def conditions(root: Path | str = "/", run: Callable[[list[str]], str] = _output_of) -> dict:
    """The state of the machine now. validity compares it before and after a measurement.

    - at: the time, UTC
    - monotonic_ns: a clock that is never set; it starts with the machine
    - governor, freq_khz, freq_max_khz: of core 0; what Linux requests, and the most it can request
    - clock_khz: the clock that a Pi's firmware measured
    - temp_c: of the processor
    - throttled: the Pi's flags in hexadecimal, see throttle_flags
    - load_avg: over 1, 5 and 15 minutes
    - affinity: the cores that this process may use

    On a Pi, clock_khz is the actual clock: the firmware lowers it without informing Linux, and
    freq_khz does not change. `run` returns a command's output, or raises OSError or
    subprocess.SubprocessError.
    """
    root = Path(root)
    clock = root / "sys/devices/system/cpu/cpu0/cpufreq"
    temp_c = _processor_temp_c(root)
    throttled = _firmware(run, ["get_throttled"], r"throttled=(0x[0-9a-fA-F]+)")
    clock_hz = _firmware(run, ["measure_clock", "arm"], r"frequency\(\d+\)=(\d+)")
    return {
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "monotonic_ns": time.monotonic_ns(),
        "governor": read(clock / "scaling_governor"),
        "freq_khz": number(read(clock / "scaling_cur_freq")),
        "freq_max_khz": number(read(clock / "cpuinfo_max_freq")),
        "clock_khz": int(clock_hz) // 1000 if clock_hz else None,
        "temp_c": temp_c,
        "throttled": hex(int(throttled, 16)) if throttled else None,
        "load_avg": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "affinity": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
    }


def _processor_temp_c(root: Path) -> float | None:
    """The temperature of the first thermal zone of the processor that reports one."""
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        if not re.search("cpu|pkg", read(zone / "type") or ""):
            continue
        millidegrees = number(read(zone / "temp"))
        if millidegrees is not None:
            return millidegrees / 1000
    return None


def _firmware(run: Callable[[list[str]], str], question: list[str], answer: str) -> str | None:
    """The group of `answer` in the output of vcgencmd; None if it fails (no Pi, no permission)."""
    try:
        found = re.fullmatch(answer, run(["vcgencmd", *question]).strip())
    except (OSError, subprocess.SubprocessError):
        return None
    return found[1] if found else None


def throttle_flags(value: int | str | None) -> list[str]:
    """The Pi's throttling flags in words, from a number or hexadecimal text; [] for None.

    ValueError for other text.
    """
    try:
        bits = int(value, 16) if isinstance(value, str) else int(value or 0)
    except ValueError:
        raise ValueError(
            f"throttling flags must be a number such as 0x50005, not {value!r}"
        ) from None
    now = _flag_names(bits)
    since_boot = _flag_names(bits >> SINCE_BOOT)
    return now + [f"{name} since boot" for name in since_boot]


def _flag_names(bits: int) -> list[str]:
    return [name for bit, name in enumerate(THROTTLE_BITS) if bits >> bit & 1]
