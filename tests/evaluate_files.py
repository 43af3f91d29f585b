"""Models and data for tests of `workbook evaluate`."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from helpers.data import scenes
from helpers.paths import ROOT
from helpers.vision import open_detector
from modelfiles.formats.onnx_product import product_model

DETECTOR = """
import torch
from helpers.digit_detector import DigitDetector

class Net(DigitDetector):
    def __init__(self):
        torch.manual_seed(0)
        super().__init__()
        with torch.no_grad():
            self[-1].bias[0] = 2  # the probability of an object: it finds some everywhere
"""


def product(folder: Path, size: int = 32) -> tuple[Path, Path]:
    """net.onnx, a matrix product, and digits.npz with the classes that it computes."""
    generator = np.random.default_rng(0)
    x, weights = generator.standard_normal((2, size, size), np.float32)
    model = folder / "net.onnx"
    model.write_bytes(product_model("MatMul", x, weights))
    np.savez(folder / "data.npz", x_data=x, y_data=(x @ weights).argmax(axis=1))
    return model, folder / "data.npz"


def digit_detector(folder: Path) -> tuple[str, Path, list[dict]]:
    """A detector as MODEL, four scenes in a folder, and their objects in COCO's format.

    Its weights are random, so the objects are some of those that it finds.
    """
    import torch

    from helpers.convert import to_onnx

    (folder / "net.py").write_text(DETECTOR)
    network = runpy.run_path(str(folder / "net.py"))["Net"]().eval()
    detector = open_detector(to_onnx(network, torch.zeros(1, 1, 96, 96), folder / "same.onnx"))
    pictures = folder / "scenes"
    pictures.mkdir()
    listed = []
    objects = []
    for number, scene in enumerate(scenes(4, 0, "test")):
        name = f"{number}.png"
        Image.fromarray(scene.image).save(pictures / name)
        listed.append({"id": number, "file_name": name})
        objects += detector.detect(pictures / name).as_coco(number)[1:20:3]
    names = [{"id": digit, "name": str(digit)} for digit in range(10)]
    content = {"images": listed, "annotations": objects, "categories": names}
    (pictures / "labels.json").write_text(json.dumps(content))
    return f"{folder}/net.py:Net", pictures, objects


def command(*arguments: object) -> list[str]:
    """`workbook evaluate ARGUMENTS`."""
    return [sys.executable, "-m", "workbook", "evaluate", *map(str, arguments)]


def evaluate(build: Path, *arguments: object) -> subprocess.CompletedProcess:
    """`workbook evaluate ARGUMENTS` in a process of its own, with a build folder of its own."""
    environment = os.environ | {"WORKBOOK_BUILD": str(build)}
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, cwd=ROOT, env=environment
    )
