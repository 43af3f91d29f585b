"""Get a Pi ready: check it, copy what has changed, set up its environment once."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from helpers import model_files
from helpers.data import MNIST_FILES
from helpers.data.idx_files import IDX_PREFIX, idx_paths
from helpers.interactive import drawing_path
from helpers.paths import PACKAGES, ROOT, build_dir, build_path
from workbook.pi import transfer
from workbook.pi.connection import Pi
from workbook.pi.on_device.jobs import TORCH
from workbook.pi.openssh import PiError

# the notebooks that run without torch
ON_THE_PI = (
    "00_start_here",
    "03_measure_latency",
    "08_benchmark_on_the_pi",
    "11_live_camera",
)
# the files that the environment on the Pi depends on
LISTS = ("requirements-pi.txt", "requirements-pi-torch.txt", "requirements.txt", "pyproject.toml")
TORCH_FILES = ("mnist_cnn.pt2", "mnist_cnn.pte")  # what PyTorch and ExecuTorch open


def bundle(torch: bool = False) -> dict[str, Path]:
    """What a Pi gets, {path there: file here}.

    The packages, the notebooks for it with their diagrams, the glossary, requirements, model files,
    images, and the digit that the reader drew; nothing that needs torch, unless `torch` says that
    the Pi has it.
    """
    code = [
        path
        for package in (*PACKAGES, "workbook", "cpp")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    notebooks = [ROOT / "notebooks" / f"{name}.ipynb" for name in ON_THE_PI]
    present = [path for path in notebooks if path.exists()]
    shown = [
        path
        for name in ON_THE_PI
        for path in (ROOT / "notebooks").glob(f"figures/{name.partition('_')[0]}_*.svg")
    ]
    glossary = ROOT / "notebooks" / "glossary.md"
    runs = (ROOT / "notebooks").glob("figures/08_*.json")
    lists = [ROOT / name for name in LISTS]
    paths = [*code, *present, *shown, *runs, glossary, *lists]
    files = {path.relative_to(ROOT).as_posix(): path for path in paths}
    models = model_files.deployable_files()
    if torch:
        models += filter(Path.exists, (build_path("models", name) for name in TORCH_FILES))
    folder = build_dir("models")
    files |= {f"build/models/{path.relative_to(folder).as_posix()}": path for path in models}
    drawing = drawing_path()
    if drawing.exists():
        files[f"build/{drawing.name}"] = drawing
    return files | mnist_files()


def mnist_files() -> dict[str, Path]:
    """The MNIST files of this machine, {path there: file here}.

    With them, both measure accuracy on the same images. They are the files of WORKBOOK_DATA, for
    build/idx, or else the downloaded ones, for build/data; empty if some of these are missing.
    """
    named = {f"build/idx/{path.name}": path for split in IDX_PREFIX for path in idx_paths(split)}
    if named:
        return named
    cached = {f"build/data/{name}": build_path("data", name) for name in MNIST_FILES}
    is_complete = all(path.exists() for path in cached.values())
    return cached if is_complete else {}


def prepare(
    pi: Pi,
    say: Callable[[str], None] = print,
    extra: Mapping[str, Path] | None = None,
    torch: bool = False,
) -> None:
    """Check the Pi, copy what has changed and `extra`, and set up the environment.

    `extra` are more files, {path there: file here}. With `torch`, the environment gets PyTorch and
    ExecuTorch, too. While the Pi runs a notebook, nothing is copied or set up.
    """
    facts = pi.ask("check")
    pi.folder = facts["folder"]
    if facts["running"]:
        say(f"{facts['running']} is still running there, so nothing is copied")
        return
    files = bundle(torch) | dict(extra or {})
    if not extra and not any(path.startswith("build/models/") for path in files):
        say("no model files to copy, and most notebooks need some: `make pi` converts them first")
    requirements = _requirements()
    if torch:
        requirements += f" {TORCH}"
    transfer.update(pi, files, requirements, say)
    job = pi.ask("set_up", requirements=requirements)["job"]
    if job:
        say(f"setting up {facts['system']} (only once)")
        follow(pi, job, say)


def _requirements() -> str:
    """The content of LISTS as one hash."""
    return hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in LISTS)).hexdigest()


def follow(pi: Pi, job: str, say: Callable[[str], None]) -> None:
    """Print the job's log until it ends; PiError if it failed."""
    result = pi.ask("follow", say, job=job)
    if not result["ok"]:
        raise PiError(f"{pi.host}: {result['why']}")
