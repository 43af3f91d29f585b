"""The rows of the measurement table: what can be built here, and what others have published.

A network that is here has a free licence and random weights: right for its size, its
multiply-accumulates (MACs) and its time, and useless for accuracy. For each other row, `why` says
what is missing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Network:
    """A row: its input without the batch, and how to get it, or `why` it is not here.

    `build` makes a torch module, `file` names a published .onnx file in the folder models of
    WORKBOOK_DATA. `note` says which part of the network the row is about. `macs` counts them where
    helpers.metrics cannot.
    """

    name: str
    shape: tuple[int, ...]
    build: "Callable[[], nn.Module] | None" = None
    file: str = ""
    why: str = ""
    note: str = ""
    macs: Callable[[], int] | None = None


@dataclass(frozen=True)
class Size:
    """What the authors of a network publish: millions of parameters, 1e9 MACs, a quality.

    Where a source gives FLOPs and counts two for a MAC, `gmacs` is half of its number.
    """

    name: str
    parameters_m: float
    gmacs: float
    quality: str
    source: str


def _classifier(name: str) -> "Callable[[], nn.Module]":
    def build() -> "nn.Module":
        from workbook.evaluate.named import untrained

        return untrained(name)

    return build


def _fcos() -> "nn.Module":
    """FCOS without its post-processing, which needs an operator that CPU-only torch lacks."""
    import torch
    from torch import nn

    from helpers.models import import_torchvision

    class Body(nn.Module):
        """Backbone and head of FCOS: for each location, classes, a box and its centerness."""

        def __init__(self):
            super().__init__()
            whole = import_torchvision().models.detection.fcos_resnet50_fpn(
                weights=None, weights_backbone=None
            )
            self.backbone = whole.backbone
            self.head = whole.head

        def forward(self, x):
            found = self.head(list(self.backbone(x).values()))
            return torch.cat([found[key] for key in sorted(found)], 2)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Body().eval()


def vit_macs(
    side: int = 224, patch: int = 32, width: int = 768, layers: int = 12, classes: int = 1000
) -> int:
    """The MACs of a vision transformer, by hand: helpers.metrics cannot count its attention.

    With n tokens of `width` d, a layer has 4 n d^2 for queries, keys, values and the projection,
    2 n^2 d for the attention itself, and 8 n d^2 for the two linear layers behind it.

    >>> round(vit_macs() / 1e9, 2)  # ViT-B/32
    4.41
    """
    patches = (side // patch) ** 2
    tokens = patches + 1  # and one for the class
    layer = 12 * tokens * width**2 + 2 * tokens**2 * width
    return patches * 3 * patch**2 * width + layers * layer + classes * width


FREE = "not here, because"
LATER = "comes with chapter"
PUBLISHED_FILE = "its published file, Apache-2.0"
PICTURE = (3, 224, 224)

NETWORKS = (
    Network("resnet18", PICTURE, _classifier("resnet18")),
    Network("resnet50", PICTURE, _classifier("resnet50")),
    Network("mobilenet_v2", PICTURE, _classifier("mobilenet_v2")),
    Network("mobilenet_v3_small_075", PICTURE, _classifier("mobilenet_v3_small_075")),
    Network("efficientnet_b0", PICTURE, _classifier("efficientnet_b0")),
    Network("FCOS", (3, 640, 640), _fcos, note="ResNet-50, without post-processing"),
    Network(
        "CLIP",
        PICTURE,
        _classifier("vit_b_32"),
        note="its image encoder's shape, ViT-B/32",
        macs=vit_macs,
    ),
    Network("YOLOX-nano", (3, 416, 416), file="yolox_nano.onnx", note=PUBLISHED_FILE),
    Network("YOLOX-s", (3, 640, 640), file="yolox_s.onnx", note=PUBLISHED_FILE),
    Network(
        "YOLOv8n",
        (3, 640, 640),
        why=f"{FREE} it is AGPL-3.0: bring your own export (notebook 09b, part 5)",
    ),
    Network("ByteTrack", (), why=f"{LATER} 12: a tracker has no weights; its detector costs"),
    Network("RTMPose-m", (3, 256, 192), why=f"{LATER} 13, with MoveNet: its weights are not here"),
    Network("LLM", (), why=f"{LATER} 15"),
    Network("VLM", (), why=f"{LATER} 15"),
)

YOLOX = "https://github.com/Megvii-BaseDetection/YOLOX"
TORCHVISION = "https://docs.pytorch.org/vision/stable/models.html"
SIZES = (
    Size("resnet18", 11.689512, 1.81, "top-1 69.8 %", TORCHVISION),
    Size("FCOS", 32.3, 128.2, "AP 39.2, input about 800 x 1333", TORCHVISION),
    Size("CLIP", 88.2, 4.41, "top-1 75.9 %, trained on ImageNet as a classifier", TORCHVISION),
    Size("YOLOX-nano", 0.91, 0.54, "AP 25.8", YOLOX),
    Size("YOLOX-s", 9.0, 13.4, "AP 40.5", YOLOX),
    Size("YOLOv8n", 3.2, 4.35, "AP 37.3", "https://docs.ultralytics.com/models/yolov8/"),
    Size(
        "RTMPose-m",
        13.59,
        1.93,
        "AP 75.8 of 17 keypoints",
        "https://github.com/open-mmlab/mmpose/tree/main/projects/rtmpose",
    ),
)


def onnx_size(path: Path) -> tuple[int, int]:
    """Parameters, and MACs of the convolutions, of an .onnx file."""
    from helpers.convert import read_layers

    network = read_layers(path)
    parameters = sum(part.size for part in network.weights().values() if part.dtype == "float32")
    return parameters, sum(network.macs.values())
