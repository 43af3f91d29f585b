"""`workbook train`: train a network of the book, and save it."""

import argparse
from pathlib import Path

from modelfiles.errors import WorkbookError

NETWORKS = ("mnist_cnn", "lenet", "depthwise")
SUFFIXES = (".pt2", ".pt")
EXAMPLES = """
examples:
  workbook train                                   train MnistNet, print its accuracy
  workbook train --save-model                      save it as mnist_cnn.pt2
  workbook train lenet --save-model lenet.pt2      for `workbook convert` and `workbook evaluate`
  workbook train lenet --save-model lenet.pt       its weights alone, a state_dict
"""


class TrainError(WorkbookError):
    """An option has an impossible value."""

    exit_code = 2


def add_to(commands) -> None:
    """Add `train` to the commands of `workbook`."""
    parser = commands.add_parser(
        "train",
        help="train a network of the book on MNIST",
        description="Train a network of the book on MNIST, and print its accuracy.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("network", nargs="?", default="mnist_cnn", choices=NETWORKS)
    parser.add_argument("--epochs", type=int, help="default: those of the book")
    parser.add_argument(
        "--save-model",
        nargs="?",
        const="",
        metavar="FILE",
        help="FILE.pt2 (the network) or FILE.pt (its weights alone); default: NETWORK.pt2",
    )
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> int:
    """Train, print the time and the accuracy, save."""
    path = _path(options)
    if options.epochs is not None and options.epochs < 1:
        raise TrainError("--epochs must be at least 1")
    from dataclasses import replace

    from helpers import models, training
    from helpers.data import mnist
    from workbook.commands.accuracy import two_lines

    train_set = mnist("train")
    test_set = mnist("test")
    recipe = training.RECIPES[options.network].scaled_to(len(train_set.images))
    if options.epochs:
        recipe = replace(recipe, epochs=options.epochs)
    network = models.BY_NAME[options.network]()
    trained, history = training.train(network, train_set, recipe, test_set, progress=True)
    found = training.evaluate(trained, test_set)
    print(two_lines(history.cpu_s, round(found.value * found.n), found.n))
    if path:
        _save(trained, path)
        print(f"Saved: {path}")
    return 0


def _path(options: argparse.Namespace) -> Path | None:
    if options.save_model is None:
        return None
    path = Path(options.save_model or f"{options.network}.pt2")
    if path.suffix not in SUFFIXES:
        raise TrainError(f"--save-model takes a file that ends in .pt2 or .pt, not {path.name}")
    if not path.parent.is_dir():
        raise TrainError(f"--save-model: the folder {path.parent} does not exist")
    return path


def _save(network, path: Path) -> None:
    import torch

    from helpers import convert
    from helpers.paths import whole_file

    if path.suffix == ".pt2":
        convert.to_pt2(network, torch.zeros(1, 1, 28, 28), path)
        return
    with whole_file(path) as part:
        torch.save(network.state_dict(), part)
