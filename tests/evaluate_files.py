"""A model file and data for tests of `workbook evaluate` that need no torch."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from helpers.paths import ROOT
from modelfiles.formats.onnx_product import product_model


def product(folder: Path, size: int = 32) -> tuple[Path, Path]:
    """net.onnx, a matrix product, and digits.npz with the classes that it computes."""
    generator = np.random.default_rng(0)
    x, weights = generator.standard_normal((2, size, size), np.float32)
    model = folder / "net.onnx"
    model.write_bytes(product_model("MatMul", x, weights))
    np.savez(folder / "data.npz", x_data=x, y_data=(x @ weights).argmax(axis=1))
    return model, folder / "data.npz"


def command(*arguments: object) -> list[str]:
    """`workbook evaluate ARGUMENTS`."""
    return [sys.executable, "-m", "workbook", "evaluate", *map(str, arguments)]


def evaluate(build: Path, *arguments: object) -> subprocess.CompletedProcess:
    """`workbook evaluate ARGUMENTS` in a process of its own, with a build folder of its own."""
    environment = os.environ | {"WORKBOOK_BUILD": str(build)}
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, cwd=ROOT, env=environment
    )
