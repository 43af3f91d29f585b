"""The C++ programs of helpers/cpp, for workers.Worker instead of Python: `make cpp` builds them.

On a Pi, without the Makefile's environment: `.venv/bin/python -m helpers.programs`.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import urllib.request
from pathlib import Path

from helpers.device import limits
from helpers.paths import ROOT, show

RUNTIMES = ("libtorch", "ncnn", "mnn")
# Not under WORKBOOK_BUILD: the programs hold no results, and in a new folder they would compile for
# minutes again.
FOLDER = ROOT / "build" / "cpp"
NCNN_SHA256 = {"1.0.20261020": "ad8cdd63e9755cfa8e23b9b6d9ce46156077d80298a89e7c3ba325ffccfca200"}


def path(runtime: str) -> Path:
    """Where the program of "libtorch", "ncnn" or "mnn" is once it is built."""
    return FOLDER / f"bench_{runtime}"


def build() -> dict[str, str]:
    """Build what can be built here; returns {runtime: why it was skipped}, {} if none was skipped.

    RuntimeError if tools are missing, or if a program does not compile.
    """
    can_make = shutil.which("make") or shutil.which("ninja")
    if not (can_make and shutil.which("cmake") and shutil.which("c++")):
        raise RuntimeError(
            "C++ programs need cmake, make and a compiler: sudo apt install cmake make g++"
        )
    FOLDER.mkdir(parents=True, exist_ok=True)
    places = {"TORCH_ROOT": "", "NCNN_SOURCE": "", "MNN_ROOT": os.environ.get("MNN_ROOT", "")}
    left_out = {}
    if torch := importlib.util.find_spec("torch"):
        places["TORCH_ROOT"] = torch.submodule_search_locations[0]
    else:
        left_out["libtorch"] = "its library comes with PyTorch, which is not installed here"
    try:
        places["NCNN_SOURCE"], places["NCNN_VERSION"] = _ncnn_source()
    except (OSError, ValueError, ImportError) as error:
        left_out["ncnn"] = str(error)
    if not places["MNN_ROOT"]:
        left_out["mnn"] = "no package has its headers: build MNN and let MNN_ROOT name its folder"
    settings = [f"-D{name}={place}" for name, place in places.items()]
    _run("cmake", "-S", str(ROOT / "helpers" / "cpp"), "-B", str(FOLDER), *settings)
    # the largest source takes a gigabyte to compile
    jobs = min(limits.cores(), max(1, limits.memory_bytes() // 2**30))
    for runtime in RUNTIMES:
        if runtime not in left_out:
            target = path(runtime).name
            _run("cmake", "--build", str(FOLDER), "--target", target, "--parallel", str(jobs))
    return left_out


def _run(*command: str) -> None:
    log = FOLDER / "log.txt"
    with log.open("w") as written:
        status = subprocess.run(command, stdout=written, stderr=subprocess.STDOUT).returncode
    if status:
        lines = log.read_text(errors="replace").splitlines() or ["it said nothing"]
        errors = [line for line in lines if "error:" in line or "CMake Error" in line]
        reason = errors[0] if errors else lines[-1]
        raise RuntimeError(
            f"{Path(command[0]).name} failed, {show(log)} has the whole story: {reason.strip()}"
        )


def _ncnn_source() -> tuple[str, str]:
    """The folder with the source of the installed ncnn package, and the date in its version.

    The source distribution comes from the package index that uv is configured for. pip cannot
    download it: pip builds the package first, and then rejects its version, the day of the build.
    """
    try:
        version = importlib.metadata.version("ncnn")
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportError(
            "the Python package ncnn is not installed, with which the program is compared"
        ) from error
    if version not in NCNN_SHA256:
        raise ValueError(
            f"the SHA-256 of ncnn {version}'s source is not known here: "
            "add it to NCNN_SHA256 in helpers/programs.py"
        )
    archive = FOLDER / f"ncnn-{version}.tar.gz"
    unpacked = FOLDER / f"ncnn-{version}"
    if not unpacked.exists():
        if not archive.exists():
            _download(version, archive)
        if hashlib.sha256(archive.read_bytes()).hexdigest() != NCNN_SHA256[version]:
            raise ValueError(
                f"{show(archive)} is not ncnn's source, its SHA-256 differs: "
                "delete it and try again"
            )
        scratch = FOLDER / "unpacking"
        shutil.rmtree(scratch, ignore_errors=True)
        with tarfile.open(archive) as files:
            files.extractall(scratch, filter="data")
        (scratch / unpacked.name).rename(unpacked)
        scratch.rmdir()
    return str(unpacked), version.split(".")[-1]


def _download(version: str, archive: Path) -> None:
    copy = f"copy {archive.name} into {show(archive.parent)} from a machine that has built it"
    wanted = f"connect to the Internet, or {copy}"
    if not importlib.util.find_spec("uv"):
        raise ImportError(
            f"uv, which finds ncnn's source, is not installed: pip install uv, or {copy}"
        )
    lock = ["pip", "compile", "-", "--no-deps", "--quiet", "--format", "pylock.toml"]
    asked = subprocess.run(
        [sys.executable, "-m", "uv", *lock],
        input=f"ncnn=={version}",
        capture_output=True,
        text=True,
    )
    if asked.returncode:
        raise OSError(f"no package index answers: {wanted}")
    source = tomllib.loads(asked.stdout)["packages"][0].get("sdist", {})
    scratch = archive.with_suffix(".part")
    try:
        answer = urllib.request.urlopen(source["url"], timeout=60)
        with answer, scratch.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except (OSError, KeyError) as error:
        raise OSError(f"ncnn's source cannot be downloaded ({error}): {wanted}") from error
    scratch.replace(archive)


if __name__ == "__main__":
    print("Building the C++ programs (ncnn's library takes a minute or more, once) ...", flush=True)
    try:
        for runtime, reason in build().items():
            print(f"{runtime} is left out: {reason}")
    except RuntimeError as error:
        sys.exit(str(error))
    built = [show(path(runtime)) for runtime in RUNTIMES if path(runtime).exists()]
    print("Built:", ", ".join(built) or "nothing")
