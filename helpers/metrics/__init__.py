"""Accuracy, comparison of two models, detection, parameters and MACs.

Tests compare each metric with a reference library: scikit-learn and scipy for classification,
pycocotools for detection. Only numpy is needed; torch for counting MACs.

classification    accuracy with its interval, precision, recall, the confusion matrix
comparison        two models on the same images: McNemar's test, the largest difference
overlap           IoU of boxes
detection         precision and recall of a detector, three definitions of average precision
matching          which detections find which objects, by COCO's rules
mean_precision    mAP by COCO's rules: all classes, each class, the interval over images
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
from helpers.metrics.detection import RECALL_POINTS, average_precision, precision_recall_curve
from helpers.metrics.matching import IOU_THRESHOLDS, MAX_DETECTIONS, SIZE_RANGES
from helpers.metrics.mean_precision import bootstrap_map, class_map, coco_map
from helpers.metrics.overlap import box_iou

__all__ = [
    "IOU_THRESHOLDS",
    "MAX_DETECTIONS",
    "RECALL_POINTS",
    "SIZE_RANGES",
    "Accuracy",
    "ClassScores",
    "Paired",
    "accuracy",
    "average_precision",
    "bootstrap_map",
    "box_iou",
    "class_map",
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
