"""Fixtures for all tests: one thread, a separate build folder, and trained networks."""

import os
import shutil

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # two threads on a busy machine only wait for each other
os.environ.setdefault(
    "WORKBOOK_OFFLINE", "1"
)  # the images of the environment: the same on every machine

import pytest
from filelock import FileLock

LONGEST = [
    "test_notebooks.py",
    "test_solutions.py",
    "test_labs.py",
    "test_emulated_pi.py",
    "test_pi.py",
    "test_grading.py",
]


@pytest.fixture(scope="session", autouse=True)
def build_folder(tmp_path_factory):
    """Everything that a test generates goes here: never into build/, where the real results are."""
    folder = tmp_path_factory.mktemp("build")
    os.environ["WORKBOOK_BUILD"] = str(folder)
    yield folder
    del os.environ["WORKBOOK_BUILD"]


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory, worker_id):
    """A folder that all processes of one test run share."""
    own = tmp_path_factory.getbasetemp()
    return own if worker_id == "master" else own.parent


@pytest.fixture(scope="session")
def quick_networks(build_folder, shared_folder):
    """LeNet and MnistNet, trained, and saved where training.trained finds them: {name: module}."""
    return {name: _trained(name, shared_folder) for name in ("lenet", "mnist_cnn")}


@pytest.fixture(scope="session")
def quick_depthwise(build_folder, shared_folder):
    """The depthwise network in the same way."""
    return _trained("depthwise", shared_folder)


@pytest.fixture(scope="session")
def shared_files(quick_networks, shared_folder):
    """Model files of these two networks, which all processes of one test run share."""
    from shared_files import SharedFiles

    folder = shared_folder / "model_files"
    folder.mkdir(exist_ok=True)
    return SharedFiles(quick_networks, folder)


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; the test is skipped if none is installed."""
    from playwright.sync_api import sync_playwright
    from ssh_servers import INSTALL

    from workbook.site import printing

    if not printing.chromium():
        pytest.skip(f"chromium is missing: {INSTALL}")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=printing.chromium(), args=printing.FLAGS
        )
        yield chromium
        chromium.close()


def _trained(name, shared_folder):
    """A network that is trained once per run, by the process that asks first."""
    import shared_networks

    from helpers import training
    from helpers.paths import build_path

    kept = shared_folder / f"{name}.pt"
    with FileLock(f"{kept}.lock"):
        if not kept.exists():
            training.save(name, *shared_networks.get(name))
            shutil.copy(build_path("models", kept.name), kept)
    shutil.copy(kept, build_path("models", kept.name))
    return training.trained(name)


def pytest_collection_modifyitems(config, items):
    """Mark what rests on trained networks, and drop what only `make test-all` runs.

    `make test-machines` runs the marked tests on many networks. The files that take longest come
    first: so two processes end at about the same time.
    """
    for item in items:
        if {"quick_networks", "quick_depthwise"} & set(item.fixturenames):
            item.add_marker("trained")
    if not os.path.isdir(os.path.join(os.environ.get("WORKBOOK_DATA", ""), "coco")):
        without = pytest.mark.skip(reason="WORKBOOK_DATA names no folder with the shared data")
        for item in items:
            if item.get_closest_marker("data"):
                item.add_marker(without)
    if os.environ.get("WORKBOOK_ALL_TESTS") != "1":
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else 99)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """With WORKBOOK_REQUIRE_ALL=1, a test that would be skipped fails: nothing may be missing.

    Except for data that others own, which no command can install.
    """
    report = yield
    if (
        report.skipped
        and os.environ.get("WORKBOOK_REQUIRE_ALL") == "1"
        and not hasattr(report, "wasxfail")
        and not item.get_closest_marker("data")
    ):
        report.outcome, report.longrepr = (
            "failed",
            f"skipped, but WORKBOOK_REQUIRE_ALL=1: {report.longrepr}",
        )
    return report
