"""Detectors: the inputs of photographs, and the average precision of raw outputs."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from helpers.metrics import bootstrap_map
from helpers.vision import LAYOUTS, Detections, Fit, Layout, class_wise_nms, read_image
from helpers.workers import Worker
from modelfiles.errors import reason
from modelfiles.limits import Limits
from workbook.evaluate.coco_folder import Labelled
from workbook.evaluate.examples import DataError, Examples
from workbook.evaluate.quality import AnswersError, Quality

if TYPE_CHECKING:
    import torch

# as helpers.vision.Detector.detect
CONFIDENCE = 0.01
IOU = 0.6
LIMIT = 100
MOST_BYTES = 4e9  # of all inputs together


@dataclass(frozen=True)
class Kind:
    """A detector that is known by its shapes: its layout, and the size of its input."""

    layout: Layout
    height: int
    width: int


@dataclass(frozen=True)
class Truth:
    """What a detector should find in N photographs, and how these became inputs.

    `kind` decodes raw outputs, `fits` brings boxes back to the pixels of each photograph, `images`
    has their ids, `objects` the true boxes in COCO's format.
    """

    kind: Kind
    fits: list[Fit]
    images: list[int | str]
    objects: list[dict]
    classes: int

    def __len__(self) -> int:
        return len(self.images)


def as_json(truth: Truth) -> dict:
    """`truth` in plain values, for another machine."""
    return {
        "layout": truth.kind.layout.name,
        "height": truth.kind.height,
        "width": truth.kind.width,
        "fits": [asdict(fit) for fit in truth.fits],
        "images": truth.images,
        "objects": truth.objects,
        "classes": truth.classes,
    }


def from_json(content: dict) -> Truth:
    """What as_json described."""
    layout = next(layout for layout in LAYOUTS if layout.name == content["layout"])
    kind = Kind(layout, content["height"], content["width"])
    fits = [Fit(**fit) for fit in content["fits"]]
    return Truth(kind, fits, content["images"], content["objects"], content["classes"])


def kind_of_file(path: Path, limits: Limits) -> Kind:
    """The kind of detector in a model file, which is opened and run in a process of its own.

    DataError if it is none that is known.
    """
    try:
        with Worker(path, limits=limits) as worker:
            shape = worker.input_shape
            output = worker.predict(np.zeros(shape, np.float32)).shape
    except (RuntimeError, ValueError, OSError) as error:
        raise DataError(reason(error)) from error
    for layout in LAYOUTS:
        if _fits(layout, shape, output):
            return Kind(layout, shape[2], shape[3])
    raise DataError(_unknown(path.name, f"{shape} to {output}"))


def kind_of_network(network: "torch.nn.Module", name: str) -> Kind:
    """The kind of detector of a PyTorch network, which is run on zeros of each known size."""
    import torch

    for layout in LAYOUTS:
        shape = (1, layout.channels, layout.size, layout.size)
        try:
            with torch.inference_mode():
                output = network(torch.zeros(shape))
        except Exception:  # of any kind: this network takes another input
            continue
        if isinstance(output, torch.Tensor) and _fits(layout, shape, tuple(output.shape)):
            return Kind(layout, layout.size, layout.size)
    raise DataError(_unknown(name, "it takes none of their inputs, or returns another shape"))


def _fits(layout: Layout, shape: tuple[int, ...], output: tuple[int, ...]) -> bool:
    right_input = len(shape) == 4 and shape[:2] == (1, layout.channels)
    return right_input and layout.matches(output, shape[2], shape[3])


def _unknown(name: str, found: str) -> str:
    known = ", ".join(map(str, LAYOUTS))
    return f"{name} is no detector that is known by its shapes ({found}). Known are {known}"


def examples(labelled: Labelled, kind: Kind) -> Examples:
    """The photographs as inputs of this kind of detector, and what it should find in them.

    DataError for a photograph that cannot be read, or for too many of them.
    """
    size = 4 * kind.layout.channels * kind.height * kind.width
    if size * len(labelled.photos) > MOST_BYTES:
        raise DataError(
            f"{len(labelled.photos)} photographs are too many to hold in memory as inputs of "
            f"{kind.height} x {kind.width}: list at most {int(MOST_BYTES // size)} in the labels"
        )
    inputs = []
    fits = []
    for path in labelled.photos.values():
        try:
            x, fit = kind.layout.prepare(read_image(path), kind.height, kind.width)
        except (ValueError, FileNotFoundError) as error:
            raise DataError(str(error)) from error
        inputs.append(x)
        fits.append(fit)
    images = list(labelled.photos)
    truth = Truth(kind, fits, images, labelled.truth, len(labelled.names))
    return Examples(np.concatenate(inputs), truth)


def quality(answers: np.ndarray, truth: Truth) -> Quality:
    """AP with its 95 % interval over photographs, AP50 and AP75, as pycocotools computes them.

    `answers` are the raw outputs, N first. Boxes score at least CONFIDENCE, overlap by at most IOU
    within a class, and are the best LIMIT of a photograph. AnswersError for outputs that are no
    boxes, or that name classes which the labels do not have.
    """
    found: list[dict] = []
    for number, image in enumerate(truth.images):
        detections = _detections(answers[number : number + 1], truth.kind, truth.fits[number])
        if len(detections) and detections.classes.max() >= truth.classes:
            raise AnswersError(
                f"the detector knows more classes than the {truth.classes} categories of the "
                "labels: list all its classes there, in the order of their ids"
            )
        found += detections.as_coco(image)
    values = bootstrap_map(truth.objects, found, truth.images)
    others = {name: values[name].value for name in ("AP50", "AP75")}
    main = values["AP"]
    return Quality("AP", main.value, main.low, main.high, len(truth), others)


def _detections(raw: np.ndarray, kind: Kind, fit: Fit) -> Detections:
    expected = kind.layout.output(kind.height, kind.width)
    if raw.ndim != len(expected) or not np.isfinite(raw).all():
        raise AnswersError(f"the outputs {raw.shape} are no boxes of {kind.layout.name}, or NaN")
    boxes, scores, classes = kind.layout.decode(raw, kind.height, kind.width, CONFIDENCE)
    kept = class_wise_nms(boxes, scores, classes, IOU, LIMIT)
    return Detections(fit.to_picture(boxes[kept]), scores[kept], classes[kept])
