"""Metrics of a detector: overlap of boxes, precision and recall, COCO's mean average precision."""

from collections import defaultdict

import numpy as np
from numpy.typing import ArrayLike

from helpers.metrics._checks import ratio

# COCO averages over these; AP50 is the first, AP75 the sixth
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_POINTS = np.linspace(0, 1, 101)
MAX_DETECTIONS = 100  # COCO evaluates the best hundred of an image and class


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of each box of `a` (N x 4) with each box of `b` (M x 4).

    The result is float64 N x M. A box is x1, y1, x2, y2: its upper left and its lower right corner.
    Boxes that only touch, or have no area, get 0. ValueError for other shapes, for x2 < x1 or
    y2 < y1, and for numbers that are not finite.

    >>> box_iou([[0, 0, 2, 2]], [[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]]).round(3)
    array([[1.   , 0.333, 0.   ]])
    """
    a = np.asarray(a, np.float64)
    b = np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != 4 or b.shape[1] != 4:
        raise ValueError(f"boxes must be N x 4 (x1, y1, x2, y2), not {a.shape} and {b.shape}")
    for boxes in (a, b):
        wrong = np.flatnonzero(_is_no_box(boxes))
        if len(wrong):
            raise ValueError(
                f"box {wrong[0]} has a negative size or a number that is not finite: "
                f"{boxes[wrong[0]].tolist()}"
            )
    return _overlaps(a, b)


def _is_no_box(boxes: np.ndarray) -> np.ndarray:
    """Which rows of `boxes`, N x 4 or more, are not finite or have a negative size."""
    return ~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:4] < boxes[:, :2]).any(axis=1)


def _overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    upper_left = np.maximum(a[:, None, :2], b[None, :, :2])  # N x M x 2
    lower_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    intersection = (lower_right - upper_left).clip(0).prod(axis=2)  # N x M
    area_a = (a[:, 2:] - a[:, :2]).prod(axis=1)
    area_b = (b[:, 2:] - b[:, :2]).prod(axis=1)
    return ratio(intersection, area_a[:, None] + area_b[None] - intersection)


def precision_recall_curve(
    correct: ArrayLike, scores: ArrayLike, positives: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and score: three float64 arrays with a point per detection, best first.

    The point of a detection includes it and all detections with higher scores. `correct` has for
    each detection whether it found an object; `positives` is the number of objects. Detections with
    equal scores keep their order and have a point each, as in COCO's evaluation. ValueError for
    unequal lengths, NaN scores, or more correct detections than objects.
    """
    correct = np.asarray(correct, bool)
    scores = np.asarray(scores, np.float64)
    if correct.ndim != 1 or correct.shape != scores.shape:
        raise ValueError(
            f"correct {correct.shape} and scores {scores.shape} must have one entry per detection"
        )
    if np.isnan(scores).any():
        raise ValueError("some scores are NaN, so the detections have no order")
    if positives < max(1, correct.sum()):
        raise ValueError(
            f"{correct.sum()} correct detections of {positives} objects: recall is not defined"
        )
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(correct[order])
    return found / np.arange(1, len(found) + 1), found / positives, scores[order]


def average_precision(correct: ArrayLike, scores: ArrayLike, positives: int) -> float:
    """COCO's average precision: the mean, over 101 recalls, of the best precision from there on.

    The arguments are those of precision_recall_curve.
    """
    precision, recall, _ = precision_recall_curve(correct, scores, positives)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(recall, RECALL_POINTS)  # the first point with at least that recall
    padded = np.append(best_from_here, 0.0)  # a recall that is never reached has precision 0
    return float(padded[reached].mean())


def coco_map(ground_truth: list[dict], detections: list[dict]) -> dict[str, float]:
    """Mean average precision over classes, as pycocotools computes it.

    The result has "AP" (the mean over IoU 0.50 to 0.95), "AP50" and "AP75". Both arguments are
    lists as in COCO's files: dicts with image_id, category_id and bbox [x, y, width, height];
    detections also have score. A class without ground truth is skipped; without any ground truth
    all values are -1. Size ranges are not computed. Ids are whole numbers or strings. ValueError
    for crowd boxes (iscrowd), and for ids that are strings in one list and numbers in the other,
    because no detection would match.
    """
    truth = _by_class_and_image(ground_truth, "ground truth box", scored=False)
    found = _by_class_and_image(detections, "detection", scored=True)
    _check_same_kind_of_ids(truth, found)
    if not truth:
        return {"AP": -1.0, "AP50": -1.0, "AP75": -1.0}
    precisions = [
        _class_average_precisions(boxes, found.get(name, {})) for name, boxes in truth.items()
    ]
    ap = np.mean(precisions, axis=0)
    return {"AP": float(ap.mean()), "AP50": float(ap[0]), "AP75": float(ap[5])}


