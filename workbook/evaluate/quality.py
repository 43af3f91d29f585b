"""How good the answers of a file are: accuracy, the error of a regression, or a detector's AP."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from helpers import metrics
from modelfiles.errors import WorkbookError


class AnswersError(WorkbookError):
    """The answers of a model do not fit the task."""


@dataclass(frozen=True)
class Quality:
    """The main figure of a task, with its 95 % interval if it has one, and others by name.

    `value` is None if nothing is known about the right answers.
    """

    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    others: dict[str, float]


def of(task: str, answers: np.ndarray, y: Any) -> Quality:
    """The quality of `answers`, N x outputs, for the true answers `y`.

    Classification: accuracy, and macro precision, recall and F1. `answers` are logits or
    probabilities N x classes, or N class numbers. For class numbers of pixels, N x height x width,
    it is the share of correct pixels. Regression: the mean squared error (MSE), and the mean
    absolute percentage error (MAPE, as a fraction), both as scikit-learn defines them. Detection:
    see detection.quality. AnswersError for answers or labels that do not fit.
    """
    if task == "detection":
        from workbook.evaluate import detection

        return detection.quality(answers, y)
    if not np.isfinite(answers).all():
        raise AnswersError("the answers contain NaN or infinity, so they cannot be judged")
    if task == "regression":
        return _regression(answers, y)
    return _classification(answers, y)


def softmax(answers: np.ndarray) -> np.ndarray:
    """Logits as probabilities, over the last axis. The best class stays the best.

    >>> softmax(np.array([[0.0, 0.0], [1000.0, 0.0]]))
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    raised = np.exp(answers - answers.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def compared(task: str, answers: np.ndarray) -> np.ndarray:
    """What --softmax compares: a classifier's probabilities, and all other answers as they are."""
    if task == "classification" and answers.ndim == 2:
        return softmax(answers)
    return answers


def _pixels(answers: np.ndarray, y: np.ndarray) -> Quality:
    """The share of correct pixels, without an interval: neighbours are not independent."""
    if answers.shape != y.shape:
        raise AnswersError(
            f"the model gives class numbers of pixels, {answers.shape}; y_data has {y.shape}"
        )
    return Quality("pixel accuracy", float((answers == y).mean()), None, None, len(y), {})


def _classification(answers: np.ndarray, y: np.ndarray) -> Quality:
    if answers.ndim > 2 and answers.dtype.kind == "i":
        return _pixels(answers, y)
    if answers.ndim == 2 and answers.shape[1] == 1:
        raise AnswersError(
            "the model has one output, so it is no classifier: is it --task regression?"
        )
    if answers.ndim > 2:
        raise AnswersError(f"a classifier's answers are N x classes, not {answers.shape}")
    if y.ndim != 1 or (y != np.round(y)).any() or (y < 0).any():
        raise AnswersError("y_data must be class numbers from 0: is it --task regression?")
    labels = y.astype(np.int64)
    found = answers
    classes = int(max(labels.max(), answers.max())) + 1
    if answers.ndim == 2:
        found = answers.argmax(axis=1)
        classes = answers.shape[1]
        if labels.max() >= classes:
            raise AnswersError(
                f"y_data has the class {labels.max()}; the model knows classes 0 to {classes - 1}"
            )
    accuracy = metrics.accuracy(labels, found.astype(np.int64))
    matrix = metrics.confusion_matrix(labels, found.astype(np.int64), classes)
    seen = np.flatnonzero(matrix.sum(axis=0) + matrix.sum(axis=1))  # as scikit-learn does
    macro = metrics.precision_recall_f1(matrix[np.ix_(seen, seen)]).macro
    return Quality("accuracy", accuracy.value, accuracy.low, accuracy.high, accuracy.n, macro)


def _regression(answers: np.ndarray, y: np.ndarray) -> Quality:
    found = answers.reshape(len(answers), -1).astype(np.float64)
    true = y.reshape(len(y), -1).astype(np.float64)
    if found.shape != true.shape:
        raise AnswersError(
            f"the model returns {found.shape[1]} numbers for an example, y_data has {true.shape[1]}"
        )
    error = found - true
    smallest = np.finfo(np.float64).eps  # scikit-learn's way around a division by zero
    mape = float((np.abs(error) / np.maximum(np.abs(true), smallest)).mean())
    return Quality("MSE", float((error**2).mean()), None, None, len(true), {"MAPE": mape})
