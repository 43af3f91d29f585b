"""Precision and recall of a detector, and their average: three definitions of it."""

import numpy as np
from numpy.typing import ArrayLike

# COCO averages the precision over these
RECALL_POINTS = np.linspace(0, 1, 101)


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


def average_precision(
    correct: ArrayLike, scores: ArrayLike, positives: int, points: int | None = 101
) -> float:
    """The average, over recalls from 0 to 1, of the best precision from each recall on.

    Three definitions are in use. COCO takes 101 recalls, PASCAL VOC until 2009 took 11. With
    `points` None the average is over every recall: the area under the curve, as in PASCAL VOC from
    2010 on. The other arguments are those of precision_recall_curve.

    >>> [round(average_precision([1, 0, 1], [0.9, 0.8, 0.7], 3, n), 3) for n in (101, 11, None)]
    [0.554, 0.545, 0.556]
    """
    precision, recall, _ = precision_recall_curve(correct, scores, positives)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    if points is None:
        return float((best_from_here * np.diff(recall, prepend=0.0)).sum())
    # the first point with at least each recall
    reached = np.searchsorted(recall, np.linspace(0, 1, points))
    padded = np.append(best_from_here, 0.0)  # a recall that is never reached has precision 0
    return float(padded[reached].mean())
