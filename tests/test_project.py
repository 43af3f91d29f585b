"""The project as a newcomer meets it: pins that resolve, light imports, commands that answer."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest

from helpers.paths import PACKAGES, ROOT

REQUIREMENT = re.compile(r"^([A-Za-z0-9_.-]+)([=<>!]=?[^ ;#]+)?\s*(?:;\s*([^#]+?))?\s*(#.*)?$")


def listed(path: str, indent: str = "") -> dict[tuple, str]:
    """{(package, marker): version} of a requirements file or of the pip part of environment.yml."""
    found = {}
    for line in (ROOT / path).read_text().splitlines():
        if indent and not line.startswith(indent):
            continue
        line = line[len(indent) :].strip()
        if line and not line.startswith(("#", "-")):
            name, version, marker, _ = REQUIREMENT.match(line).groups()
            found[name.lower(), marker] = version
    return found


def test_the_compiled_list_holds_every_source_line():
    compiled = {name: version for (name, _), version in listed("requirements.txt").items()}
    for (name, _), version in listed("requirements.in").items():
        is_pinned = name in compiled and (version == compiled[name] or "<" in version)
        assert is_pinned, f"{name}: run `make pins`"
    assert all(version.startswith("==") for version in compiled.values()), "everything is pinned"
    assert not re.search("nvidia|cuda|triton", " ".join(compiled))
    assert compiled["torch"] == "==2.13.0"


def test_conda_gets_the_same_lines_with_the_same_comments():
    assert listed("environment.yml", "    - ") == listed("requirements.in")
    conda = (ROOT / "environment.yml").read_text()
    for line in (ROOT / "requirements.in").read_text().splitlines():
        if line and not line.startswith("#"):
            assert f"    - {line}" in conda, "run `make pins`"


def test_every_dependency_says_what_it_is_for():
    for path in ("requirements.in", "requirements-pi.txt", "requirements-pi-torch.txt"):
        for line in (ROOT / path).read_text().splitlines():
            if line and not line.startswith(("#", "-", "pytest", "tensorflow==")):
                assert "#" in line, f"{path}: {line}"


def resolved(path: str, platform: str, python: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "uv", "pip", "compile", path, "--no-config", "--quiet"]
    command += ["--no-header", "--no-annotate", "--only-binary", ":all:"]
    command += ["--python-platform", platform, "--python-version", python]
    if path != "requirements-pi.txt":
        # pure Python and published as source only
        command += ["--no-binary", "antlr4-python3-runtime"]
    if path == "requirements.txt":
        command += ["--no-deps"]
    environment = os.environ | {"MACOSX_DEPLOYMENT_TARGET": "14.0"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


LAPTOPS = list(
    product(
        ["x86_64-manylinux_2_28", "aarch64-apple-darwin", "x86_64-pc-windows-msvc"],
        ["3.11", "3.12", "3.13"],
    )
)
PIS = [("aarch64-manylinux_2_28", python) for python in ("3.11", "3.13")]


@pytest.fixture(scope="module")
def executorch_alone(tmp_path_factory) -> str:
    """A list of ExecuTorch in the version for a Pi, and nothing else."""
    version = listed("requirements-pi-torch.txt")["executorch", None]
    path = tmp_path_factory.mktemp("executorch") / "one.txt"
    path.write_text(f"-c {ROOT}/requirements.txt\nexecutorch{version}\n")
    return str(path)


@pytest.fixture(scope="module")
def resolutions(executorch_alone) -> dict:
    """All lists resolved for all machines, several at a time: each waits for the index mostly."""
    asked = [("requirements.txt", *machine) for machine in LAPTOPS]
    asked += [(path, *pi) for path in ("requirements-pi.txt", executorch_alone) for pi in PIS]
    with ThreadPoolExecutor(6) as pool:
        return dict(zip(asked, pool.map(lambda one: resolved(*one), asked)))


@pytest.mark.parametrize("platform, python", LAPTOPS)
def test_the_laptop_pins_have_wheels_on(resolutions, platform, python):
    done = resolutions["requirements.txt", platform, python]
    assert done.returncode == 0, done.stderr
    assert "torch==2.13.0" in done.stdout


@pytest.mark.parametrize("platform, python", PIS)
def test_the_pi_pins_have_wheels_on_64_bit_raspberry_pi_os(resolutions, platform, python):
    done = resolutions["requirements-pi.txt", platform, python]
    assert done.returncode == 0, done.stderr
    packages = {line.split("==")[0] for line in done.stdout.splitlines()}
    assert {"onnxruntime", "ai-edge-litert", "ncnn", "mnn", "jupyterlab", "mlxtend"} <= packages
    # bookworm's picamera2 needs it, because the system's was compiled for numpy 1
    assert ("simplejpeg" in packages) == (python == "3.11")
    assert not packages & {"torch", "tensorflow", "tensorflow-cpu", "executorch"}


def test_pytorch_on_a_pi_is_the_laptops_version_and_never_the_build_for_gpus():
    """The list itself cannot be resolved without PyTorch's index."""
    laptop = {name: version for (name, _), version in listed("requirements.txt").items()}
    pi = {name: version for (name, _), version in listed("requirements-pi-torch.txt").items()}
    assert pi == {
        "torch": f"{laptop['torch']}+cpu",
        "torchvision": laptop["torchvision"],
        "executorch": laptop["executorch"],
    }


