"""Check this machine: Python, packages, runtimes, memory and disk; on a Pi also its state.

It prints what to do about each problem.
"""

import platform
import re
import shutil
import subprocess
import sys

from helpers.paths import ROOT, build_path, display_path
from workbook import packages


def doctor() -> int:
    """Print a line per check, then advice for failures; return 1 if a check failed, else 0."""
    if sys.maxsize < 2**32:  # the runtimes have no packages for a 32-bit Python
        print(f"To do:\n- {_python()}")
        return 1
    try:
        from helpers import device
    except ImportError as error:
        print(
            f"The environment is incomplete ({error}). Run pip install -r requirements.txt, "
            "on a Pi requirements-pi.txt."
        )
        return 1
    machine = device.describe()
    state = device.conditions()
    is_pi = "Raspberry Pi" in (machine["board"] or "")
    # `workbook pi` creates .pi on each machine that it sets up, which may be another board
    is_pi_environment = is_pi or (ROOT / ".pi").exists()
    name = machine["board"] or machine["cpu"]
    memory_gb = machine["ram_mb"] / 1000
    print(f"{name}, {machine['cores']} cores, {memory_gb:.1f} GB, {machine['os']}")

    # each check prints its line and returns advice, or None if it passed
    advice = [_python(), _memory(), _disk(), _state(state)]
    if is_pi:
        advice.append(_system(machine["os"]))
    advice += _packages(is_pi_environment)
    advice += [_check_inference(suffix) for suffix in ("onnx", "tflite", "ncnn.param", "mnn")]
    if is_pi:
        _notes(state)
        _camera()
    if is_pi_environment:
        advice.append(_model_files())

    to_do = [sentence for sentence in advice if sentence]
    if not to_do:
        print("\nAll checks passed.")
        return 0
    print("\nTo do:")
    for sentence in to_do:
        print(f"- {sentence}")
    return 1


def _line(is_good: bool, text: str, advice: str) -> str | None:
    """Print the line of a check; return `advice` if it failed."""
    if is_good:
        print(f"  ok    {text}")
        return None
    print(f"  FAIL  {text}")
    return advice


def _python() -> str | None:
    is_64_bit = sys.maxsize > 2**32
    bits = 64 if is_64_bit else 32
    return _line(
        is_64_bit and (3, 11) <= sys.version_info[:2] < (3, 14),
        f"Python {platform.python_version()}, {bits} bits",
        "the workbook needs a 64-bit Python 3.11, 3.12 or 3.13; on a Pi, install "
        "the 64-bit Raspberry Pi OS",
    )


def _memory() -> str | None:
    from workbook.free_memory import available_bytes

    free = available_bytes() / 1e9
    return _line(
        free > 0.5,
        f"{free:.1f} GB of memory free",
        "close other programs: less than 0.5 GB of memory is free",
    )


def _disk() -> str | None:
    free = shutil.disk_usage(ROOT).free / 1e9
    return _line(
        free > 1,
        f"{free:.1f} GB of disk free",
        f"free disk space in {ROOT.name}: less than 1 GB is left",
    )


def _state(state: dict) -> str | None:
    from helpers import device

    flags = device.throttle_flags(state["throttled"])
    facts = [f"governor {state['governor']}", f"{state['temp_c']} °C"]
    if state["load_avg"]:
        facts.append(f"load {state['load_avg'][0]:.1f}")
    known = [fact for fact in facts if "None" not in fact]
    text = ", ".join(known) or "clock and temperature unknown"
    if flags:
        text += f"; {', '.join(flags)}"
    return _line(
        not flags,
        text,
        "the Pi was throttled: use the official power supply, cool it, and restart it "
        "to clear the flags",
    )


def _system(name: str) -> str | None:
    is_supported = re.search(r"bookworm|trixie|\b1[23]\b", name) is not None
    return _line(
        is_supported,
        name,
        "the workbook is made for Raspberry Pi OS bookworm (12) or trixie (13), 64-bit: "
        "install one of them",
    )


def _notes(state: dict) -> None:
    """Print advice for measurements."""
    if state["throttled"] is None:
        print(
            "        throttling unknown (no vcgencmd, or you are not in the group video): "
            "results cannot be validated"
        )
    if state["governor"] not in ("performance", None):
        print(
            f"        governor {state['governor']}; before you measure: "
            "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        )


def _camera() -> None:
    """Print one line. A camera is optional, so this is never a failure."""
    code = "from picamera2 import Picamera2; print(len(Picamera2.global_camera_info()))"
    try:
        # in a separate process, because the camera software may crash with another numpy version
        done = packages.run_code(code, 60)
    except subprocess.TimeoutExpired:
        print("        camera (optional): its software does not respond")
        return
    is_found = done.returncode == 0
    output = done.stdout if is_found else done.stderr
    last = (output.strip().splitlines() or ["no output"])[-1]
    if is_found:
        last = f"picamera2 finds {last}"
    elif "No module named" in last:
        last = (
            "picamera2 is not found: sudo apt install python3-picamera2, "
            "and create .venv with --system-site-packages"
        )
    print(f"        camera (optional): {last}")


def _model_files() -> str | None:
    files = sorted(build_path("models", "x").parent.glob("mnist_cnn*"))
    return _line(
        bool(files),
        f"{len(files)} files of MnistNet to run",
        "model files are missing: run `make pi` on the laptop, which copies them",
    )


def _packages(is_pi_environment: bool) -> list[str | None]:
    """A line for each package. Without PyTorch, those that need it are skipped: some crash."""
    found = []
    is_without_torch = False
    for package in packages.wanted(is_pi_environment):
        if is_without_torch and package.name in packages.NEED_TORCH:
            continue
        why = packages.problem(package)
        if package.name == "torch":
            is_without_torch = why is not None
        about = f"{package.name}, for {package.purpose}: {why}"
        if why is None:
            about = f"{package.name} {packages.version_of(package)}, for {package.purpose}"
        found.append(_line(why is None, about, packages.advice(package, is_pi_environment)))
    return found


def _check_inference(suffix: str) -> str | None:
    import numpy as np

    from helpers.runtimes import open_model

    path = build_path("models", f"mnist_cnn.{suffix}")
    if not path.exists():
        return None
    image = np.zeros((1, 1, 28, 28), np.float32)
    try:
        logits = open_model(path).predict(image)
    except (ValueError, ImportError) as error:
        return _line(False, f"running {path.name}", str(error))
    return _line(
        bool(np.isfinite(logits).all()),
        f"running {path.name}",
        f"{display_path(path)} gives NaN or infinity: create it again with notebook 02",
    )
