"""The machine under the measurement: what it is, what state it is in, how fast it could go, how much memory was used.

Whatever a machine does not tell is None: a laptop has no vcgencmd, a container no thermal zone, Windows no /proc.
"""

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from helpers import limits
from helpers.paths import ROOT

# What makes small networks fast, under the names of /proc/cpuinfo; asimd is 64-bit NEON, asimddp int8 dot products
# (Pi 5 has them, Pi 4 has not), fphp and asimdhp half precision, vnni int8 dot products on x86.
FEATURES = (
    "neon",
    "asimd",
    "asimddp",
    "fphp",
    "asimdhp",
    "i8mm",
    "bf16",
    "sve",
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_int8",
)
# multiply int8 and add in 32 bits; every processor with amx_int8 has avx512_vnni, too
INT8_INSTRUCTIONS = {
    "VNNI": ("avx512_vnni", "avx_vnni"),
    "dot product": ("asimddp", "i8mm"),
}
ARM_CORES = {"0xd03": "Cortex-A53", "0xd08": "Cortex-A72", "0xd0b": "Cortex-A76"}  # Pi 3, 4 and 5
THROTTLE_BITS = (
    "under-voltage",
    "frequency capped",
    "throttled",
    "soft temperature limit",
)  # bits 0 to 3, now
CLOCK_STEP_S = 1  # a larger difference between the two clocks is no rounding
SINCE_BOOT = 16  # bits 16 to 19: the same four, at any time since the Pi started


