"""The digit detector: targets and losses by hand, decoding, reproducible training, six files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shared_networks
import torch
from claims import check
from forms import FROM_PYTORCH
from torch import nn

from helpers import convert, digit_targets
from helpers import digit_detector as detector
from helpers.data import SCENE_SIZE, Scene, scenes
from helpers.metrics import box_iou, count_parameters
from helpers.runtimes import open_model
from helpers.training import Recipe
from helpers.vision import open_detector
from helpers.vision.digit_head import OUTPUTS, as_input, decode

GRID = digit_targets.GRID


def scene(*found: tuple) -> Scene:
    """A black scene with boxes and digits: (digit, x1, y1, x2, y2)."""
    rows = np.array(found, np.float32).reshape(-1, 5)
    size = (SCENE_SIZE, SCENE_SIZE)
    masks = np.zeros((len(rows), *size), bool)
    return Scene(np.zeros(size, np.uint8), rows[:, 1:], rows[:, 0].astype(np.int64), masks)


def perfect_output(of: Scene) -> np.ndarray:
    """The output, 15 x 12 x 12, of a network that is sure and right about `of`."""
    classes, boxes = digit_targets.targets(of)
    raw = np.full((OUTPUTS, GRID, GRID), -20, np.float32)
    raw[1:5] = 0
    for row, column in np.argwhere(classes != digit_targets.GROUND):
        x1, y1, x2, y2 = boxes[:, row, column]
        raw[0, row, column] = 20
        raw[1, row, column] = (x1 + x2) / 2 / 8 - (column + 0.5)
        raw[2, row, column] = (y1 + y2) / 2 / 8 - (row + 0.5)
        raw[3, row, column] = np.log((x2 - x1) / 8)
        raw[4, row, column] = np.log((y2 - y1) / 8)
        raw[5 + classes[row, column], row, column] = 20
    return raw


def batch_of_one(of: Scene) -> tuple[torch.Tensor, torch.Tensor]:
    _, classes, boxes = digit_targets.batch_of([of])
    return classes, boxes


# what the cells should say


def cells_of(classes: np.ndarray) -> list[tuple[int, int]]:
    """Row and column of the cells that have a digit."""
    return [(int(row), int(column)) for row, column in np.argwhere(classes != digit_targets.GROUND)]


def test_a_digit_claims_the_cells_about_its_centre():
    classes, boxes = digit_targets.targets(scene((7, 40, 30, 60, 70)))  # its centre is (50, 50)
    is_digit = classes != digit_targets.GROUND
    assert cells_of(classes) == [(r, c) for r in (5, 6, 7) for c in (5, 6)]  # 60 is before 60.5
    assert set(classes[is_digit]) == {7}
    assert (boxes[:, is_digit] == np.array([[40], [30], [60], [70]])).all()
    assert not boxes[:, ~is_digit].any()


@pytest.mark.parametrize(
    ("box", "cells"),
    [
        ((36, 36, 68, 68), [(r, c) for r in (5, 6, 7) for c in (5, 6, 7)]),  # centre (52, 52)
        ((50, 43, 54, 61), [(5, 6), (6, 6), (7, 6)]),  # narrow: centres are at 44, 52, 60
        ((50, 49, 54, 55), [(6, 6)]),  # smaller than a cell
        ((0, 0, 10, 14), [(0, 0), (1, 0)]),  # in a corner
        ((76, 76, 96, 96), [(10, 10), (10, 11), (11, 10), (11, 11)]),
    ],
)
def test_cells_outside_a_digit_are_not_claimed(box, cells):
    classes, _ = digit_targets.targets(scene((1, *box)))
    assert cells_of(classes) == cells


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_cells_that_two_digits_claim_go_to_the_smaller(order):
    digits = [(1, 20, 20, 60, 64), (2, 35, 30, 61, 54)]  # centres (40, 42) and (48, 42)
    classes, _ = digit_targets.targets(scene(*(digits[i] for i in order)))
    assert (classes[4:7, 5:7] == 2).all() and (classes[4:7, 7] == 2).all()
    assert (classes[4:7, 4] == 1).all()
    assert (classes == 2).sum() == 9


def test_decoding_gives_back_what_the_targets_were_made_of():
    for made in scenes(20, seed=5, split="train"):
        classes, _ = digit_targets.targets(made)
        boxes, scores, found = decode(perfect_output(made))
        sure = scores > 0.5
        assert np.array_equal(sure, (classes != digit_targets.GROUND).ravel())
        overlaps = box_iou(boxes[sure], made.boxes)
        assert (overlaps.max(axis=1) > 0.9999).all()
        assert np.array_equal(found[sure], made.classes[overlaps.argmax(axis=1)])


def test_torch_and_numpy_decode_alike():
    raw = np.random.default_rng(0).normal(size=(3, OUTPUTS, GRID, GRID)).astype(np.float32)
    by_torch = digit_targets.predicted_boxes(torch.from_numpy(raw)).numpy()
    for theirs, output in zip(by_torch, raw):
        ours, scores, classes = decode(output)
        assert np.abs(ours.T.reshape(4, GRID, GRID) - theirs).max() < 1e-3
        logits = torch.from_numpy(output[5:])
        expected = torch.from_numpy(output[0]).sigmoid() * logits.softmax(0).amax(0)
        assert np.abs(scores - expected.numpy().ravel()).max() < 1e-6
        assert np.array_equal(classes, output[5:].reshape(10, -1).argmax(axis=0))


def test_decode_takes_any_grid_and_numbers_of_any_size():
    raw = np.zeros((OUTPUTS, 2, 3), np.float32)
    raw[0, 1, 2] = 1000
    raw[0, 0, 0] = -1000
    raw[3:5, 1, 2] = 1000
    raw[5:, 1, 2] = np.arange(10) * 100
    boxes, scores, classes = decode(raw)
    assert boxes.shape == (6, 4) and boxes.dtype == np.float32 and np.isfinite(boxes).all()
    assert (scores[0], scores[5], classes[5]) == (0, 1, 9)
    assert scores.dtype == np.float32 and classes.dtype == np.int64


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (np.zeros((1, 15, 12, 12)), r"one image, 15 x rows x columns, not \(1, 15, 12, 12\)"),
        (np.zeros((85, 12, 12)), r"not \(85, 12, 12\)"),
        (np.full((15, 12, 12), np.nan), "not finite"),
    ],
)
def test_what_is_no_output_of_the_detector(raw, message):
    with pytest.raises(ValueError, match=message):
        decode(raw)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((96, 96), np.uint8), r"N x height x width, not uint8 \(96, 96\)"),
        (np.zeros((1, 96, 96, 3), np.uint8), "grey uint8 images"),
        (np.zeros((1, 96, 96)), "not float64"),
        (np.zeros((1, 100, 96), np.uint8), "multiples of 8, not 100 x 96"),
    ],
)
def test_what_the_detector_does_not_take(images, message):
    with pytest.raises(ValueError, match=message):
        as_input(images)


def test_the_input_is_from_0_to_1():
    images = np.array([0, 51, 255], np.uint8).repeat(64).reshape(3, 8, 8)
    inputs = as_input(images)
    assert inputs.shape == (3, 1, 8, 8) and inputs.dtype == np.float32
    assert inputs[:, 0, 0, 0].tolist() == pytest.approx([0, 0.2, 1])


# losses


@pytest.mark.parametrize(
    ("a", "b", "iou", "giou"),
    [
        ((0, 0, 2, 2), (0, 0, 2, 2), 1, 1),
        ((0, 0, 2, 2), (1, 0, 3, 2), 2 / 6, 2 / 6),  # the hull is the union
        ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7, 1 / 7 - 2 / 9),
        ((0, 0, 1, 1), (3, 0, 4, 1), 0, -2 / 4),
        ((0, 0, 1, 1), (8, 0, 9, 1), 0, -7 / 9),  # further away, with a lower value
    ],
)
def test_iou_and_giou_by_hand(a, b, iou, giou):
    found = digit_targets.iou_and_giou(torch.tensor([a]).float(), torch.tensor([b]).float())
    assert [part.item() for part in found] == pytest.approx([iou, giou])


@pytest.mark.parametrize(
    ("logit", "quality", "expected"),
    [
        (0, 1, 0.25 * np.log(2)),  # p = 1/2: (1/2)**2 * -log(1/2)
        (0, 0, 0.25 * np.log(2)),
        (0, 0.5, 0),  # right, so the first factor is 0
        (np.log(3), 0, (3 / 4) ** 2 * np.log(4)),  # p = 3/4 on the ground
        (np.log(3), 0.75, 0),
    ],
)
def test_objectness_loss_by_hand(logit, quality, expected):
    found = digit_targets.objectness_loss(
        torch.tensor([logit]).float(), torch.tensor([quality]).float()
    )
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_losses_of_an_output_of_zeros_by_hand():
    """Each cell predicts a box of its own size, p = 1/2, and each digit with 1/10."""
    classes, boxes = batch_of_one(scene((3, 38, 40, 58, 56)))  # the centre is (48, 48): cell (6, 6)
    assert cells_of(classes.numpy()[0]) == [(5, 5), (5, 6), (6, 5), (6, 6)]
    objectness, box, digit = digit_targets.losses(torch.zeros(1, 15, 12, 12), classes, boxes)
    quality = 64 / (20 * 16)  # all four cells are inside the box: IoU = GIoU
    assert box.item() == pytest.approx(1 - quality)
    assert digit.item() == pytest.approx(np.log(10))
    entropy = np.log(2)  # whatever the target
    expected = (4 * (quality - 0.5) ** 2 + 140 * 0.5**2) * entropy / 4
    assert objectness.item() == pytest.approx(expected)


def test_losses_of_a_perfect_output_are_zero():
    [made] = scenes(1, seed=3, split="train")
    raw = torch.from_numpy(perfect_output(made)[None])
    for loss in digit_targets.losses(raw, *batch_of_one(made)):
        assert 0 <= loss.item() < 1e-4


def test_a_scene_without_digits_has_losses_too():
    raw = torch.zeros(1, 15, 12, 12, requires_grad=True)
    parts = digit_targets.losses(raw, *batch_of_one(scene()))
    sum(parts).backward()
    assert parts[0] > 0 and parts[1] == parts[2] == 0
    assert raw.grad.isfinite().all()


def test_the_quality_is_a_target_and_not_trained():
    """The objectness loss must not move boxes: a worse box would be an easier target."""
    raw = torch.zeros(1, 15, 12, 12, requires_grad=True)
    objectness, _, _ = digit_targets.losses(raw, *batch_of_one(scene((3, 30, 30, 60, 70))))
    objectness.backward()
    assert raw.grad[:, 0].abs().sum() > 0 and not raw.grad[:, 1:].any()


# training

SHORT = Recipe(epochs=2, peak_lr=4e-3, label_smoothing=0.0, batch=16)


def short_training(seed: int = 0) -> tuple[nn.Module, detector.History]:
    torch.manual_seed(seed)
    return detector.train(detector.DigitDetector(), SHORT, scene_count=160)


def test_the_network_is_that_of_the_book():
    network = detector.DigitDetector()
    assert count_parameters(network) == 144_895
    images = np.zeros((2, 96, 96), np.uint8)
    assert detector.predict(network, images).shape == (2, 15, 12, 12)


def test_two_epochs_lower_the_losses_and_the_same_seed_gives_the_same_weights():
    network, history = short_training()
    again, _ = short_training()
    other, _ = short_training(seed=1)
    # the target of the objectness rises while the boxes get better, so that loss may rise at first
    assert history.box[1] < history.box[0]
    assert len(history.digit) == 2 and history.cpu_s > 0 and "MNIST" in history.source
    weights = network.state_dict()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in weights.items())
    assert not all(torch.equal(value, other.state_dict()[name]) for name, value in weights.items())
    assert not network.training


def test_training_leaves_threads_and_random_numbers_alone():
    before = torch.get_num_threads()
    network = detector.DigitDetector()
    torch.set_num_threads(2)
    state = torch.random.get_rng_state()
    recipe = Recipe(epochs=1, peak_lr=1e-3, label_smoothing=0.0, batch=4)
    detector.train(network, recipe, scene_count=8)
    assert torch.get_num_threads() == 2 and torch.equal(torch.random.get_rng_state(), state)
    torch.set_num_threads(before)


def test_the_detector_is_trained_once_and_loaded_afterwards(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path))
    monkeypatch.setattr(detector, "RECIPE", SHORT)
    monkeypatch.setattr(detector, "SCENES_PER_EPOCH", 64)
    network = detector.trained()
    assert "digit_detector.pt does not exist yet. Training" in capsys.readouterr().out
    loaded = detector.trained()
    assert capsys.readouterr().out == ""
    weights = network.state_dict()
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in weights.items())
    assert not loaded.training


# what it finds


def test_a_perfect_output_has_a_perfect_ap():
    made = scenes(20, seed=7, split="test")
    scores = detector.evaluate(np.stack(list(map(perfect_output, made))), made)
    for name, score in scores.items():
        assert (score.low, score.value, score.high) == pytest.approx((1, 1, 1)), name


def test_the_same_digit_is_found_once_and_two_digits_at_one_place_class_by_class():
    raw = perfect_output(scene((7, 36, 36, 68, 68)))
    [digit] = detector.find(raw).classes
    assert digit == 7
    raw[5 + 7, 6, :] = -20  # one row of its cells sees a 3 in the same place
    raw[5 + 3, 6, :] = 19
    assert sorted(detector.find(raw).classes) == [3, 7]
    assert len(detector.find(raw, class_wise=False)) == 1


def test_confidence_drops_what_scores_less():
    raw = perfect_output(scene((7, 36, 36, 68, 68)))
    raw[0] = -1  # an objectness of 0.27, in all cells
    assert len(detector.find(raw, confidence=0.3)) == 0
    assert len(detector.find(raw, confidence=0.2)) > 0


def test_scenes_in_cocos_format():
    entries = detector.coco_truth([scene((7, 10, 20, 40, 60)), scene(), scene((1, 0, 0, 5, 9))])
    assert entries == [
        {"image_id": 0, "category_id": 7, "bbox": [10, 20, 30, 40]},
        {"image_id": 2, "category_id": 1, "bbox": [0, 0, 5, 9]},
    ]


@pytest.mark.slow
@pytest.mark.trained
def test_the_full_training_keeps_its_promise():
    recipe = replace(detector.RECIPE, seed=shared_networks.seed() or 0)
    torch.manual_seed(recipe.seed)
    network, _ = detector.train(detector.DigitDetector(), recipe)
    made = scenes(500, seed=0, split="test")
    raws = detector.predict(network, np.stack([scene.image for scene in made]))
    scores = detector.evaluate(raws, made)
    check("09: AP of the digit detector", scores["AP"].value)
    check("09: AP50 of the digit detector", scores["AP50"].value)


# in other runtimes


@pytest.fixture(scope="module")
def untrained() -> nn.Module:
    """A detector whose batch normalizations have seen scenes, but which was not trained."""
    torch.manual_seed(0)
    network = detector.DigitDetector().train()
    images, _, _ = digit_targets.batch_of(scenes(32, seed=0, split="train"))
    with torch.no_grad():
        for _ in range(20):
            network(images)
    return network.eval()


@pytest.mark.parametrize("suffix", ["onnx", "mnn"])
def test_open_detector_knows_its_files_and_finds_the_same(untrained, tmp_path, suffix):
    file = open_detector(to_file(suffix, untrained, tmp_path))
    for made in scenes(3, seed=1, split="test"):
        [raw] = detector.predict(untrained, made.image[None])
        expected = detector.find(raw, confidence=0)
        found = file.detect(made.image, confidence=0)
        assert np.array_equal(found.classes[:20], expected.classes[:20])
        assert np.abs(found.scores[:20] - expected.scores[:20]).max() < 1e-4
        inside = expected.boxes[:20].clip(0, SCENE_SIZE)
        assert np.abs(found.boxes[:20] - inside).max() < 0.05


def to_file(form: str, network: nn.Module, folder: Path) -> Path:
    """`network` in the format with that suffix."""
    path = folder / f"digit_detector.{form}"
    if form == "mnn":
        return convert.to_mnn(to_file("onnx", network, folder), path)
    return FROM_PYTORCH[form](network, torch.zeros(1, 1, 96, 96), path)


@pytest.mark.parametrize("form", ["pt2", "onnx", "tflite", "ncnn.param", "pte", "mnn"])
def test_every_runtime_computes_the_same_and_finds_the_same(untrained, tmp_path, form):
    made = scenes(4, seed=0, split="test")
    images = np.stack([scene.image for scene in made])
    expected = detector.predict(untrained, images)
    model = open_model(to_file(form, untrained, tmp_path))
    raws = np.concatenate([model.predict(as_input(image[None])) for image in images])
    assert raws.shape == expected.shape
    assert np.abs(raws - expected).max() < 1e-3
    for ours, theirs in zip(expected, raws):
        assert np.abs(decode(ours)[0] - decode(theirs)[0]).max() < 0.05
