"""Accuracy, comparison of two models, detection, parameters and MACs.

Tests compare each metric with a reference library: scikit-learn and scipy for classification,
pycocotools for detection. Only numpy is needed; torch for counting MACs.

classification    accuracy with its interval, precision, recall, the confusion matrix
comparison        two models on the same images: McNemar's test, the largest difference
detection         IoU, precision and recall, mAP by COCO's rules
complexity        parameters and MACs
"""

from helpers.metrics.classification import (
    Accuracy,
    ClassScores,
    accuracy,
    confusion_matrix,
    precision_recall_f1,
    wilson_interval,
)
from helpers.metrics.comparison import (
    Paired,
    count_disagreements,
    largest_difference,
    mcnemar,
)
from helpers.metrics.complexity import count_macs, count_parameters
from helpers.metrics.detection import (
    IOU_THRESHOLDS,
    MAX_DETECTIONS,
    RECALL_POINTS,
    average_precision,
    box_iou,
    coco_map,
    precision_recall_curve,
)

__all__ = [
    "IOU_THRESHOLDS",
    "MAX_DETECTIONS",
    "RECALL_POINTS",
    "Accuracy",
    "ClassScores",
    "Paired",
    "accuracy",
    "average_precision",
    "box_iou",
    "coco_map",
    "confusion_matrix",
    "count_disagreements",
    "count_macs",
    "count_parameters",
    "largest_difference",
    "mcnemar",
    "precision_recall_curve",
    "precision_recall_f1",
    "wilson_interval",
]
