"""Model files of the trained networks that tests share: each is converted once per run."""

from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from forms import convert_to

from helpers.data import mnist, normalize

CALIBRATION_IMAGES = 100
EXAMPLE = torch.zeros(1, 1, 28, 28)


class SharedFiles:
    """The files of `networks`, {name: module}, in `folder`: NAME.onnx, NAME_int8.onnx and so on.

    Tests only read them: a test that changes a file makes a copy.
    """

    def __init__(self, networks: dict[str, torch.nn.Module], folder: Path) -> None:
        self.networks = networks
        self.folder = folder

    def path(self, name: str, form: str) -> Path:
        """The file of network `name` in a form of forms.py, converted if no test asked before."""
        *int8, suffix = form.split()
        path = self.folder / f"{'_'.join([name, *int8])}.{suffix}"
        with FileLock(f"{path}.lock"):
            if not path.exists():
                source = partial(self.path, name)
                network = self.networks[name]
                convert_to(form, path, network, EXAMPLE, self._calibration, source)
        return path

    @cached_property
    def _calibration(self) -> np.ndarray:
        return normalize(mnist("train").images[:CALIBRATION_IMAGES])