def describe(root: Path | str = "/") -> dict:
    """What this machine is: board, cpu, cores, ram_mb (10**6 bytes), os, kernel, arch, python, features, machine_id.

    `cores` and `ram_mb` are what this process may use: a container may have less than the machine.
    `features` are those of FEATURES that the processor has. `machine_id` tells machines apart without naming
    them: eight digits of a hash. `root` is where /proc and /etc are looked for.
    """
    root = Path(root)
    cpuinfo: dict[str, str] = {}
    for line in (_read(root / "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        cpuinfo.setdefault(key.strip().lower(), value.strip())
    system = re.search(
        r'^PRETTY_NAME="?([^"\n]+)', _read(root / "etc/os-release") or "", re.MULTILINE
    )
    flags = cpuinfo.get("flags", cpuinfo.get("features"))
    core = (
        ARM_CORES.get(cpuinfo.get("cpu part", ""))
        if cpuinfo.get("cpu implementer") == "0x41"
        else None
    )
    return {
        "board": _read(root / "proc/device-tree/model") or _board_of(cpuinfo),
        "cpu": core or cpuinfo.get("model name") or platform.processor() or None,
        "cores": limits.cores(root),
        "ram_mb": limits.memory_bytes(root) // 10**6,
        "os": system[1] if system else platform.platform(terse=True),
        "kernel": platform.release(),
        "arch": platform.machine(),
        "python": platform.python_version(),
        "features": None if flags is None else [name for name in FEATURES if name in flags.split()],
        "machine_id": _machine_id(root, cpuinfo.get("serial", "").strip()),
    }


def int8_instructions(features: list[str] | None) -> str | None:
    """What a processor adds int8 products with: "VNNI" (x86), "dot product" (Arm) or "neither".

    `features` are those of describe(). None, for a system that does not report them, gives None.
    """
    if features is None:
        return None
    for name, any_of in INT8_INSTRUCTIONS.items():
        if set(any_of) & set(features):
            return name
    return "neither"


def _board_of(cpuinfo: dict[str, str]) -> str | None:
    """A Pi's name in /proc/cpuinfo, for containers, which have no device tree; on x86 "model" is a number."""
    model = cpuinfo.get("model", "")
    return None if not model or model.isdigit() else model


def _machine_id(root: Path, serial: str) -> str | None:
    # the serial number first: cards that were copied from one another share /etc/machine-id
    identity = _read(root / "proc/device-tree/serial-number") or (
        serial if serial.strip("0") else None
    )
    identity = identity or _read(root / "etc/machine-id")
    if not identity:
        address = uuid.getnode()
        if address >> 40 & 1:  # no network card: a random number, another one in the next process
            return None
        identity = str(address)
    return hashlib.sha256(b"machine of the workbook " + identity.encode()).hexdigest()[:8]


def _output_of(command: list[str]) -> str:
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=True, timeout=5
    ).stdout


def conditions(root: Path | str = "/", run: Callable[[list[str]], str] = _output_of) -> dict:
    """The state of the machine now; take it before and after a measurement, void_reasons compares the two.

    at (UTC), monotonic_ns (a clock that nobody sets; it starts with the machine), governor,
    freq_khz and freq_max_khz of core 0 (what Linux asked for, and the most it may ask for),
    clock_khz (what a Pi's firmware measured), temp_c of the processor, throttled (the Pi's flags
    in hexadecimal, see throttle_flags), load_avg over 1, 5 and 15 minutes, affinity (cores this
    process may use).

    On a Pi, clock_khz is the clock that runs: the firmware lowers it without telling Linux, and
    freq_khz stays what it was. `run` gives a command's output, or raises OSError or
    subprocess.SubprocessError.
    """
    root = Path(root)
    clock = root / "sys/devices/system/cpu/cpu0/cpufreq"
    millidegrees = None
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        if re.search("cpu|pkg", _read(zone / "type") or "") and millidegrees is None:
            millidegrees = _number(_read(zone / "temp"))
    throttled = _firmware(run, ["get_throttled"], r"throttled=(0x[0-9a-fA-F]+)")
    clock_hz = _firmware(run, ["measure_clock", "arm"], r"frequency\(\d+\)=(\d+)")
    return {
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "monotonic_ns": time.monotonic_ns(),
        "governor": _read(clock / "scaling_governor"),
        "freq_khz": _number(_read(clock / "scaling_cur_freq")),
        "freq_max_khz": _number(_read(clock / "cpuinfo_max_freq")),
        "clock_khz": int(clock_hz) // 1000 if clock_hz else None,
        "temp_c": None if millidegrees is None else millidegrees / 1000,
        "throttled": hex(int(throttled, 16)) if throttled else None,
        "load_avg": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "affinity": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
    }


def _firmware(run: Callable[[list[str]], str], question: list[str], answer: str) -> str | None:
    """The group of `answer` in what vcgencmd prints; None if it cannot be asked (no Pi, no right)."""
    try:
        found = re.fullmatch(answer, run(["vcgencmd", *question]).strip())
    except (OSError, subprocess.SubprocessError):
        return None
    return found[1] if found else None


def throttle_flags(value: int | str | None) -> list[str]:
    """The Pi's throttling flags in words, from a number or its hexadecimal text; none where `value` is None."""
    try:
        bits = int(value, 16) if isinstance(value, str) else int(value or 0)
    except ValueError:
        raise ValueError(f"throttling flags are a number such as 0x50005, not {value!r}") from None
    now = [name for bit, name in enumerate(THROTTLE_BITS) if bits >> bit & 1]
    return now + [
        f"{name} since boot"
        for bit, name in enumerate(THROTTLE_BITS, SINCE_BOOT)
        if bits >> bit & 1
    ]


def void_reasons(before: dict, after: dict) -> list[str]:
    """Why a measurement between these two conditions does not count, in words; empty where nothing speaks against it.

    A flag that is up before or after, or a since-boot flag that came up in between. One that was up all along
    says nothing: it stays up until the Pi is restarted. Where `throttled` is None nobody can tell.
    """
    return [f"the Pi reported: {name}{when}" for name, when in _reported(before, after).items()]


def throttled_by(before: dict, after: dict) -> list[str] | None:
    """Which of THROTTLE_BITS void a measurement between these two conditions; None if unknown."""
    if before.get("throttled") is None and after.get("throttled") is None:
        return None
    return list(_reported(before, after))


def _reported(before: dict, after: dict) -> dict[str, str]:
    """The flags that were up before, after or in between, and "when" in words if only in between."""
    flags = [set(throttle_flags(state.get("throttled"))) for state in (before, after)]
    reported = {}
    for name in THROTTLE_BITS:
        sticky = f"{name} since boot"
        if name in flags[0] | flags[1]:
            reported[name] = ""
        elif before.get("throttled") is not None and sticky in flags[1] - flags[0]:
            reported[name] = " at some time during the measurement"
    return reported


def clock_warnings(before: dict, after: dict) -> list[str]:
    """Whether the machine's clock was set between these two conditions, in words; empty if not, or if unknown.

    A Pi has no clock of its own while it is off: it starts with an old time and gets the right one from the
    network. Times of calls are not affected, `at` is.
    """
    ticks = [state.get("monotonic_ns") for state in (before, after)]
    if None in ticks:
        return []
    moments = [datetime.fromisoformat(state["at"]) for state in (before, after)]
    passed_s = (ticks[1] - ticks[0]) / 1e9
    step_s = (moments[1] - moments[0]).total_seconds() - passed_s
    if (
        abs(step_s) <= CLOCK_STEP_S + passed_s / 1000
    ):  # corrected slowly, a clock may run 0.05 % too fast
        return []
    return [
        f"the machine's clock was set by {step_s:+,.0f} s during the measurement; it took {passed_s:.1f} s"
    ]


@dataclass(frozen=True)
class Peak:
    """What one core reached at best. A multiply-accumulate is two operations; bytes are read plus written.

    `int8_ops_per_s` is None without ONNX Runtime. `by` names, for each of the three, what reached it.
    """

    flops_per_s: float
    int8_ops_per_s: float | None
    bytes_per_s: float
    by: dict[str, str]


def machine_peak(seconds: float = 0.4) -> Peak:
    """The limits of one core of this machine: the best of many short calls, `seconds` for each of seven figures.

    Matrix products of numpy and, where it is installed, of ONNX Runtime (on some machines twice as fast), and a
    copy of 64 MB. Short calls, since a call longer than the scheduler's time slice is always interrupted on a busy
    machine. In a process of its own: numpy's library takes its number of threads when it is loaded, not later.
    """
    one = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
        "1",
    )
    return Peak(**json.loads(_ask_process(["-m", "helpers.peak", str(seconds)], one)))


