"""Training: reproducible, better than guessing within seconds, with checkpoints safe to load."""

from dataclasses import replace

import numpy as np
import pytest
import shared_networks
import torch
from claims import check

from helpers import training
from helpers.data import Images, mnist
from helpers.metrics import count_macs, count_parameters
from helpers.models import LeNet, MnistNet


def test_the_networks_are_those_of_the_book():
    assert count_parameters(MnistNet()) == 1_199_882
    assert count_macs(MnistNet().eval(), (1, 1, 28, 28)) == 11_992_448
    assert count_parameters(LeNet()) == 44_190


def test_a_short_training_learns(quick_networks):
    accuracy = training.evaluate(quick_networks["mnist_cnn"], mnist("test"))
    check("MnistNet's accuracy after one epoch", accuracy.value)


def test_loading_a_network_keeps_the_random_state(build_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path))
    training.save("lenet", LeNet(), training.History(source="none"))
    before = torch.get_rng_state()
    training.trained("lenet")
    assert torch.equal(torch.get_rng_state(), before)


def small(n: int) -> Images:
    data = mnist("train")
    return Images(data.images[:n], data.labels[:n], data.source)


def trained_weights(seed: int) -> list[torch.Tensor]:
    torch.manual_seed(seed)
    recipe = training.Recipe(epochs=2, peak_lr=4e-3, label_smoothing=0.0, seed=seed)
    model, _ = training.train(LeNet(), small(256), recipe)
    return list(model.state_dict().values())


def test_same_seed_same_weights():
    first = trained_weights(0)
    again = trained_weights(0)
    other = trained_weights(1)
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not all(torch.equal(a, b) for a, b in zip(first, other))


def test_the_order_of_axes_in_memory_changes_no_result():
    recipe = training.Recipe(epochs=2, peak_lr=1e-3, label_smoothing=0.0)
    losses = []
    for channels_last in (False, True):
        torch.manual_seed(0)
        ordered = replace(recipe, channels_last=channels_last)
        model, history = training.train(LeNet(), small(512), ordered)
        losses.append(history.loss)
    np.testing.assert_allclose(*losses, rtol=1e-3)
    assert all(weight.is_contiguous() for weight in model.parameters())


def test_training_leaves_threads_and_random_numbers_alone():
    before = torch.get_num_threads()
    model = LeNet()
    torch.set_num_threads(2)
    state = torch.random.get_rng_state()
    training.train(model, small(64), training.Recipe(epochs=1, peak_lr=1e-3, label_smoothing=0.0))
    assert torch.get_num_threads() == 2 and torch.equal(torch.random.get_rng_state(), state)
    torch.set_num_threads(before)


@pytest.mark.trained
def test_the_history_tells_what_happened():
    seed = shared_networks.seed() or 0
    recipe = training.Recipe(epochs=3, peak_lr=4e-3, label_smoothing=0.0, seed=seed)
    torch.manual_seed(recipe.seed)
    _, history = training.train(LeNet(), small(512), recipe, small(100))
    assert len(history.loss) == len(history.lr) == len(history.test_accuracy) == 3
    check("loss of three short epochs: last over first", history.loss[-1] / history.loss[0])
    assert history.cpu_s > 0 and "MNIST" in history.source


def test_the_test_accuracy_is_known_at_about_ten_epochs_and_at_the_end(capsys):
    recipe = training.Recipe(epochs=25, peak_lr=1e-3, label_smoothing=0.0)
    _, history = training.train(LeNet(), small(64), recipe, small(20), progress=True)
    assert len(history.loss) == 25
    assert list(history.test_accuracy) == [*range(2, 25, 2), 25]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and all("test accuracy" in line for line in lines)
    _, history = training.train(LeNet(), small(64), recipe, progress=True)
    assert history.test_accuracy == {} and "accuracy" not in capsys.readouterr().out


def test_more_images_fewer_epochs():
    recipe = training.RECIPES["lenet"]
    assert recipe.scaled_to(4000) == recipe
    assert recipe.scaled_to(60_000).epochs == 7
    assert recipe.scaled_to(10**9).epochs == 2


def test_augmentation_keeps_digits_on_the_paper():
    images = torch.from_numpy(small(64).images[:, None] / np.float32(255))
    moved = training.augment(images, torch.Generator().manual_seed(0))
    assert moved.shape == images.shape and not torch.equal(moved, images)
    assert 0.7 < moved.sum() / images.sum() < 1.3 and moved.min() >= 0 and moved.max() <= 1.0001
    assert torch.equal(moved, training.augment(images, torch.Generator().manual_seed(0)))


def test_checkpoints(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path))
    network, history = shared_networks.get("lenet")
    training.save("lenet", network, history)
    loaded = training.trained("lenet")
    assert capsys.readouterr().out == "", "a saved network is not trained again"
    weights = loaded.state_dict()
    saved = network.state_dict()
    assert weights.keys() == saved.keys()
    assert all(torch.equal(weights[name], saved[name]) for name in saved)
    assert not loaded.training
    with pytest.raises(ValueError, match="mnist_cnn, lenet"):
        training.trained("resnet")


def test_a_missing_checkpoint_is_trained_and_said(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path))
    short = training.Recipe(epochs=2, peak_lr=4e-3, label_smoothing=0.0)
    monkeypatch.setitem(training.RECIPES, "lenet", short)
    training.trained("lenet")
    assert "Training lenet for 2 epochs" in capsys.readouterr().out
    assert (tmp_path / "models" / "lenet.pt").exists()


def test_a_pickle_in_a_checkpoint_is_not_run(monkeypatch, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path))
    (tmp_path / "models").mkdir()
    torch.save({"weights": Evil()}, tmp_path / "models" / "lenet.pt")
    with pytest.raises(Exception, match="[Ww]eights.only"):
        training.trained("lenet")
    assert not (tmp_path / "owned").exists()


def test_a_network_that_has_seen_the_test_images_is_pointed_out(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path))
    training.save("lenet", LeNet(), training.History(source="MNIST, the official train images"))
    training.trained("lenet")
    assert "will look too good" in capsys.readouterr().out
