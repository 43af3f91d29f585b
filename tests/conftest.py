"""What every test needs: one thread, a build folder of its own, and trained networks."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two threads on a busy machine only wait for each other
os.environ.setdefault("WORKBOOK_OFFLINE", "1")  # the images of the environment: the same on every machine

import pytest


@pytest.fixture(scope="session", autouse=True)
def build_folder(tmp_path_factory):
    """Everything that a test generates goes here: never into build/, where the real results are."""
    folder = tmp_path_factory.mktemp("build")
    os.environ["WORKBOOK_BUILD"] = str(folder)
    yield folder
    del os.environ["WORKBOOK_BUILD"]


@pytest.fixture(scope="session")
def quick_networks(build_folder):
    """LeNet and MnistNet, trained, and saved where training.trained finds them: {name: module}."""
    return {name: _saved(name) for name in ("lenet", "mnist_cnn")}


@pytest.fixture(scope="session")
def quick_depthwise(build_folder):
    """The depthwise network in the same way."""
    return _saved("depthwise")


def _saved(name):
    import shared_networks
    from helpers import training

    network, history = shared_networks.get(name)
    training.save(name, network, history)
    return network


def pytest_collection_modifyitems(items):
    """Mark what rests on trained networks: `make test-machines` runs that on many of them."""
    for item in items:
        if {"quick_networks", "quick_depthwise"} & set(item.fixturenames):
            item.add_marker("trained")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """With WORKBOOK_REQUIRE_ALL=1, a test that would be skipped fails: nothing may be missing there."""
    report = yield
    if report.skipped and os.environ.get("WORKBOOK_REQUIRE_ALL") == "1" and not hasattr(report, "wasxfail"):
        report.outcome, report.longrepr = "failed", f"skipped, but WORKBOOK_REQUIRE_ALL=1: {report.longrepr}"
    return report
