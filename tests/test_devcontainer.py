"""The container that the repository opens in: its files, its commands and its Python."""

import json
import re
import subprocess

from helpers.paths import ROOT

FOLDER = ROOT / ".devcontainer"
CONTAINER = json.loads((FOLDER / "devcontainer.json").read_text(encoding="utf-8"))


def test_the_files_that_it_names_exist():
    build = CONTAINER["build"]
    dockerfile = FOLDER / build["dockerfile"]
    context = FOLDER / build["context"]
    assert context.resolve() == ROOT.resolve()
    copied = re.findall(r"^COPY (\S+)", dockerfile.read_text(encoding="utf-8"), re.MULTILINE)
    assert copied == ["tests/apt-packages.txt"]
    assert all((context / name).exists() for name in copied)


def test_its_python_is_one_that_the_workbook_supports():
    image = re.search(r"^FROM (\S+)", (FOLDER / "Dockerfile").read_text(encoding="utf-8"))[1]
    version = re.search(r"/python:(3\.\d+)-", image)[1]
    assert version in ("3.11", "3.12", "3.13")


def test_it_sets_up_the_environment_with_make():
    tool, target = CONTAINER["postCreateCommand"].split()
    assert tool == "make"
    done = subprocess.run(
        [tool, "--dry-run", "--always-make", target], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "-m pip install" in done.stdout and "-r requirements.txt" in done.stdout
    settings = CONTAINER["customizations"]["vscode"]["settings"]
    python = settings["python.defaultInterpreterPath"]
    assert python.removeprefix("${containerWorkspaceFolder}/") == ".venv/bin/python"
    assert target == ".venv/ready"


def test_it_forwards_the_port_of_jupyterlab():
    assert CONTAINER["forwardPorts"] == [8888]
    assert set(CONTAINER["portsAttributes"]) == {"8888"}
