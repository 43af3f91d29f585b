"""The measured machine: what it is, its state, its peak speed, and the memory that was used.

What a machine does not report is None: a laptop has no vcgencmd, a container no thermal zone,
Windows no /proc.
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

# Instructions that make small networks fast, under their names in /proc/cpuinfo
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

# multiply int8 and add in 32 bits; every processor with amx_int8 has avx512_vnni, too
INT8_INSTRUCTIONS = {
    "VNNI": ("avx512_vnni", "avx_vnni"),
    "dot product": ("asimddp", "i8mm"),
}
ARM_CORES = {"0xd03": "Cortex-A53", "0xd08": "Cortex-A72", "0xd0b": "Cortex-A76"}  # Pi 3, 4 and 5
# bits 0 to 3: the state now
THROTTLE_BITS = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
SINCE_BOOT = 16  # bits 16 to 19: the same four, at any time since the Pi started
CLOCK_STEP_S = 1  # a larger difference between the two clocks is no rounding


def describe(root: Path | str = "/") -> dict:
    """What this machine is.

    The entries are board, cpu, cores, ram_mb (10**6 bytes), os, kernel, arch, python, features and
    machine_id. `cores` and `ram_mb` are what this process may use: a container may have less than
    the machine. `features` are those of FEATURES that the processor has. `machine_id` tells
    machines apart without naming them: eight digits of a hash. /proc and /etc are read in `root`.
    """
    root = Path(root)
    cpuinfo: dict[str, str] = {}
    for line in (_read(root / "proc/cpuinfo") or "").splitlines():
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
        "board": _read(root / "proc/device-tree/model") or _board_of(cpuinfo),
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
    """A Pi's name in /proc/cpuinfo, for containers, which have no device tree.

    On x86, "model" is a number and names no board.
    """
    model = cpuinfo.get("model", "")
    if model.isdigit():
        return None
    return model or None


def _system_name(root: Path) -> str:
    release = _read(root / "etc/os-release") or ""
    name = re.search(r'^PRETTY_NAME="?([^"\n]+)', release, re.MULTILINE)
    if name:
        return name[1]
    return platform.platform(terse=True)


def _machine_id(root: Path, serial: str) -> str | None:
    # the serial number first: cards that were copied from one another share /etc/machine-id
    identity = _read(root / "proc/device-tree/serial-number")
    if not identity and serial.strip("0"):
        identity = serial
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
    """The state of the machine now. Take it before and after a measurement for void_reasons.

    at (UTC), monotonic_ns (a clock that is never set; it starts with the machine), governor,
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
    temp_c = _processor_temp_c(root)
    throttled = _firmware(run, ["get_throttled"], r"throttled=(0x[0-9a-fA-F]+)")
    clock_hz = _firmware(run, ["measure_clock", "arm"], r"frequency\(\d+\)=(\d+)")
    return {
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "monotonic_ns": time.monotonic_ns(),
        "governor": _read(clock / "scaling_governor"),
        "freq_khz": _number(_read(clock / "scaling_cur_freq")),
        "freq_max_khz": _number(_read(clock / "cpuinfo_max_freq")),
        "clock_khz": int(clock_hz) // 1000 if clock_hz else None,
        "temp_c": temp_c,
        "throttled": hex(int(throttled, 16)) if throttled else None,
        "load_avg": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "affinity": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
    }


def _processor_temp_c(root: Path) -> float | None:
    """The temperature of the first thermal zone of the processor that reports one."""
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        if not re.search("cpu|pkg", _read(zone / "type") or ""):
            continue
        millidegrees = _number(_read(zone / "temp"))
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
    """The Pi's throttling flags in words, from a number or its hexadecimal text; [] for None."""
    try:
        bits = int(value, 16) if isinstance(value, str) else int(value or 0)
    except ValueError:
        raise ValueError(f"throttling flags are a number such as 0x50005, not {value!r}") from None
    now = _flag_names(bits)
    since_boot = _flag_names(bits >> SINCE_BOOT)
    return now + [f"{name} since boot" for name in since_boot]


def _flag_names(bits: int) -> list[str]:
    return [name for bit, name in enumerate(THROTTLE_BITS) if bits >> bit & 1]


def void_reasons(before: dict, after: dict) -> list[str]:
    """Why a measurement between these two conditions is invalid, in words; [] if it is valid.

    The reasons are flags that are set before or after, and since-boot flags that were set in
    between. A since-boot flag that was set before proves nothing: it stays until the Pi restarts.
    [] also if `throttled` is None both times: then it is unknown.
    """
    return [f"the Pi reported: {name}{when}" for name, when in _reported(before, after).items()]


