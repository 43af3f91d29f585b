"""The trained networks that tests share.

LeNet and the depthwise network are stored in tests/networks/, so that every machine tests with
the same weights. MnistNet is too large for that (4.8 MB) and is trained where the tests run. With
WORKBOOK_TEST_SEED=n all of them are trained now, from seed n: `make test-machines` does that.

    python tests/shared_networks.py    # trains the stored networks again, from seed 0
"""

import hashlib
import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from helpers import training
from helpers.data import mnist
from helpers.device import describe
from helpers.models import BY_NAME

FOLDER = Path(__file__).parent / "networks"
ABOUT = FOLDER / "about.json"
EPOCHS = {"lenet": 30, "mnist_cnn": 1, "depthwise": 4}
STORED = ("lenet", "depthwise")


def seed() -> int | None:
    """The seed that networks are trained from in this run, None where stored weights are used."""
    text = os.environ.get("WORKBOOK_TEST_SEED", "")
    return int(text) if text else None


def get(name: str) -> tuple[torch.nn.Module, training.History]:
    """The trained network `name` of helpers.models.BY_NAME, in eval mode, and its history."""
    if seed() is None and name in STORED:
        return stored(name)
    return _train(name, seed() or 0)


def _train(name: str, from_seed: int) -> tuple[torch.nn.Module, training.History]:
    recipe = replace(training.RECIPES[name], epochs=EPOCHS[name], seed=from_seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(from_seed)
        network = BY_NAME[name]()
    return training.train(network, mnist("train"), recipe)


def stored(name: str) -> tuple[torch.nn.Module, training.History]:
    """The stored network `name`; ValueError if its file is not the one in about.json."""
    about = json.loads(ABOUT.read_text(encoding="utf-8"))[name]
    path = FOLDER / f"{name}.npz"
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != about["sha256"]:
        raise ValueError(f"{path.name} has changed (SHA-256 {found}); restore it with git checkout")
    network = BY_NAME[name]()
    with np.load(path, allow_pickle=False) as arrays:
        network.load_state_dict({key: torch.from_numpy(arrays[key]) for key in arrays})
    return network.eval(), training.History(source=about["source"])


def _store(name: str) -> dict:
    network, history = _train(name, from_seed=0)
    path = FOLDER / f"{name}.npz"
    np.savez_compressed(path, **{key: value.numpy() for key, value in network.state_dict().items()})
    return {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "recipe": asdict(replace(training.RECIPES[name], epochs=EPOCHS[name], seed=0)),
        "source": history.source,
        "accuracy": training.evaluate(network, mnist("test")).value,
        "cpu": describe()["cpu"],
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    about = {name: _store(name) for name in STORED}
    ABOUT.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: entry["accuracy"] for name, entry in about.items()}))