def _class_average_precisions(truth: dict, found: dict) -> list[float]:
    """The average precision of one class at each IoU threshold.

    `truth` and `found` are {image: N x 5}: box and score.
    """
    best_scores = [np.empty(0)]
    correct = [np.empty((len(IOU_THRESHOLDS), 0), bool)]
    # the order decides between equal scores: pycocotools goes by image number
    for image in sorted(found):
        order = np.argsort(-found[image][:, 4], kind="stable")
        best = found[image][order[:MAX_DETECTIONS]]
        objects = truth.get(image, np.empty((0, 5)))
        best_scores.append(best[:, 4])
        correct.append(_match(_overlaps(best[:, :4], objects[:, :4])))
    scores = np.concatenate(best_scores)
    positives = sum(map(len, truth.values()))
    return [average_precision(row, scores, positives) for row in np.concatenate(correct, axis=1)]


def _match(overlaps: np.ndarray) -> np.ndarray:
    """Which detections (rows of `overlaps`, best first) find one of the objects (columns).

    Each detection gets the object that it overlaps most, among those that are not taken yet. The
    result is bool, thresholds x N.
    """
    detections, objects = overlaps.shape
    correct = np.zeros((len(IOU_THRESHOLDS), detections), bool)
    free = np.ones((len(IOU_THRESHOLDS), objects), bool)
    for detection in np.flatnonzero((overlaps >= IOU_THRESHOLDS[0]).any(axis=1)):
        is_candidate = free & (overlaps[detection] >= IOU_THRESHOLDS[:, None])
        overlap = np.where(is_candidate, overlaps[detection], -1.0)
        # of equal overlaps the last, as in pycocotools
        choice = objects - 1 - overlap[:, ::-1].argmax(axis=1)
        hit = np.flatnonzero(overlap[np.arange(len(overlap)), choice] > 0)
        correct[hit, detection] = True
        free[hit, choice[hit]] = False
    return correct


def _by_class_and_image(entries: list[dict], what: str, scored: bool) -> dict:
    """{class: {image: float64 N x 5}}: box (x1, y1, x2, y2) and score, in the order of `entries`.

    The score is 1 if `scored` is False.
    """
    if isinstance(entries, dict):
        raise ValueError(
            f'pass a list with one dict per {what}; in a COCO file it is "annotations"'
        )
    groups: dict = defaultdict(lambda: defaultdict(list))
    values = np.ones((len(entries), 5))
    for i, entry in enumerate(entries):
        if entry.get("iscrowd"):
            raise ValueError(
                f"{what} {i} is a crowd (iscrowd), which coco_map does not handle; use pycocotools"
            )
        try:
            x, y, width, height = entry["bbox"]
            score = entry["score"] if scored else 1
            values[i] = x, y, x + width, y + height, score
            category, image = (_plain_id(entry, name) for name in ("category_id", "image_id"))
            groups[category][image].append(i)
        except (KeyError, TypeError, ValueError) as error:
            needed = "image_id and category_id (numbers or strings), bbox of four numbers"
            if scored:
                needed += ", score"
            raise ValueError(f"{what} {i} needs {needed}, but is {entry}") from error
    wrong = np.flatnonzero(_is_no_box(values))
    if len(wrong):
        raise ValueError(
            f"{what} {wrong[0]} has a negative size or a number that is not finite: "
            f"{entries[wrong[0]]}"
        )
    return {
        name: {image: values[rows] for image, rows in images.items()}
        for name, images in groups.items()
    }


def _plain_id(entry: dict, name: str) -> int | str:
    """entry[name] as a whole number or a string. TypeError for other types, such as a tensor."""
    value = entry[name]
    if isinstance(value, str):
        return value
    is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    # tables with gaps, and some JSON writers, turn 42 into 42.0
    if is_whole or (isinstance(value, (float, np.floating)) and value.is_integer()):
        return int(value)
    raise TypeError(f"{name} is a {type(value).__name__}")


def _check_same_kind_of_ids(truth: dict, found: dict) -> None:
    def image_ids(groups: dict) -> set:
        return set().union(*groups.values())

    for name, ids in (("category_id", set), ("image_id", image_ids)):
        kinds = [{type(value).__name__ for value in ids(groups)} for groups in (truth, found)]
        if len(kinds[0] | kinds[1]) > 1:
            theirs, ours = (" and ".join(sorted(kind)) or "none" for kind in kinds)
            raise ValueError(
                f"{name} is {theirs} in the ground truth and {ours} in the detections: "
                "convert one of them, or no detection matches"
            )
