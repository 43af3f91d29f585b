"""The examples in docstrings of what students call: each prints what it says."""

import doctest
import importlib

import pytest

MODULES = (
    "helpers.data.digits",
    "helpers.interactive.answers",
    "helpers.interactive.guesses",
    "helpers.intervals",
    "modelfiles.runtimes.model",
    "helpers.metrics.classification",
    "helpers.metrics.comparison",
    "helpers.metrics.complexity",
    "helpers.metrics.detection",
    "helpers.metrics.overlap",
    "helpers.data.download",
    "helpers.vision.boxes",
    "helpers.vision.fitting",
    "helpers.vision.stages",
    "helpers.vision.suppression",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
