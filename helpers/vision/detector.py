"""Find objects in pictures with a model file: open_detector(path).detect(image)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.runtimes import Model, open_model
from helpers.vision.boxes import xyxy_to_xywh
from helpers.vision.fitting import Fit
from helpers.vision.heads import LAYOUTS, Layout
from helpers.vision.images import Source, read_image
from helpers.vision.suppression import class_wise_nms
from modelfiles.errors import ModelFileError


@dataclass(frozen=True)
class Detections:
    """N found objects, best first.

    `boxes` is float32 N x 4, x1 y1 x2 y2 in pixels of the picture; `scores` float32 N; `classes`
    int64 N, the class numbers of the network.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    def as_coco(self, image_id: int | str) -> list[dict]:
        """Entries in COCO's format, for metrics.coco_map. Their category_id is the class number."""
        return [
            {"image_id": image_id, "category_id": int(number), "bbox": box, "score": float(score)}
            for box, score, number in zip(
                xyxy_to_xywh(self.boxes).tolist(), self.scores, self.classes
            )
        ]


@dataclass(frozen=True)
class Detector:
    """A detector that is loaded. detect runs three stages, which can be called one by one:

        x, fit = detector.preprocess(image)
        raw = detector.network(x)
        found = detector.postprocess(raw, fit)

    `model` is the file in its runtime, `layout` the kind of detector, `height` and `width` the size
    of its input.
    """

    model: Model
    layout: Layout
    height: int
    width: int

    def detect(
        self, image: Source, confidence: float = 0.01, iou: float = 0.6, limit: int = 100
    ) -> Detections:
        """The objects in `image`, an array of height x width x 3 (RGB, uint8) or a file.

        They score at least `confidence`, no two of one class have an IoU above `iou`, and they are
        the best `limit`. ValueError for what read_image cannot read.
        """
        x, fit = self.preprocess(read_image(image))
        return self.postprocess(self.network(x), fit, confidence, iou, limit)

    def preprocess(self, image: np.ndarray) -> tuple[np.ndarray, Fit]:
        """The network's input for a picture, and how the picture was resized."""
        return self.layout.prepare(image, self.height, self.width)

    def network(self, x: np.ndarray) -> np.ndarray:
        """The network's raw output."""
        return self.model.predict(x)

    def postprocess(
        self,
        raw: np.ndarray,
        fit: Fit,
        confidence: float = 0.01,
        iou: float = 0.6,
        limit: int = 100,
    ) -> Detections:
        """Decode the raw output, suppress overlapping boxes, return to the picture's pixels."""
        if not np.isfinite(raw).all():
            raise ValueError(
                f"{self.model.path.name} returns NaN or infinity: its weights are damaged, or its "
                "numbers exceed the range of float16"
            )
        boxes, scores, classes = self.layout.decode(raw, self.height, self.width, confidence)
        kept = class_wise_nms(boxes, scores, classes, iou, limit)
        return Detections(fit.to_picture(boxes[kept]), scores[kept], classes[kept])


def open_detector(path: Path | str, threads: int = 1) -> Detector:
    """Load the detector at `path`, in any format of runtimes.open_model.

    The kind of detector is recognised by the shapes of the file's input and output: see
    heads.LAYOUTS. ModelFileError for other shapes; otherwise the errors of open_model.
    """
    model = open_model(path, threads)
    outputs: dict[tuple[int, ...], tuple[int, ...]] = {}
    for layout in LAYOUTS:
        shape = _input_shape(model, layout)
        if shape[:2] != (1, layout.channels):
            continue
        if shape not in outputs:
            outputs[shape] = _output_shape(model, shape)
        _, _, height, width = shape
        if layout.matches(outputs[shape], height, width):
            return Detector(model, layout, height, width)
    found = ", ".join(
        f"{_text(shape)} to {_text(output)}" for shape, output in outputs.items() if output
    )
    raise ModelFileError(
        f"{model.path.name} is no detector that is known by its shapes "
        f"({found or _text(model.input_shape or ())}). Known are "
        f"{', '.join(map(str, LAYOUTS))}"
    )


def _input_shape(model: Model, layout: Layout) -> tuple[int, ...]:
    """The shape for one picture; sizes that the file leaves free are those of the layout."""
    usual = (1, layout.channels, layout.size, layout.size)
    given = model.input_shape or usual
    if len(given) != 4:
        return ()
    return tuple(size or default for size, default in zip(given, usual))


def _output_shape(model: Model, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the output for an input of zeros; () if the network cannot compute it."""
    try:
        return model.predict(np.zeros(shape, np.float32)).shape
    except ValueError:
        return ()


def _text(shape: tuple[int | None, ...]) -> str:
    return " x ".join(str(size or "any") for size in shape)
