"""A detector of handwritten digits: the network, its training, what it finds and how well.

It divides the image into cells of 8 x 8 pixels. Each cell says whether a digit is centred near it,
which one it is, and where its box ends. There are no anchor boxes and no second stage. The idea is
that of FCOS (Tian et al., 2019, https://arxiv.org/abs/1904.01355) and YOLOX (Ge et al., 2021,
https://arxiv.org/abs/2107.08430).

What a cell should say and the losses are in helpers.digit_targets, what its numbers mean, for every
runtime, in helpers.vision.digit_head.
"""

import copy
import time
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from helpers.data import Scene, mnist, scenes
from helpers.digit_targets import batch_of, losses
from helpers.intervals import Interval
from helpers.metrics import bootstrap_map
from helpers.models import conv_bn_relu
from helpers.training import Recipe, loaded_or_trained, one_cycle, reorder, threads, update_ema
from helpers.vision import Detections, class_wise_nms, xyxy_to_xywh
from helpers.vision.digit_head import OUTPUTS, as_input, decode

RECIPE = Recipe(epochs=8, peak_lr=6e-3, label_smoothing=0.0, batch=32, ema_decay=0.998)
SCENES_PER_EPOCH = 3000
BOX_WEIGHT = 5.0  # in the sum of the three losses
SEEDS_PER_TRAINING = 1000  # so that trainings with other seeds see other scenes


class DigitDetector(nn.Sequential):
    """Seven convolutions and a 1x1 head: 144,895 parameters.

    The input is float32, N x 1 x 96 x 96, as digit_head.as_input returns it. The output is
    N x 15 x 12 x 12: per cell the logit of the objectness, four numbers for the box, ten logits for
    the digits.
    """

    def __init__(self) -> None:
        head = nn.Conv2d(64, OUTPUTS, 1)
        super().__init__(
            conv_bn_relu(1, 16, 5, stride=2),  # 16 x 48 x 48
            conv_bn_relu(16, 32, 3, stride=2),  # 32 x 24 x 24
            conv_bn_relu(32, 32, 3),
            conv_bn_relu(32, 64, 3, stride=2),  # 64 x 12 x 12: the cells
            conv_bn_relu(64, 64, 3),
            conv_bn_relu(64, 64, 3),
            conv_bn_relu(64, 64, 3),  # sees 73 x 73 pixels about each cell
            head,
        )
        # at the start each cell is sure that it is ground, or the many of them drown the few
        # digits: Lin et al., 2017, https://arxiv.org/abs/1708.02002, section 4.1
        with torch.no_grad():
            cast(Tensor, head.bias)[0] = -4
            cast(Tensor, head.bias)[3:5] = 1  # boxes of 22 x 22 pixels, a middle size


@dataclass
class History:
    """The mean of each loss per epoch, and the CPU time of the whole training in seconds.

    `source` names the digits.
    """

    objectness: list[float] = field(default_factory=list)
    box: list[float] = field(default_factory=list)
    digit: list[float] = field(default_factory=list)
    cpu_s: float = 0.0
    source: str = ""

    def add(self, parts: list[tuple[float, float, float]]) -> None:
        """Append an epoch, given the losses of its steps."""
        for values, mean in zip((self.objectness, self.box, self.digit), np.mean(parts, axis=0)):
            values.append(float(mean))

    def __str__(self) -> str:
        return (
            f"epoch {len(self.box):2}: objectness {self.objectness[-1]:.3f}, "
            f"box {self.box[-1]:.3f}, digit {self.digit[-1]:.3f}"
        )


def train(
    model: nn.Module,
    recipe: Recipe = RECIPE,
    scene_count: int = SCENES_PER_EPOCH,
    progress: bool = False,
) -> tuple[nn.Module, History]:
    """Train `model` on `scene_count` new scenes per epoch, on one thread.

    Returns a copy in eval mode, with the average (EMA) of the weights over the steps, and the
    history; `progress` prints it. The same recipe on the same machine gives the same weights.
    """
    with threads(1):
        # channels as the last axis in memory: the convolutions then train a fifth faster
        reorder(model, torch.channels_last)
        steps = scene_count // recipe.batch
        optimizer, schedule = one_cycle(model, recipe, recipe.epochs * steps)
        average = copy.deepcopy(model)
        history = History(source=mnist("train").source)
        start = time.process_time()
        for epoch in range(recipe.epochs):
            model.train()
            made = scenes(steps * recipe.batch, SEEDS_PER_TRAINING * recipe.seed + epoch, "train")
            parts = []
            for i in range(steps):
                images, classes, boxes = batch_of(made[i * recipe.batch : (i + 1) * recipe.batch])
                objectness, box, digit = losses(model(images), classes, boxes)
                optimizer.zero_grad()
                (objectness + BOX_WEIGHT * box + digit).backward()
                optimizer.step()
                schedule.step()
                update_ema(average, model, recipe.ema_decay, epoch * steps + i + 1)
                parts.append((objectness.item(), box.item(), digit.item()))
            history.add(parts)
            if progress:
                print(history, flush=True)
        history.cpu_s = time.process_time() - start
    return reorder(average, torch.contiguous_format).eval(), history


def predict(model: nn.Module, images: np.ndarray) -> np.ndarray:
    """The raw outputs, float32 N x 15 x 12 x 12, for `images`, uint8 N x 96 x 96."""
    with torch.inference_mode():
        inputs = torch.from_numpy(as_input(images))
        return torch.cat([model.eval()(part) for part in inputs.split(10)]).numpy()


def find(
    raw: np.ndarray, confidence: float = 0.01, iou: float = 0.6, class_wise: bool = True
) -> Detections:
    """The digits in the output for one image: decode, drop weak candidates, NMS.

    With `class_wise` a box removes only boxes of the same digit.
    """
    boxes, scores, classes = decode(raw)
    sure = np.flatnonzero(scores >= confidence)
    groups = classes[sure] if class_wise else np.zeros(len(sure))
    kept = sure[class_wise_nms(boxes[sure], scores[sure], groups, iou)]
    return Detections(boxes[kept], scores[kept], classes[kept])


def coco_truth(of: list[Scene]) -> list[dict]:
    """The digits of scenes in COCO's format, for metrics.coco_map; image_id is the position."""
    return [
        {"image_id": i, "category_id": int(digit), "bbox": box}
        for i, scene in enumerate(of)
        for digit, box in zip(scene.classes, xyxy_to_xywh(scene.boxes).tolist())
    ]


def evaluate(raws: np.ndarray, of: list[Scene]) -> dict[str, Interval]:
    """AP, AP50 and AP75 of the outputs for scenes, each with its 95 % interval."""
    found = [entry for i, raw in enumerate(raws) for entry in find(raw).as_coco(i)]
    return bootstrap_map(coco_truth(of), found, range(len(of)))


def trained() -> nn.Module:
    """The trained detector in eval mode: from build/models/digit_detector.pt, or trained now.

    The caller's random state does not change.
    """

    def train_now(model: nn.Module) -> tuple[nn.Module, History]:
        print(f"Training the digit detector for {RECIPE.epochs} epochs, a minute or two.")
        return train(model, RECIPE, SCENES_PER_EPOCH)

    return loaded_or_trained("digit_detector", DigitDetector, RECIPE.seed, train_now)
