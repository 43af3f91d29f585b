"""The C++ programs of helpers/cpp, which take Python's place in a workers.Worker: `make cpp` builds them.

On a Pi, where the Makefile's environment is not: `.venv/bin/python -m helpers.programs`.
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

from helpers import limits
from helpers.paths import ROOT, show

# Not under WORKBOOK_BUILD: the programs hold no results, and a folder made anew would compile for minutes again.
RUNTIMES = ("libtorch", "ncnn", "mnn")
FOLDER = ROOT / "build" / "cpp"
NCNN_SHA256 = {"1.0.20261020": "ad8cdd63e9755cfa8e23b9b6d9ce46156077d80298a89e7c3ba325ffccfca200"}


def path(runtime: str) -> Path:
    """Where the program of "libtorch", "ncnn" or "mnn" lies once it is built."""
    return FOLDER / f"bench_{runtime}"


def build() -> dict[str, str]:
    """Build what can be built here; returns {runtime: why it was left out}, empty where all three are there.

    RuntimeError where the tools are missing, or where a program does not compile.
    """
    if not (
        shutil.which("cmake")
        and shutil.which("c++")
        and (shutil.which("make") or shutil.which("ninja"))
    ):
        raise RuntimeError(
            "C++ programs need cmake, make and a compiler: sudo apt install cmake make g++"
        )
    FOLDER.mkdir(parents=True, exist_ok=True)
    places, left_out = (
        {"TORCH_ROOT": "", "NCNN_SOURCE": "", "MNN_ROOT": os.environ.get("MNN_ROOT", "")},
        {},
    )
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
    _run(
        "cmake",
        "-S",
        str(ROOT / "helpers" / "cpp"),
        "-B",
        str(FOLDER),
        *(f"-D{k}={v}" for k, v in places.items()),
    )
    # the largest source takes a gigabyte to compile
    jobs = min(limits.cores(), max(1, limits.memory_bytes() // 2**30))
    for runtime in RUNTIMES:
        if runtime not in left_out:
            _run(
                "cmake",
                "--build",
                str(FOLDER),
                "--target",
                path(runtime).name,
                "--parallel",
                str(jobs),
            )
    return left_out


def _run(*command: str) -> None:
    log = FOLDER / "log.txt"
    with log.open("w") as written:
        status = subprocess.run(command, stdout=written, stderr=subprocess.STDOUT).returncode
    if status:
        lines = log.read_text(errors="replace").splitlines()
        first = next(
            (line for line in lines if "error:" in line or "CMake Error" in line),
            (lines or ["it said nothing"])[-1],
        )
        raise RuntimeError(
            f"{Path(command[0]).name} failed, {show(log)} has the whole story: {first.strip()}"
        )


def _ncnn_source() -> tuple[str, str]:
    """The folder with the source that the installed ncnn package was made from, and the date in its version.

    The source distribution comes from the package index that uv is configured for. pip would have to build the
    package to download it, and then refuses it: its version is the day on which it is built.
    """
    try:
        version = importlib.metadata.version("ncnn")
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportError(
            "the Python package ncnn is not installed, with which the program is compared"
        ) from error
    if version not in NCNN_SHA256:
        raise ValueError(
            f"the SHA-256 of ncnn {version}'s source is not known here: add it to NCNN_SHA256 in helpers/programs.py"
        )
    archive, unpacked = FOLDER / f"ncnn-{version}.tar.gz", FOLDER / f"ncnn-{version}"
    if not unpacked.exists():
        if not archive.exists():
            _download(version, archive)
        if hashlib.sha256(archive.read_bytes()).hexdigest() != NCNN_SHA256[version]:
            raise ValueError(
                f"{show(archive)} is not ncnn's source, its SHA-256 differs: delete it and try again"
            )
        scratch = FOLDER / "unpacking"
        shutil.rmtree(scratch, ignore_errors=True)
        with tarfile.open(archive) as files:
            files.extractall(scratch, filter="data")
        (scratch / unpacked.name).rename(unpacked)
        scratch.rmdir()
    return str(unpacked), version.split(".")[-1]


def _download(version: str, archive: Path) -> None:
    wanted = f"connect to the Internet, or copy {archive.name} into {show(archive.parent)} from a machine that has built it"
    if not importlib.util.find_spec("uv"):
        raise ImportError(
            f"uv, which finds ncnn's source, is not installed: pip install uv, or copy {archive.name} "
            f"into {show(archive.parent)} from a machine that has built it"
        )
    asked = subprocess.run(
        [
            sys.executable,
            "-m",
            "uv",
            "pip",
            "compile",
            "-",
            "--no-deps",
            "--quiet",
            "--format",
            "pylock.toml",
        ],
        input=f"ncnn=={version}",
        capture_output=True,
        text=True,
    )
    if asked.returncode:
        raise OSError(f"no package index answers: {wanted}")
    source = tomllib.loads(asked.stdout)["packages"][0].get("sdist", {})
    scratch = archive.with_suffix(".part")
    try:
        with (
            urllib.request.urlopen(source["url"], timeout=60) as answer,
            scratch.open("wb") as file,
        ):
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
