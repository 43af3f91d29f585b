"""MNN's converter in a separate process, because it ends the process if it fails."""

import sys
from pathlib import Path

from modelfiles.errors import ConversionError
from modelfiles.programs import ProgramFailed, run_program


def convert(onnx_file: Path, mnn_file: Path, *options: str) -> None:
    """Convert an ONNX file. Raises ConversionError, or ImportError if MNN is not installed."""
    source = str(Path(onnx_file).resolve())
    target = Path(mnn_file).resolve()
    arguments = ["-f", "ONNX", "--modelFile", source, "--MNNModel", str(target), *options]
    command = [sys.executable, "-m", "modelfiles.conversion.mnn_process", *arguments]
    # the converter leaves a hidden file in its working directory
    output, error = _run(command, target.parent)
    if "ModuleNotFoundError" in output:
        raise ImportError("MNN is not installed here: pip install MNN")
    if error or not target.exists():
        reasons = [line for line in output.splitlines() if "Not Support" in line]
        reason = reasons[-1][:200] if reasons else error or "it wrote no file"
        raise ConversionError(f"MNN cannot convert {Path(onnx_file).name}: {reason}") from error


def _run(command: list[str], folder: Path) -> tuple[str, ProgramFailed | None]:
    """The output of the converter, and the error if it failed."""
    try:
        return run_program(command, "MNN's converter", folder=folder), None
    except ProgramFailed as error:
        return error.output, error


if __name__ == "__main__":
    # the mnnconvert command runs MNN.tools, which installs packages and sends usage reports
    import _tools
    import MNN  # noqa: F401  (loads the library that _tools links to)

    _tools.mnnconvert(["mnnconvert", *sys.argv[1:], "--bizCode", "workbook"])
