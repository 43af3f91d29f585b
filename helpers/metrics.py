"""How good, how equal, how big: accuracy, agreement of two models, detection quality, parameters and MACs.

Every figure has a library that sets its standard, and the tests compare with it: scikit-learn for classification,
pycocotools for detection, torch's FlopCounterMode for multiply-accumulates. numpy only; torch for counting MACs.
"""

import copy
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)  # what COCO averages over; AP50 is the first, AP75 the sixth
RECALL_POINTS = np.linspace(0, 1, 101)
MAX_DETECTIONS = 100  # COCO looks at the best hundred of an image and class


@dataclass(frozen=True)
class Accuracy:
    """The fraction of `n` images that are classified correctly, and the ends of its 95 % interval."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        value, low, high = (f"{100 * fraction:.1f}" for fraction in (self.value, self.low, self.high))
        return f"{value} % (95 % interval {low} to {high} %, n = {self.n:,})"


@dataclass(frozen=True)
class ClassScores:
    """Precision, recall and F1: one array entry per class, and in `macro` their means, by name."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    macro: dict[str, float]


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a proportion, by Wilson: it stays inside 0 to 1 and is honest near both ends."""
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"{successes} successes of {n} is no proportion")
    z = NormalDist().inv_cdf(0.975)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half_width = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half_width), min(1.0, centre + half_width)


def accuracy(labels: Sequence[int], predictions: Sequence[int]) -> Accuracy:
    """The fraction of equal entries, with its Wilson interval. Both are class numbers, N long."""
    labels, predictions = _class_numbers(labels, predictions)
    correct = int((labels == predictions).sum())
    return Accuracy(correct / len(labels), *wilson_interval(correct, len(labels)), len(labels))


def confusion_matrix(labels: Sequence[int], predictions: Sequence[int], classes: int | None = None) -> np.ndarray:
    """Counts, int64 classes x classes: entry [i, j] is how many images of true class i were called j.

    `classes` is one more than the largest number seen where it is not given. ValueError for unequal lengths
    and for numbers outside 0 to classes - 1.
    """
    labels, predictions = _class_numbers(labels, predictions)
    largest = max(labels.max(), predictions.max())
    classes = int(largest) + 1 if classes is None else classes
    smallest = min(labels.min(), predictions.min())
    if smallest < 0 or largest >= classes:
        wrong = smallest if smallest < 0 else largest
        raise ValueError(f"classes are numbered 0 to {classes - 1}, and there is a {wrong}")
    return np.bincount(labels * classes + predictions, minlength=classes**2).reshape(classes, classes)


def precision_recall_f1(matrix: np.ndarray) -> ClassScores:
    """Scores of every class from a confusion matrix whose rows are the true classes.

    Precision is the share of right answers among all images called i, recall among all images that are i,
    F1 their harmonic mean. 0/0 counts as 0, as in scikit-learn with zero_division=0: a class that nobody
    predicted has precision 0, and a class that does not occur pulls the macro means down.
    """
    matrix = np.asarray(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"a confusion matrix is square, not {matrix.shape}")
    right, true, called = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    scores = {"precision": _ratio(right, called), "recall": _ratio(right, true), "f1": _ratio(2 * right, true + called)}
    return ClassScores(**scores, macro={name: float(values.mean()) for name, values in scores.items()})


def changed_predictions(logits_a: np.ndarray, logits_b: np.ndarray) -> int:
    """How many images two models call differently: the argmax of their logits, N x classes, differs.

    Two models on the same images are compared by this count rather than by two accuracies, whose intervals
    are wide. ValueError for NaN, which has no argmax.
    """
    logits_a, logits_b = _same_shape(logits_a, logits_b)
    if logits_a.ndim != 2:
        raise ValueError(f"logits are N x classes, not {logits_a.shape}")
    if np.isnan(logits_a).any() or np.isnan(logits_b).any():
        raise ValueError("some logits are NaN, so these images have no prediction")
    return int((logits_a.argmax(axis=1) != logits_b.argmax(axis=1)).sum())


def largest_difference(a: np.ndarray, b: np.ndarray) -> float:
    """max |a - b| over all entries, in float64; NaN where there is a NaN."""
    a, b = _same_shape(a, b)
    return float(np.abs(a - b).max())


def mean_absolute_percentage_error(targets: np.ndarray, predictions: np.ndarray) -> float:
    """The mean of |target - prediction| / |target|: a fraction, 0.05 for 5 %. ValueError where a target is 0."""
    targets, predictions = _same_shape(targets, predictions)
    if (targets == 0).any():
        raise ValueError("a target is 0, and an error relative to 0 is not defined; use mean_squared_error")
    return float(np.mean(np.abs(targets - predictions) / np.abs(targets)))


def mean_squared_error(targets: np.ndarray, predictions: np.ndarray) -> float:
    """The mean of (target - prediction)**2, in the square of their unit."""
    targets, predictions = _same_shape(targets, predictions)
    return float(np.mean((targets - predictions) ** 2))


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of every box of `a` (N x 4) with every box of `b` (M x 4): float64 N x M.

    A box is x, y, width, height with x, y its upper left corner, as COCO writes it. Boxes that only touch,
    or have no area, get 0.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != 4 or b.shape[1] != 4:
        raise ValueError(f"boxes are N x 4 (x, y, width, height), not {a.shape} and {b.shape}")
    a, b = a[:, None], b[None]
    width = np.minimum(a[..., 0] + a[..., 2], b[..., 0] + b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    height = np.minimum(a[..., 1] + a[..., 3], b[..., 1] + b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    intersection = np.maximum(width, 0) * np.maximum(height, 0)
    return _ratio(intersection, a[..., 2] * a[..., 3] + b[..., 2] * b[..., 3] - intersection)


def precision_recall_curve(
        correct: Sequence[bool], scores: Sequence[float], positives: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and score where this detection and better ones are kept: a point each, best first.

    `correct` says of each detection whether it found an object, `positives` is how many objects there are.
    Equal scores keep their order and a point each, as in COCO's evaluation.
    """
    correct, scores = np.asarray(correct, bool), np.asarray(scores, np.float64)
    if correct.ndim != 1 or correct.shape != scores.shape:
        raise ValueError(f"correct {correct.shape} and scores {scores.shape} need one entry per detection")
    if np.isnan(scores).any():
        raise ValueError("some scores are NaN, so the detections have no order")
    if positives < max(1, correct.sum()):
        raise ValueError(f"{correct.sum()} correct detections of {positives} objects: recall is not defined")
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(correct[order])
    return found / np.arange(1, len(found) + 1), found / positives, scores[order]


