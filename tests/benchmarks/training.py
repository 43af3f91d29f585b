"""How well, and in how many CPU-seconds, do the book's recipes train? Prints, asserts nothing. About two minutes."""

import torch

from helpers import training
from helpers.data import mnist
from helpers.models import BY_NAME

for name, network in BY_NAME.items():
    train_set, test_set = mnist("train"), mnist("test")
    torch.manual_seed(training.RECIPES[name].seed)
    model, history = training.train(
        network(), train_set, training.RECIPES[name].scaled(len(train_set.images))
    )
    print(
        f"{name}: {training.evaluate(model, test_set)}, {history.cpu_s:.0f} CPU-seconds on one thread, {train_set.source}"
    )