def throttled_by(before: dict, after: dict) -> list[str] | None:
    """Which of THROTTLE_BITS void a measurement between these two conditions; None if unknown."""
    if before.get("throttled") is None and after.get("throttled") is None:
        return None
    return list(_reported(before, after))


def _reported(before: dict, after: dict) -> dict[str, str]:
    """The flags that were set before, after or in between, and in words "when" if in between."""
    early, late = (set(throttle_flags(state.get("throttled"))) for state in (before, after))
    reported = {}
    for name in THROTTLE_BITS:
        sticky = f"{name} since boot"
        if name in early | late:
            reported[name] = ""
        elif before.get("throttled") is not None and sticky in late - early:
            reported[name] = " at some time during the measurement"
    return reported


def clock_warnings(before: dict, after: dict) -> list[str]:
    """Whether the machine's clock was set between these two conditions, in words.

    [] if it was not, or if it is unknown. A Pi's clock does not run while it is off: it starts with
    an old time and gets the right one from the network. That changes `at`, not the times of calls.
    """
    ticks = [state.get("monotonic_ns") for state in (before, after)]
    if None in ticks:
        return []
    moments = [datetime.fromisoformat(state["at"]) for state in (before, after)]
    passed_s = (ticks[1] - ticks[0]) / 1e9
    step_s = (moments[1] - moments[0]).total_seconds() - passed_s
    # a clock that is corrected slowly may run 0.05 % too fast
    if abs(step_s) <= CLOCK_STEP_S + passed_s / 1000:
        return []
    return [
        f"the machine's clock was set by {step_s:+,.0f} s during the measurement; "
        f"it took {passed_s:.1f} s"
    ]


@dataclass(frozen=True)
class Peak:
    """What one core reached at best.

    A multiply-accumulate counts as two operations; bytes are read plus written. `int8_ops_per_s` is
    None without ONNX Runtime. `by` names, for each of the three, what reached it.
    """

    flops_per_s: float
    int8_ops_per_s: float | None
    bytes_per_s: float
    by: dict[str, str]


def machine_peak(seconds: float = 0.4) -> Peak:
    """The limits of one core of this machine: the best of many short calls.

    Seven figures take `seconds` each: matrix products of numpy and, if it is installed, of ONNX
    Runtime (on some machines twice as fast), and a copy of 64 MB. The calls are short, since a busy
    machine always interrupts a call that is longer than the scheduler's time slice. They run in
    their own process, since numpy's library reads its number of threads only when it is loaded.
    """
    one_thread = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
        "1",
    )
    answer = _ask_process(["-m", "helpers.peak", str(seconds)], one_thread)
    return Peak(**json.loads(answer))


# Runs in the fresh process of peak_rss, which imports nothing else. What the code prints goes to
# the error stream.
_MARKING_PROCESS = """
import json, os, sys
answer = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
marks = {}
request = json.load(sys.stdin)
def mark(name):
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    # the kernel counts in batches, so its peak may fall by a few pages
    marks[name] = max([peak, *marks.values()])
names = {"__name__": "__main__", "mark": mark, **request["names"]}
code = compile(request["code"], "<code>", "exec")
mark("start")
exec(code, names)
mark("end")
json.dump(marks, answer)
"""


def peak_rss(code: str, **names: object) -> dict[str, int]:
    """The peak memory in bytes of Python `code`, run in a fresh process, at each mark("...") in it.

    The result is {"start": ..., the code's own marks, "end": ...}; "start" is bare Python, and a
    mark never falls. {} if the system has no /proc (macOS, Windows). The code gets `names` as
    variables: numbers, texts, lists; a path becomes its text. RuntimeError, with the last line of
    the code's error output, if the code fails.

    The values are VmHWM in /proc/self/status. resource.getrusage's ru_maxrss would be wrong here:
    it includes the process that started this one, so the child of a large notebook seems large at
    once.
    """
    if peak_rss_of_this_process() is None:
        return {}
    question = json.dumps({"code": code, "names": names}, default=os.fspath)
    return json.loads(_ask_process(["-c", _MARKING_PROCESS], {}, question))


def peak_rss_of_this_process() -> int | None:
    """The peak memory of this process so far in bytes (VmHWM); None if there is no /proc."""
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
        how = f"exit status {done.returncode}"
        if done.returncode < 0:
            how = f"signal {-done.returncode}: was memory short?"
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise RuntimeError(f"the measuring process ended early ({how}): {said[-1]}")
    return done.stdout


def _read(path: Path) -> str | None:
    """A file of /proc or /sys without its final newline or NUL; None if empty or unreadable."""
    try:
        return path.read_text(errors="replace").strip("\0\n ") or None
    except OSError:
        return None


def _number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"-?\d+", text) else None