@pytest.mark.parametrize("platform, python", PIS)
def test_executorch_has_wheels_for_a_pi(resolutions, executorch_alone, platform, python):
    done = resolutions[executorch_alone, platform, python]
    assert done.returncode == 0, done.stderr
    packages = {line.split("==")[0] for line in done.stdout.splitlines()}
    assert "torchao" in packages and "torch" not in packages


def extras() -> dict[str, list[str]]:
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return content["project"]["optional-dependencies"]


def test_extras_are_names_that_requirements_in_knows():
    from workbook.evaluate.runtimes import RUNTIMES

    known = {(name, marker) for name, marker in listed("requirements.in")}
    for extra, lines in extras().items():
        for line in lines:
            if line.startswith("pi-workbook["):
                assert line[len("pi-workbook[") : -1] in extras()
                continue
            name, version, marker, _ = REQUIREMENT.match(line.replace("'", '"')).groups()
            assert version is None, f"{extra}: requirements.txt alone pins {name}"
            assert (name.lower(), marker) in known, f"{extra}: {line}"
    assert {runtime.extra for runtime in RUNTIMES.values()} <= set(extras())


@pytest.mark.parametrize("extra", sorted(extras()))
def test_an_extra_resolves_with_the_pins(extra):
    command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--extra", extra]
    command += ["--constraint", "requirements.txt", "--no-config", "--quiet", "--no-header"]
    command += ["--no-annotate", "--python-platform", "x86_64-manylinux_2_28"]
    command += ["--python-version", "3.11"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pinned = {(name, version) for (name, _), version in listed("requirements.txt").items()}
    found = set(re.findall(r"^([\w.-]+)(==\S+)", done.stdout, re.MULTILINE))
    assert {name for name, _ in found} >= {"numpy", "pandas"}
    known = {name for name, _ in pinned}
    assert not {(name, version) for name, version in found - pinned if name in known}


def test_the_installed_package_has_all_rooms_and_their_other_files(tmp_path):
    tree = tmp_path / "tree"
    for folder in (*PACKAGES, "workbook", "cpp"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", tmp_path, tree], check=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    modules = {
        path.relative_to(ROOT).as_posix()
        for package in (*PACKAGES, "workbook")
        for path in (ROOT / package).rglob("*.py")
    }
    sources = {
        f"workbook/{path.relative_to(ROOT).as_posix()}"
        for path in (ROOT / "cpp").rglob("*")
        if path.is_file()
    }
    digit = {
        path.relative_to(ROOT).as_posix()
        for suffix in ("js", "css", "html")
        for path in (ROOT / "workbook/digit").glob(f"*.{suffix}")
    }
    others = {"helpers/data/files.csv", "workbook/live/page.html"}
    assert modules | sources | digit | others <= names


WITHOUT_TORCH = """
import sys
absent = {"torch", "torchvision", "tensorflow", "executorch", "litert_torch", "torchao"}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""


def test_helpers_import_without_torch_and_tensorflow():
    modules = "data device metrics plots results runtimes timing workers quiet paths model_files"
    imports = "\n".join(f"import helpers.{module}" for module in modules.split())
    commands = "import workbook.cli, workbook.doctor, workbook.pi.fleet, workbook.pi.jupyter"
    code = f"{WITHOUT_TORCH}\n{imports}\n{commands}\nprint('fine')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "fine\n", done.stderr


def test_timing_needs_numpy_and_the_standard_library_only():
    code = (
        f"import sys; sys.path += {sys.path!r}; import helpers.timing\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "print(*sorted(loaded - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) - {"__main__", "sitecustomize"} <= {"helpers", "numpy"}


def test_make_help_lists_every_target():
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True)
    for target in ("workbook", "test", "lab", "pi", "notebooks", "bench", "pins", "doctor"):
        assert re.search(rf"^{target}\s+\w", done.stdout, re.MULTILINE), target


def test_another_python_is_refused_before_anything_is_installed(tmp_path):
    old = tmp_path / "python"
    code = "import sys; sys.version_info = (3, 9, 2); exec(sys.argv[1])"
    old.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{code}' \"$2\"\n")
    old.chmod(0o755)
    done = subprocess.run(
        ["make", "test", f"PYTHON={old}", f"VENV={tmp_path}/venv"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "Python 3.9 cannot be used" in done.stderr
    assert not (tmp_path / "venv").exists()
