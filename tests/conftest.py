"""What every test needs: one thread, a build folder of its own, and networks that were trained in seconds."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two threads on a busy machine only wait for each other

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
    """Both networks, trained for seconds and saved where training.trained finds them: {name: module}."""
    return {name: _quickly_trained(name, epochs) for name, epochs in (("lenet", 8), ("mnist_cnn", 1))}


@pytest.fixture(scope="session")
def quick_depthwise(build_folder):
    """The depthwise network in the same way."""
    return _quickly_trained("depthwise", 2)


def _quickly_trained(name, epochs):
    import torch

    from helpers import training
    from helpers.data import mnist
    from helpers.models import BY_NAME

    torch.manual_seed(0)
    recipe = training.Recipe(**{**vars(training.RECIPES[name]), "epochs": epochs})
    network, history = training.train(BY_NAME[name](), mnist("train"), recipe, mnist("test"))
    training.save(name, network, history)
    return network


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """With WORKBOOK_REQUIRE_ALL=1, a test that would be skipped fails: nothing may be missing there."""
    report = yield
    if report.skipped and os.environ.get("WORKBOOK_REQUIRE_ALL") == "1" and not hasattr(report, "wasxfail"):
        report.outcome, report.longrepr = "failed", f"skipped, but WORKBOOK_REQUIRE_ALL=1: {report.longrepr}"
    return report
