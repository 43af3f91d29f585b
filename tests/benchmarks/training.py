"""How well, and in how many CPU-seconds, do the book's recipes train?

It prints its results and asserts nothing. It takes about two minutes.
"""

import torch

from helpers import training
from helpers.data import mnist
from helpers.models import BY_NAME

for name, network in BY_NAME.items():
    train_set = mnist("train")
    test_set = mnist("test")
    recipe = training.RECIPES[name]
    torch.manual_seed(recipe.seed)
    model, history = training.train(network(), train_set, recipe.scaled_to(len(train_set.images)))
    print(
        f"{name}: {training.evaluate(model, test_set)}, "
        f"{history.cpu_s:.0f} CPU-seconds on one thread, {train_set.source}"
    )
