"""The files of the live digit, and the HTML that shows it."""

import base64
import json
import shutil
from html import escape
from pathlib import Path

import numpy as np

from helpers.data import mnist
from helpers.interactive import DRAWING_JS
from helpers.paths import build_path
from workbook.digit.lenet import read_network

HERE = Path(__file__).parent
MODEL = ("models", "integers", "lenet_channel_int8.onnx")  # notebook 05b writes it
SCRIPTS_AND_STYLE = (HERE / "network.js", DRAWING_JS, HERE / "page.js", HERE / "style.css")
IMAGES_PER_DIGIT = 3


def write_assets(folder: Path, model: Path | None = None) -> bool:
    """Write the scripts, the style, the network's integers and 30 test images to `folder`.

    `model` is an int8 LeNet, .onnx or .tflite. Returns False, and writes nothing, if it does not
    exist; the default is the file of notebook 05b. ModelFileError for a file that is not an int8
    LeNet.
    """
    model = build_path(*MODEL) if model is None else model
    if not model.exists():
        return False
    parameters = folder / "parameters.js"
    if not parameters.exists() or parameters.stat().st_mtime < model.stat().st_mtime:
        content = read_network(model).as_json() | {"images": _images()}
        text = json.dumps(content, separators=(",", ":"))
        folder.mkdir(parents=True, exist_ok=True)
        parameters.write_text(f"globalThis.lenetParameters = {text};\n", encoding="utf-8")
    for path in SCRIPTS_AND_STYLE:
        shutil.copy(path, folder)
    return True


def _images() -> dict:
    """The first test images of each digit, and their numbers in the test set."""
    test = mnist("test")
    numbers = [np.flatnonzero(test.labels == digit)[:IMAGES_PER_DIGIT] for digit in range(10)]
    chosen = np.array(numbers).T.ravel()  # 0 to 9, three times
    return {
        "source": test.source,
        "numbers": chosen.tolist(),
        "labels": test.labels[chosen].tolist(),
        "pixels": base64.b64encode(test.images[chosen].tobytes()).decode(),
    }


def fragment(assets: str) -> str:
    """The HTML to embed in a page. `assets` is the URL of the folder of write_assets, relative."""
    text = (HERE / "fragment.html").read_text(encoding="utf-8")
    return text.replace("ASSETS", escape(assets.rstrip("/")))
