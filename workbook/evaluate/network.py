"""MODEL: a model file, or a PyTorch class in a Python file with its weights."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from modelfiles.errors import WorkbookError, reason

if TYPE_CHECKING:
    import torch


class NetworkError(WorkbookError):
    """MODEL cannot be used."""


def from_class(place: str, weights: Path | str | None) -> "torch.nn.Module":
    """The network of `place`, "FILE.py:CLASS", in eval mode, with the weights of a .pt file.

    The Python file is executed, so it must be your own; the weights are loaded without executing
    anything. The class is called without arguments. NetworkError for what cannot be used.
    """
    import torch

    file, separator, name = place.rpartition(":")
    if not separator or not file.endswith(".py") or not name:
        raise NetworkError(f'a PyTorch class is given as "FILE.py:CLASS", not as "{place}"')
    if not Path(file).exists():
        raise NetworkError(f"{file} does not exist")
    specification = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
        network = getattr(module, name)()
    except AttributeError as error:
        raise NetworkError(f"{file} has no class {name} ({error})") from error
    except Exception as error:  # the file is the user's: anything may happen in it
        raise NetworkError(f"{place} cannot be created: {reason(error)}") from error
    if not isinstance(network, torch.nn.Module):
        raise NetworkError(f"{place} is no torch.nn.Module")
    if weights is not None:
        _load_weights(network, Path(weights))
    return network.eval()


def from_exported(path: Path) -> "torch.nn.Module":
    """The network in a .pt2 file, as torch.export wrote it. Pickled objects are not loaded."""
    from modelfiles.runtimes.torch_files import load_pt2

    try:
        return load_pt2(path).module()
    except Exception as error:  # torch raises many types for a damaged file
        raise NetworkError(f"{path.name} cannot be loaded: {reason(error)}") from error


def _load_weights(network: "torch.nn.Module", path: Path) -> None:
    import torch

    if not path.exists():
        raise NetworkError(f"{path} does not exist")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged, or a pickle of other objects
        raise NetworkError(
            f"{path.name} holds no plain weights: save network.state_dict() ({reason(error)})"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("weights"), dict):
        content = content["weights"]  # the book's own checkpoints
    try:
        network.load_state_dict(content)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise NetworkError(f"{path.name} does not fit the class: {reason(error)}") from error