def average_precision(correct: Sequence[bool], scores: Sequence[float], positives: int) -> float:
    """COCO's average precision: the mean over 101 recalls of the best precision at that recall or beyond it."""
    precision, recall, _ = precision_recall_curve(correct, scores, positives)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(recall, RECALL_POINTS)  # the first point with at least that recall
    return float(np.append(best_from_here, 0.0)[reached].mean())  # a recall that is never reached counts 0


def coco_map(ground_truth: list[dict], detections: list[dict]) -> dict[str, float]:
    """Mean average precision over classes: "AP" (IoU 0.50 to 0.95), "AP50" and "AP75", as pycocotools has them.

    Both are lists as in COCO's files: dicts with image_id, category_id, bbox [x, y, width, height], detections
    also with score. A class without ground truth is left out; with no ground truth at all every figure is -1.
    Crowd boxes (iscrowd) are refused, size ranges are not computed.
    """
    truth = _by_class_and_image(ground_truth, "ground truth box", scored=False)
    found = _by_class_and_image(detections, "detection", scored=True)
    if not truth:
        return {"AP": -1.0, "AP50": -1.0, "AP75": -1.0}
    ap = np.mean([_class_average_precisions(boxes, found.get(name, {})) for name, boxes in truth.items()], axis=0)
    return {"AP": float(ap.mean()), "AP50": float(ap[0]), "AP75": float(ap[5])}


def _class_average_precisions(truth: dict, found: dict) -> list[float]:
    """The average precision of one class at each IoU threshold; both are {image: N x 5, box and score}."""
    scores, correct = [np.empty(0)], [np.empty((len(IOU_THRESHOLDS), 0), bool)]
    for image in sorted(found):  # the order decides between equal scores: pycocotools goes by image number
        best = found[image][np.argsort(-found[image][:, 4], kind="stable")[:MAX_DETECTIONS]]
        scores.append(best[:, 4])
        correct.append(_match(box_iou(best[:, :4], truth.get(image, np.empty((0, 5)))[:, :4])))
    scores, positives = np.concatenate(scores), sum(map(len, truth.values()))
    return [average_precision(row, scores, positives) for row in np.concatenate(correct, axis=1)]


