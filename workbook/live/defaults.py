"""The network that is used if none is named."""

from collections.abc import Callable
from pathlib import Path

from helpers.paths import build_path
from modelfiles.errors import WorkbookError

DIGITS = "digit_detector.onnx"
PHOTOGRAPHS = "fastestdet.onnx"


def network_for(source: str, say: Callable[[str], None] = print) -> Path:
    """The digit detector for scenes of digits, FastestDet for everything else.

    FastestDet is downloaded if needed; where that fails, the digit detector takes its place. The
    digit detector is trained if needed, which takes a minute or two. WorkbookError where that is
    impossible.
    """
    if source != "scenes":
        from helpers.data import fetch

        try:
            return fetch(PHOTOGRAPHS)
        except ConnectionError as error:
            say(f"{error}. The digit detector takes its place.")
    return digit_detector()


def digit_detector() -> Path:
    """build/models/digit_detector.onnx, made now if it is missing."""
    path = build_path("models", DIGITS)
    if path.exists():
        return path
    try:
        import torch

        from helpers import convert
        from helpers import digit_detector as network
        from helpers.data import SCENE_SIZE
    except ImportError as error:
        raise WorkbookError(
            f"{DIGITS} is missing and cannot be made here ({error}): name a model file with "
            "--model, or start `workbook live HOST` on the laptop, which copies one to the Pi"
        ) from error
    example = torch.zeros(1, 1, SCENE_SIZE, SCENE_SIZE)
    return convert.to_onnx(network.trained(), example, path)
