"""What the cells of the digit detector should say, and what it costs if they say something else.

The three losses are those of current one-stage detectors, without any option.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.data import SCENE_SIZE, Scene
from helpers.vision.digit_head import STRIDE, as_input

GRID = SCENE_SIZE // STRIDE  # 12 x 12 cells
GROUND = -1  # the class of a cell without a digit


def targets(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """What the cells should say: `classes`, int64 12 x 12, and `boxes`, float32 4 x 12 x 12.

    A digit claims the cell of its centre and the eight around it, as far as their own centres are
    inside its box ("centre sampling" in FCOS). A cell that two digits claim gets the smaller one.
    All other cells have the class GROUND and a box of zeros.
    """
    classes = np.full((GRID, GRID), GROUND)
    boxes = np.zeros((4, GRID, GRID), np.float32)
    areas = (scene.boxes[:, 2:] - scene.boxes[:, :2]).prod(axis=1)
    for i in np.argsort(-areas, kind="stable"):  # the smallest last: it overwrites
        x1, y1, x2, y2 = scene.boxes[i]
        rows = claimed(y1, y2)
        columns = claimed(x1, x2)
        classes[rows, columns] = scene.classes[i]
        boxes[:, rows, columns] = scene.boxes[i][:, None, None]  # 4 -> 4 x 1 x 1: all cells alike
    return classes, boxes


def claimed(start: float, end: float) -> slice:
    """The cells along one axis that a digit from `start` to `end`, in pixels, claims."""
    middle = int((start + end) / 2 / STRIDE)
    first = middle - int((middle - 0.5) * STRIDE > start)  # the centre of the cell before
    last = middle + int((middle + 1.5) * STRIDE < end)  # the centre of the cell after
    return slice(first, last + 1)


def predicted_boxes(raw: Tensor) -> Tensor:
    """The boxes, N x 4 x 12 x 12 in pixels (x1, y1, x2, y2), of the network's outputs.

    The formula of digit_head.decode, with gradients.
    """
    rows, columns = torch.meshgrid(
        torch.arange(raw.shape[2]), torch.arange(raw.shape[3]), indexing="ij"
    )
    home = torch.stack([columns, rows]) + 0.5  # the centre of each cell, x and y: 2 x 12 x 12
    centre = (home + raw[:, 1:3]) * STRIDE
    half = raw[:, 3:5].exp() * STRIDE / 2
    return torch.cat([centre - half, centre + half], 1)


def iou_and_giou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalized IoU of the boxes `a` and `b`, both K x 4: two tensors of K numbers.

    GIoU = IoU - (hull - union) / hull, with the smallest box around both as the hull. It falls
    with the distance of two boxes that do not touch, where the IoU is 0 and has no slope.
    Rezatofighi et al., 2019: https://arxiv.org/abs/1902.09630
    """
    shared = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0)
    around = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])
    intersection = shared.prod(1)  # width times height: K x 2 -> K
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - intersection
    hull = around.prod(1)
    iou = intersection / union
    return iou, iou - (hull - union) / hull


def objectness_loss(logits: Tensor, quality: Tensor) -> Tensor:
    """Quality focal loss, summed: -|q - p|**2 (q log p + (1 - q) log(1 - p)) with p = sigmoid(z).

    The target q is not 1 for a digit, but the IoU of the box that the cell predicts. So the score
    of a detection says how good its box is, and NMS keeps the best one. The first factor makes the
    many easy cells of the ground count little. Li et al., 2020: https://arxiv.org/abs/2006.04388
    """
    entropy = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    return ((quality - logits.sigmoid()) ** 2 * entropy).sum()


def losses(raw: Tensor, classes: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The losses of objectness, boxes and digits, each divided by the number of digits' cells.

    `raw` is N x 15 x 12 x 12, `classes` N x 12 x 12 and `boxes` N x 4 x 12 x 12, from `targets`.
    Boxes and digits are compared in the cells of digits only.
    """
    is_digit = classes != GROUND  # N x 12 x 12
    count = is_digit.sum().clamp(min=1)
    found = predicted_boxes(raw).movedim(1, 3)[is_digit]  # N x 12 x 12 x 4 -> K x 4
    true = boxes.movedim(1, 3)[is_digit]
    iou, giou = iou_and_giou(found, true)

    quality = torch.zeros_like(raw[:, 0])
    quality[is_digit] = iou.detach()  # a target, not a way to make boxes worse
    logits = raw[:, 5:].movedim(1, 3)[is_digit]  # K x 10
    return (
        objectness_loss(raw[:, 0], quality) / count,
        (1 - giou).sum() / count,
        F.cross_entropy(logits, classes[is_digit], reduction="sum") / count,
    )


def batch_of(chosen: list[Scene]) -> tuple[Tensor, Tensor, Tensor]:
    """The network's input and the targets of `chosen` scenes: images, classes, boxes."""
    images = np.stack([scene.image for scene in chosen])
    classes, boxes = zip(*map(targets, chosen))
    return (
        torch.from_numpy(as_input(images)),  # N x 1 x 96 x 96
        torch.from_numpy(np.stack(classes)),  # N x 12 x 12
        torch.from_numpy(np.stack(boxes)),  # N x 4 x 12 x 12
    )