def _match(overlaps: np.ndarray) -> np.ndarray:
    """Which detections (rows of `overlaps`, best first) find one of the objects (columns): bool thresholds x N.

    Each takes the object that it overlaps most among those that are still free. All thresholds at once.
    """
    correct, free = (np.zeros((len(IOU_THRESHOLDS), n), bool) for n in overlaps.shape)
    free[:] = True
    for detection in np.flatnonzero((overlaps >= IOU_THRESHOLDS[0]).any(axis=1)):
        overlap = np.where(free & (overlaps[detection] >= IOU_THRESHOLDS[:, None]), overlaps[detection], -1.0)
        choice = overlap.shape[1] - 1 - overlap[:, ::-1].argmax(axis=1)  # of equal overlaps the last, as pycocotools
        hit = np.flatnonzero(overlap[np.arange(len(overlap)), choice] > 0)
        correct[hit, detection], free[hit, choice[hit]] = True, False
    return correct


def _by_class_and_image(entries: list[dict], what: str, scored: bool) -> dict:
    """{class: {image: float64 N x 5}}: box and score (1 where there is none), in the order of `entries`."""
    if isinstance(entries, dict):
        raise ValueError(f"a list with one dict per {what} is needed; a COCO file has it under \"annotations\"")
    groups, values = defaultdict(lambda: defaultdict(list)), np.ones((len(entries), 5))
    for i, entry in enumerate(entries):
        if entry.get("iscrowd"):
            raise ValueError(f"{what} {i} is a crowd (iscrowd), which coco_map does not handle; use pycocotools")
        try:
            x, y, width, height = entry["bbox"]
            values[i] = x, y, width, height, entry["score"] if scored else 1
            groups[entry["category_id"]][entry["image_id"]].append(i)
        except (KeyError, TypeError, ValueError) as error:
            needed = "image_id, category_id, bbox of four numbers" + ", score" * scored
            raise ValueError(f"{what} {i} needs {needed}, but is {entry}") from error
    wrong = np.flatnonzero(~np.isfinite(values).all(axis=1) | (values[:, 2:4] < 0).any(axis=1))
    if len(wrong):
        raise ValueError(f"{what} {wrong[0]} has a negative size or no finite number: {entries[wrong[0]]}")
    return {name: {image: values[rows] for image, rows in images.items()} for name, images in groups.items()}


def count_parameters(model) -> int:
    """How many numbers training adjusts in a torch module; a tensor that two layers share counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model, input_shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of the Conv2d and Linear layers of a torch module for one input, batch first.

    One MAC is two floating-point operations. Biases, activations, pooling and batch norm (which converters
    fold away) are not counted; neither is what a forward method calls as a function. ValueError for a layer
    that multiplies and is not known here, since the sum would be too low.
    """
    from torch import inference_mode, nn, zeros

    model, macs = copy.deepcopy(model).eval(), 0  # a copy: no hook and no changed running mean stays behind

    def count(layer, inputs, output) -> None:
        nonlocal macs
        macs += output.numel() * layer.weight[0].numel()  # a row of weights makes one output number, grouped or not

    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(count)
        elif isinstance(layer, (nn.modules.conv._ConvNd, nn.RNNBase, nn.MultiheadAttention, nn.Bilinear)):
            raise ValueError(f"count_macs knows Conv2d and Linear; this model also has {type(layer).__name__}")
    example = next(model.parameters(), zeros(1))
    with inference_mode():
        model(zeros(input_shape, dtype=example.dtype, device=example.device))
    return macs


def _class_numbers(labels, predictions) -> tuple[np.ndarray, np.ndarray]:
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.ndim != 1 or predictions.ndim != 1 or len(labels) != len(predictions):
        raise ValueError(f"labels {labels.shape} and predictions {predictions.shape} need one class number per image; "
                         "of logits take argmax(axis=1)")
    if len(labels) == 0:
        raise ValueError("there are no images to count")
    if not all(np.issubdtype(values.dtype, np.integer) for values in (labels, predictions)):
        raise ValueError(f"class numbers are integers, not {labels.dtype} and {predictions.dtype}")
    return labels.astype(np.int64), predictions.astype(np.int64)


def _same_shape(a, b) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.size == 0:
        raise ValueError(f"two arrays of one shape are compared, not {a.shape} and {b.shape}")
    return a, b


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """numerator / denominator, and 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros(np.shape(denominator)), where=denominator != 0)
