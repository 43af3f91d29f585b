"""MNN's converter in a process of its own, because it ends the process when it fails."""

import os
import subprocess
import sys
from pathlib import Path

from modelfiles.errors import ConversionError
from modelfiles.places import ROOT


def convert(onnx_file: Path, mnn_file: Path, *options: str) -> None:
    """Convert an ONNX file. Raises ConversionError, or ImportError if MNN is not installed."""
    source = str(Path(onnx_file).resolve())
    target = Path(mnn_file).resolve()
    arguments = ["-f", "ONNX", "--modelFile", source, "--MNNModel", str(target), *options]
    places = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-m", "modelfiles.conversion.mnn_process", *arguments],
        cwd=target.parent,  # it leaves a hidden file in the folder that it runs in
        env=os.environ | {"PYTHONPATH": places},
        capture_output=True,
        text=True,
        errors="replace",
    )
    if "ModuleNotFoundError" in done.stderr:
        raise ImportError("MNN is not installed here: pip install MNN")
    if done.returncode or not Path(mnn_file).exists():
        words = (done.stdout + done.stderr).strip().splitlines() or ["no output"]
        words = [line for line in words if "Not Support" in line] or words
        how = f"MNN's converter failed with {Path(onnx_file).name}"
        raise ConversionError(f"{how} (exit status {done.returncode}): {words[-1][:200]}")


if __name__ == "__main__":
    # the mnnconvert command runs MNN.tools, which installs packages and reports home
    import _tools
    import MNN  # noqa: F401  (loads the library that _tools links to)

    _tools.mnnconvert(["mnnconvert", *sys.argv[1:], "--bizCode", "workbook"])