# Runs in the fresh process of peak_rss, which imports nothing else. What the code prints goes to the error stream.
_MARKING_PROCESS = """
import json, os, sys
answer = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
marks, request = {}, json.load(sys.stdin)
def mark(name):
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    marks[name] = max([peak, *marks.values()])  # the kernel counts in batches and may come back a few pages lower
names = {"__name__": "__main__", "mark": mark, **request["names"]}
code = compile(request["code"], "<code>", "exec")
mark("start")
exec(code, names)
mark("end")
json.dump(marks, answer)
"""


def peak_rss(code: str, **names: object) -> dict[str, int]:
    """The most memory that Python `code` has held, in bytes, up to each mark("...") that it calls, in a fresh process.

    {"start": ..., the code's own marks, "end": ...}; "start" is bare Python, and a mark never falls. `names` are
    given to the code as variables: numbers, texts, lists; a path becomes its text. RuntimeError, with the last line
    of the code's complaint, where it fails; {} where the system has no /proc (macOS, Windows).

    Read from VmHWM in /proc/self/status. resource.getrusage's ru_maxrss would be wrong here: it remembers the
    process that started this one, so a child of a large notebook seems large from its first moment.
    """
    if peak_rss_of_this_process() is None:
        return {}
    question = json.dumps({"code": code, "names": names}, default=os.fspath)
    return json.loads(_ask_process(["-c", _MARKING_PROCESS], {}, question))


def peak_rss_of_this_process() -> int | None:
    """The most memory that this process has held so far, in bytes (VmHWM); None where the system has no /proc."""
    match = re.search(r"^VmHWM:\s+(\d+) kB", _read(Path("/proc/self/status")) or "", re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def _ask_process(arguments: list[str], environment: dict[str, str], question: str = "") -> str:
    """What a fresh Python process, which finds helpers, writes to its standard output."""
    places = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": places} | environment,
        input=question,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode or not done.stdout:
        code = done.returncode
        how = f"signal {-code}: was memory short?" if code < 0 else f"exit status {code}"
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise RuntimeError(f"the measuring process ended early ({how}): {said[-1]}")
    return done.stdout


def _read(path: Path) -> str | None:
    """The text of a file of /proc or /sys without the ends that they add; None where it cannot be read or is empty."""
    try:
        return path.read_text(errors="replace").strip("\0\n ") or None
    except OSError:
        return None


def _number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"-?\d+", text) else None
