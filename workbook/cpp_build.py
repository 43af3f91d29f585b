"""Build the C++ programs of cpp/, which workers.Worker can run instead of Python."""

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import urllib.request
from pathlib import Path

from helpers.device import limits
from helpers.paths import ROOT, display_path, whole_file
from helpers.workers import CPP_FOLDER, cpp_program
from modelfiles.errors import WorkbookError

RUNTIMES = ("libtorch", "ncnn", "mnn")
MNN_VERSION = "3.6.1"  # cpp/mnn_wheel declares the interface of this version
NCNN_SHA256 = {"1.0.20261020": "ad8cdd63e9755cfa8e23b9b6d9ce46156077d80298a89e7c3ba325ffccfca200"}


class BuildFailed(WorkbookError, RuntimeError):
    """Tools are missing, or a program does not compile; the message names them."""


def build() -> dict[str, str]:
    """Build the programs for the available runtimes; return {skipped runtime: reason}.

    BuildFailed if tools are missing, or if a program does not compile.
    """
    can_make = shutil.which("make") or shutil.which("ninja")
    if not (can_make and shutil.which("cmake") and shutil.which("c++")):
        raise BuildFailed(
            "C++ programs need cmake, make and a compiler: sudo apt install cmake make g++"
        )
    CPP_FOLDER.mkdir(parents=True, exist_ok=True)
    cmake_options = {
        "TORCH_ROOT": "",
        "NCNN_SOURCE": "",
        "MNN_ROOT": os.environ.get("MNN_ROOT", ""),
        "MNN_PACKAGE": "",
    }
    skipped = {}
    torch = importlib.util.find_spec("torch")
    if torch and torch.submodule_search_locations:
        cmake_options["TORCH_ROOT"] = torch.submodule_search_locations[0]
    else:
        skipped["libtorch"] = "its library comes with PyTorch, which is not installed"
    try:
        cmake_options["NCNN_SOURCE"], cmake_options["NCNN_VERSION"] = _ncnn_source()
    except (OSError, ValueError, ImportError) as error:
        skipped["ncnn"] = str(error)
    if not cmake_options["MNN_ROOT"]:
        try:
            cmake_options |= _mnn_package()
        except (OSError, ValueError, ImportError) as error:
            skipped["mnn"] = f"{error}; or build MNN and set MNN_ROOT to its folder"
    settings = [f"-D{name}={place}" for name, place in cmake_options.items()]
    sources = str(_sources())
    cache = CPP_FOLDER / "CMakeCache.txt"
    if cache.exists() and f"HOME_DIRECTORY:INTERNAL={sources}\n" not in cache.read_text():
        cache.unlink()  # CMake cannot use it for sources in another folder
    _run("cmake", "-S", sources, "-B", str(CPP_FOLDER), *settings)
    # the largest source takes a gigabyte to compile
    jobs = min(limits.cores(), max(1, limits.memory_bytes() // 2**30))
    for runtime in RUNTIMES:
        if runtime not in skipped:
            target = cpp_program(runtime).name
            _run("cmake", "--build", str(CPP_FOLDER), "--target", target, "--parallel", str(jobs))
    return skipped


def _sources() -> Path:
    """The folder cpp/ of the repository, or of the installed package."""
    in_repository = ROOT / "cpp"
    if in_repository.is_dir():
        return in_repository
    return Path(__file__).parent / "cpp"


def _run(*command: str) -> None:
    log = CPP_FOLDER / "log.txt"
    with log.open("w") as written:
        status = subprocess.run(command, stdout=written, stderr=subprocess.STDOUT).returncode
    if status:
        lines = log.read_text(errors="replace").splitlines() or ["no output"]
        errors = [line for line in lines if "error:" in line or "CMake Error" in line]
        reason = errors[0] if errors else lines[-1]
        raise BuildFailed(
            f"{Path(command[0]).name} failed: {reason.strip()} "
            f"({display_path(log)} has the full output)"
        )


def _ncnn_source() -> tuple[str, str]:
    """The folder with the source of the installed ncnn package, and the date in its version.

    The source distribution is downloaded from uv's package index. pip cannot download it: it builds
    the package first, and then rejects the version, which is the date of the build.
    """
    try:
        version = importlib.metadata.version("ncnn")
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportError(
            "the Python package ncnn, whose source it needs, is not installed"
        ) from error
    if version not in NCNN_SHA256:
        raise ValueError(
            f"the SHA-256 of the source of ncnn {version} is unknown: "
            "add it to NCNN_SHA256 in workbook/cpp_build.py"
        )
    archive = CPP_FOLDER / f"ncnn-{version}.tar.gz"
    unpacked = CPP_FOLDER / f"ncnn-{version}"
    if not unpacked.exists():
        if not archive.exists():
            _download(version, archive)
        if hashlib.sha256(archive.read_bytes()).hexdigest() != NCNN_SHA256[version]:
            raise ValueError(
                f"{display_path(archive)} is not ncnn's source (its SHA-256 differs): "
                "delete it and try again"
            )
        scratch = CPP_FOLDER / "unpacking"
        shutil.rmtree(scratch, ignore_errors=True)
        with tarfile.open(archive) as files:
            files.extractall(scratch, filter="data")
        (scratch / unpacked.name).rename(unpacked)
        scratch.rmdir()
    return str(unpacked), version.split(".")[-1]


def _mnn_package() -> dict[str, str]:
    """CMake options for the library in the Python package MNN, which also has the C++ interface.

    ImportError or ValueError if it cannot be linked against, OSError without Python's own library.
    """
    try:
        version = importlib.metadata.version("MNN")
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportError("the Python package MNN is not installed") from error
    if version != MNN_VERSION:
        raise ValueError(
            f"the interface of MNN {version} is unknown (cpp/mnn_wheel has that of {MNN_VERSION})"
        )
    if sys.platform != "linux":
        raise ValueError("programs can be linked against MNN's Python package only on Linux")
    package = importlib.util.find_spec("_mnncengine")
    if not package or not package.origin:
        raise ImportError("the Python package MNN does not contain its library _mnncengine")
    options = {"MNN_PACKAGE": package.origin, "MNN_VERSION": version}
    return options | {"PYTHON_LIBRARY": str(_python_library())}


def _python_library() -> Path:
    """libpython, the interpreter as a library. OSError if this Python has none."""
    settings = sysconfig.get_config_vars("LIBDIR", "MULTIARCH", "INSTSONAME")
    folder, machine, name = (str(setting or "") for setting in settings)
    for place in (Path(folder), Path(folder, machine)):
        if ".so" in name and (place / name).exists():
            return place / name
    short = "python{}.{}".format(*sys.version_info)
    raise OSError(
        f"MNN's Python package needs Python as a library, which this one does not have: install it "
        f"(sudo apt install lib{short}), or use another Python"
    )


def _download(version: str, archive: Path) -> None:
    copy = (
        f"copy {archive.name} into {display_path(archive.parent)} from a machine that has built it"
    )
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
        raise OSError(f"the package index does not respond: {wanted}")
    source = tomllib.loads(asked.stdout)["packages"][0].get("sdist", {})
    try:
        answer = urllib.request.urlopen(source["url"], timeout=60)
        with whole_file(archive) as part, answer, part.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except (OSError, KeyError) as error:
        raise OSError(f"ncnn's source cannot be downloaded ({error}): {wanted}") from error


def command() -> None:
    """Build all programs and print which were built. BuildFailed if one fails."""
    print("Building the C++ programs (ncnn's library takes a minute, once) ...", flush=True)
    skipped = build()
    for runtime, reason in skipped.items():
        print(f"{runtime} is skipped: {reason}")
    built = [
        display_path(cpp_program(runtime)) for runtime in RUNTIMES if cpp_program(runtime).exists()
    ]
    print("Built:", ", ".join(built) or "nothing")
