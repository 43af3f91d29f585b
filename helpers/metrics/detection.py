"""How good a detector is: overlap of boxes, precision and recall, and COCO's mean average precision."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from helpers.metrics._checks import ratio

IOU_THRESHOLDS = np.linspace(
    0.5, 0.95, 10
)  # COCO averages over these; AP50 is the first, AP75 the sixth
RECALL_POINTS = np.linspace(0, 1, 101)
MAX_DETECTIONS = 100  # COCO evaluates the best hundred of an image and class


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of every box of `a` (N x 4) with every box of `b` (M x 4): float64 N x M.

    A box is x, y, width, height with x, y its upper left corner, as COCO writes it. Boxes that only touch,
    or have no area, get 0. ValueError for a negative size and for numbers that are not finite.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != 4 or b.shape[1] != 4:
        raise ValueError(f"boxes are N x 4 (x, y, width, height), not {a.shape} and {b.shape}")
    for boxes in (a, b):
        if len(wrong := np.flatnonzero(_is_no_box(boxes))):
            raise ValueError(
                f"box {wrong[0]} has a negative size or no finite number: {boxes[wrong[0]].tolist()}"
            )
    return _overlaps(a, b)


def _is_no_box(boxes: np.ndarray) -> np.ndarray:
    """Which rows of `boxes`, N x 4 or more, are not finite or have a negative size."""
    return ~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:4] < 0).any(axis=1)


def _overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a[:, None], b[None]
    width = np.minimum(a[..., 0] + a[..., 2], b[..., 0] + b[..., 2]) - np.maximum(
        a[..., 0], b[..., 0]
    )
    height = np.minimum(a[..., 1] + a[..., 3], b[..., 1] + b[..., 3]) - np.maximum(
        a[..., 1], b[..., 1]
    )
    intersection = np.maximum(width, 0) * np.maximum(height, 0)
    return ratio(intersection, a[..., 2] * a[..., 3] + b[..., 2] * b[..., 3] - intersection)


def precision_recall_curve(
    correct: Sequence[bool], scores: Sequence[float], positives: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and score where this detection and better ones are kept: a point each, best first.

    `correct` says of each detection whether it found an object, `positives` is how many objects there are.
    Equal scores keep their order and a point each, as in COCO's evaluation.
    """
    correct, scores = np.asarray(correct, bool), np.asarray(scores, np.float64)
    if correct.ndim != 1 or correct.shape != scores.shape:
        raise ValueError(
            f"correct {correct.shape} and scores {scores.shape} need one entry per detection"
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


def average_precision(correct: Sequence[bool], scores: Sequence[float], positives: int) -> float:
    """COCO's average precision: the mean over 101 recalls of the best precision at that recall or beyond it."""
    precision, recall, _ = precision_recall_curve(correct, scores, positives)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(recall, RECALL_POINTS)  # the first point with at least that recall
    return float(
        np.append(best_from_here, 0.0)[reached].mean()
    )  # a recall that is never reached counts 0


def coco_map(ground_truth: list[dict], detections: list[dict]) -> dict[str, float]:
    """Mean average precision over classes: "AP" (IoU 0.50 to 0.95), "AP50" and "AP75", as pycocotools has them.

    Both are lists as in COCO's files: dicts with image_id, category_id, bbox [x, y, width, height], detections
    also with score. A class without ground truth is left out; with no ground truth at all every figure is -1.
    Crowd boxes (iscrowd) are refused, size ranges are not computed. Ids are whole numbers or texts;
    ValueError if they are texts in one list and numbers in the other, which would match nothing.
    """
    truth = _by_class_and_image(ground_truth, "ground truth box", scored=False)
    found = _by_class_and_image(detections, "detection", scored=True)
    _check_same_kind_of_ids(truth, found)
    if not truth:
        return {"AP": -1.0, "AP50": -1.0, "AP75": -1.0}
    ap = np.mean(
        [_class_average_precisions(boxes, found.get(name, {})) for name, boxes in truth.items()],
        axis=0,
    )
    return {"AP": float(ap.mean()), "AP50": float(ap[0]), "AP75": float(ap[5])}


def _class_average_precisions(truth: dict, found: dict) -> list[float]:
    """The average precision of one class at each IoU threshold; both are {image: N x 5, box and score}."""
    scores, correct = [np.empty(0)], [np.empty((len(IOU_THRESHOLDS), 0), bool)]
    for image in sorted(
        found
    ):  # the order decides between equal scores: pycocotools goes by image number
        best = found[image][np.argsort(-found[image][:, 4], kind="stable")[:MAX_DETECTIONS]]
        scores.append(best[:, 4])
        correct.append(_match(_overlaps(best[:, :4], truth.get(image, np.empty((0, 5)))[:, :4])))
    scores, positives = np.concatenate(scores), sum(map(len, truth.values()))
    return [average_precision(row, scores, positives) for row in np.concatenate(correct, axis=1)]


def _match(overlaps: np.ndarray) -> np.ndarray:
    """Which detections (rows of `overlaps`, best first) find one of the objects (columns): bool thresholds x N.

    Each takes the object that it overlaps most among those that are still free. All thresholds at once.
    """
    correct, free = (np.zeros((len(IOU_THRESHOLDS), n), bool) for n in overlaps.shape)
    free[:] = True
    for detection in np.flatnonzero((overlaps >= IOU_THRESHOLDS[0]).any(axis=1)):
        overlap = np.where(
            free & (overlaps[detection] >= IOU_THRESHOLDS[:, None]), overlaps[detection], -1.0
        )
        choice = (
            overlap.shape[1] - 1 - overlap[:, ::-1].argmax(axis=1)
        )  # of equal overlaps the last, as pycocotools
        hit = np.flatnonzero(overlap[np.arange(len(overlap)), choice] > 0)
        correct[hit, detection], free[hit, choice[hit]] = True, False
    return correct


def _by_class_and_image(entries: list[dict], what: str, scored: bool) -> dict:
    """{class: {image: float64 N x 5}}: box and score (1 where there is none), in the order of `entries`."""
    if isinstance(entries, dict):
        raise ValueError(
            f'a list with one dict per {what} is needed; a COCO file has it under "annotations"'
        )
    groups, values = defaultdict(lambda: defaultdict(list)), np.ones((len(entries), 5))
    for i, entry in enumerate(entries):
        if entry.get("iscrowd"):
            raise ValueError(
                f"{what} {i} is a crowd (iscrowd), which coco_map does not handle; use pycocotools"
            )
        try:
            x, y, width, height = entry["bbox"]
            values[i] = x, y, width, height, entry["score"] if scored else 1
            category, image = (_plain_id(entry, name) for name in ("category_id", "image_id"))
            groups[category][image].append(i)
        except (KeyError, TypeError, ValueError) as error:
            needed = (
                "image_id and category_id (numbers or texts), bbox of four numbers"
                + ", score" * scored
            )
            raise ValueError(f"{what} {i} needs {needed}, but is {entry}") from error
    if len(wrong := np.flatnonzero(_is_no_box(values))):
        raise ValueError(
            f"{what} {wrong[0]} has a negative size or no finite number: {entries[wrong[0]]}"
        )
    return {
        name: {image: values[rows] for image, rows in images.items()}
        for name, images in groups.items()
    }


def _plain_id(entry: dict, name: str) -> int | str:
    """entry[name] as a whole number or a text. TypeError for anything else, such as a tensor."""
    value = entry[name]
    if isinstance(value, str):
        return value
    is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    # tables with gaps, and some JSON writers, make 42.0 of 42
    if is_whole or (isinstance(value, (float, np.floating)) and value.is_integer()):
        return int(value)
    raise TypeError(f"{name} is a {type(value).__name__}")


def _check_same_kind_of_ids(truth: dict, found: dict) -> None:
    for name, ids in (
        ("category_id", set),
        ("image_id", lambda groups: set().union(*groups.values())),
    ):
        kinds = [{type(value).__name__ for value in ids(groups)} for groups in (truth, found)]
        if len(kinds[0] | kinds[1]) > 1:
            theirs, ours = (" and ".join(sorted(kind)) or "none" for kind in kinds)
            raise ValueError(
                f"{name} is {theirs} in the ground truth and {ours} in the detections: "
                "convert one of them, or no detection matches"
            )
