"""A detector or a classifier as a step of the live picture: picture in, picture with labels out."""

from pathlib import Path
from typing import Protocol

import numpy as np

from helpers.runtimes import Model, open_model
from helpers.vision import Detector, draw_boxes, open_detector
from helpers.vision.stages import StageClock
from modelfiles.errors import ModelFileError, WorkbookError
from workbook.live.pipeline import Label

CONFIDENCE = 0.4  # a box that scores less is not shown: it would flicker
TOP = 10  # labels of a classifier
WIDTH = 480  # narrower pictures are enlarged, so that their labels can be read
# torchvision's normalization of float pictures, by which most classifiers were trained
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


class Step(Protocol):
    """What the pipeline calls for each frame; `labels` are those of the last one, best first."""

    stages: StageClock
    labels: tuple[Label, ...]

    @property
    def name(self) -> str: ...

    def __call__(self, image: np.ndarray) -> np.ndarray: ...


class ModelStep:
    """What steps with a model share: the names of its classes, the clock, the last labels."""

    def __init__(self, model: Model, names: list[str]) -> None:
        self.model = model
        self.names = names
        self.stages = StageClock()
        self.labels: tuple[Label, ...] = ()

    @property
    def name(self) -> str:
        return self.model.path.name

    def label(self, number: int, score: float) -> Label:
        """The class `number` by its name, if that is known."""
        if number < len(self.names):
            return Label(self.names[number], score)
        return Label(f"class {number}", score)


class DetectorStep(ModelStep):
    """Boxes around the objects that a detector finds."""

    def __init__(self, detector: Detector, names: list[str]) -> None:
        super().__init__(detector.model, names)
        self.detector = detector

    def __call__(self, image: np.ndarray) -> np.ndarray:
        with self.stages.stage("resize"):
            x, fit = self.detector.preprocess(image)
        with self.stages.stage("network"):
            raw = self.detector.network(x)
        with self.stages.stage("post-processing"):
            found = self.detector.postprocess(raw, fit, CONFIDENCE)
        self.labels = tuple(
            self.label(int(number), float(score))
            for number, score in zip(found.classes, found.scores)
        )
        with self.stages.stage("draw"):
            texts = [_text(label) for label in self.labels]
            return draw_boxes(image, found.boxes, texts, enlarge=_enlarge(image))


class ClassifierStep(ModelStep):
    """The best label, and a dashed box around the square that the network gets.

    `size` is channels, height and width of its input.
    """

    def __init__(self, model: Model, names: list[str]) -> None:
        super().__init__(model, names)
        shape = self.model.input_shape or ()
        if len(shape) != 4:
            raise ModelFileError(f"{self.model.path.name} takes no pictures, but {shape}")
        _, *rest = [number or 0 for number in shape]
        self.channels_last = rest[0] not in (1, 3) and rest[2] in (1, 3)
        if self.channels_last:
            rest = [rest[2], rest[0], rest[1]]
        channels, height, width = rest
        if channels not in (1, 3):
            raise ModelFileError(f"{self.model.path.name} takes no grey or RGB pictures: {shape}")
        self.size = (channels, height or 224, width or 224)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        rows, columns = image.shape[:2]
        side = min(rows, columns)
        top = (rows - side) // 2
        left = (columns - side) // 2
        with self.stages.stage("resize"):
            x = self.prepare(image[top : top + side, left : left + side])
        with self.stages.stage("network"):
            raw = self.model.predict(x)
        with self.stages.stage("post-processing"):
            self.labels = self.best(raw)
        with self.stages.stage("draw"):
            square = [[left, top, left + side, top + side]]
            texts = [_text(self.labels[0])]
            return draw_boxes(image, square, texts, dashed=True, enlarge=_enlarge(image))

    def prepare(self, square: np.ndarray) -> np.ndarray:
        """The network's input for a picture, uint8 N x N x 3 (RGB)."""
        import cv2

        from helpers.data import normalize

        channels, height, width = self.size
        small = cv2.resize(square, (width, height), interpolation=cv2.INTER_AREA)
        if channels == 1:
            small = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)[..., None]
        if "uint8" in self.model.input_types:
            pixels = small
        elif channels == 1:
            pixels = normalize(small[None, ..., 0])[0].transpose(1, 2, 0)
        else:
            pixels = (small / np.float32(255) - MEAN) / STD
        if not self.channels_last:
            pixels = pixels.transpose(2, 0, 1)
        return np.ascontiguousarray(pixels[None])

    def best(self, raw: np.ndarray) -> tuple[Label, ...]:
        """The best labels; scores that are no probabilities become some, by the softmax.

        The sum does not tell: rounded to int8, many small probabilities are zero.
        """
        scores = raw.reshape(-1).astype(np.float64)
        if not np.isfinite(scores).all():
            raise ValueError(f"{self.name} returns NaN or infinity: its weights are damaged")
        if scores.min() < 0 or scores.max() > 1:
            scores = np.exp(scores - scores.max())
            scores /= scores.sum()
        order = np.argsort(-scores, kind="stable")[:TOP]
        return tuple(self.label(int(i), float(scores[i])) for i in order)


def open_step(path: Path, names: list[str] | None = None, threads: int = 1) -> Step:
    """The network in the file at `path`, as a detector if it is a known one, else as a classifier.

    `names` are those of its classes; without them, the usual ones for their number. A picture for a
    network with float inputs is normalized as in torchvision, or as MNIST for one grey channel.

    The errors of open_model; ModelFileError for a file that is neither.
    """
    if not path.exists():
        raise WorkbookError(f"{path} does not exist: name a model file")
    try:
        detector = open_detector(path, threads)
        if names is None:
            names = _detector_names(detector)
        return DetectorStep(detector, names)
    except ModelFileError as error:
        no_detector = error
    model = open_model(path, threads)
    step = ClassifierStep(model, names or [])
    channels, height, width = step.size
    try:
        raw = model.predict(step.prepare(np.zeros((max(height, width),) * 2 + (3,), np.uint8)))
    except ValueError as error:
        raise ModelFileError(str(error)) from error
    if raw.ndim != 2:
        raise ModelFileError(f"{no_detector}. As a classifier, its output would be 1 x classes")
    if names is None:
        step.names = _classifier_names(raw.shape[1], channels)
    return step


def _detector_names(detector: Detector) -> list[str]:
    if detector.layout.channels == 1:
        return [str(digit) for digit in range(10)]
    from helpers.data import coco_names

    try:
        return coco_names()
    except ConnectionError:
        return []  # the numbers are shown


def _classifier_names(count: int, channels: int) -> list[str]:
    """The names of MNIST's or ImageNet's classes by their number; [] for another number."""
    if count == 10 and channels == 1:
        return [str(digit) for digit in range(10)]
    if count not in (1000, 1001):
        return []
    from helpers.data import fetch

    try:
        names = fetch("imagenet_labels.txt").read_text(encoding="utf-8").splitlines()
    except ConnectionError:
        return []
    return names[-count:]  # the first of 1,001 is the background


def read_names(path: Path) -> list[str]:
    """The names of classes, one per line. WorkbookError if they cannot be read."""
    try:
        names = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise WorkbookError(
            f"{path.name} cannot be read ({error}): a text file with one name per line is needed"
        ) from error
    if not any(names):
        raise WorkbookError(f"{path.name} is empty: write one name per line")
    return names


def _text(label: Label) -> str:
    return f"{label.name} {label.score:.0%}"


def _enlarge(image: np.ndarray) -> int:
    return max(1, WIDTH // image.shape[1])
