"""Checks of the arguments of the metrics."""

import numpy as np


def class_numbers(labels, predictions) -> tuple[np.ndarray, np.ndarray]:
    labels = np.asarray(labels)
    predictions = np.asarray(predictions)
    if labels.ndim != 1 or predictions.ndim != 1 or len(labels) != len(predictions):
        raise ValueError(
            f"labels {labels.shape} and predictions {predictions.shape} must be one class number "
            "per image; for logits, use argmax(axis=1)"
        )
    if len(labels) == 0:
        raise ValueError("labels and predictions are empty")
    if not all(np.issubdtype(values.dtype, np.integer) for values in (labels, predictions)):
        raise ValueError(
            f"class numbers must be integers, not {labels.dtype} and {predictions.dtype}"
        )
    return labels.astype(np.int64), predictions.astype(np.int64)


def same_shape(a, b) -> tuple[np.ndarray, np.ndarray]:
    a = np.asarray(a, np.float64)
    b = np.asarray(b, np.float64)
    if a.shape != b.shape or a.size == 0:
        raise ValueError(
            f"the arrays must have the same shape and not be empty: {a.shape}, {b.shape}"
        )
    return a, b


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """numerator / denominator, or 0 if the denominator is 0."""
    zeros = np.zeros(np.shape(denominator))
    return np.divide(numerator, denominator, out=zeros, where=denominator != 0)
