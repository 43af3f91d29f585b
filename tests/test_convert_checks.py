"""How answers are compared, the process that opens files, and random networks through all of it."""

import re
import time

import numpy as np
import pytest
from fuzz import networks
from test_convert import EXAMPLE, Calls, images

from helpers import convert
from helpers.errors import ConversionError
from modelfiles.conversion import compare
from modelfiles.conversion.opener import Opener, opener


@pytest.mark.parametrize(
    "found, wanted, fault",
    [
        ([[1.0, 2.0]], [[1.0, 2.001]], None),
        ([[1.0, 2.0]], [[1.0, 2.01]], "an output is off by 0.01; .*largest output .* is 2.01"),
        ([[1.0], [5.0]], [[1.0], [6.0]], "off by 1; .* is 6"),
        ([[0.001], [100.0]], [[0.0], [100.0]], "off by 0.001"),
        ([[1e-7], [1.0]], [[0.0], [1.0]], None),
        ([[0.0]], [[0.0]], None),
        ([[np.nan]], [[0.0]], "NaN"),
        ([[[1.0, 2.0]]], [[1.0, 2.0]], r"shape \(1, 1, 2\), the network's \(1, 2\)"),
    ],
)
def test_float_answers(found, wanted, fault):
    said = compare.float_fault(np.float32(found), np.float32(wanted))
    assert said is None if fault is None else re.search(fault, said)


def test_int8_answers():
    wanted = images(32, size=3).reshape(32, 9)
    good = {"rounded": np.round(wanted, 1), "clipped": np.clip(wanted, -1.5, 1.5)}
    bad = {
        "mean of each output": 0 * wanted + wanted.mean(axis=0),
        "other order": wanted[::-1],
        "all zero": 0 * wanted,
        "NaN": wanted * np.nan,
        "shape": wanted[:, None],
    }
    for name, found in good.items():
        assert compare.int8_fault(found, wanted) is None, name
    for name, found in bad.items():
        assert compare.int8_fault(found, wanted), name
    constant = np.ones((4, 2))
    assert compare.int8_fault(constant, constant) is None


def test_a_file_that_ends_the_process_is_reported_and_the_next_one_opens(tmp_path):
    onnx_file = convert.to_onnx(Calls(), EXAMPLE, tmp_path / "a.onnx")
    process = Opener(".onnx")
    process._process.kill()
    with pytest.raises(ConversionError, match="ends the process (.*9|.*exit status 1)"):
        process.answers(onnx_file, images())
    process.close()
    (tmp_path / "half.onnx").write_bytes(onnx_file.read_bytes()[:500])
    with opener(".onnx") as process:
        with pytest.raises(ConversionError, match="cannot be loaded"):
            process.input_shape(tmp_path / "half.onnx")
        assert process.input_shape(onnx_file) == (1, 1, 8, 8)


def test_files_for_torch_share_one_process():
    found = []
    for suffix in (".pt2", ".pte"):
        with opener(suffix) as process:
            found.append(process)
    assert found[0] is found[1]
    found[0]._process.kill()
    while found[0].is_running:
        time.sleep(0.01)
    with opener(".pt2") as process:
        assert process is not found[0] and process.is_running


# three of them try each form once
SEEDS = [0, 1, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 10))]


@pytest.mark.parametrize("seed", SEEDS)
def test_random_networks(seed, tmp_path):
    """A third of the forms each; `make fuzz` tries them all on 200 networks."""
    outcomes = networks.try_network(seed, tmp_path, networks.FORMS[seed % 3 :: 3])
    for form, outcome in outcomes.items():
        assert outcome.split(":")[0] in ("right", "refused"), (form, outcome)
    has_branch = type(networks.network(seed)[0]).__name__ == "Branches"  # it depends on the pixels
    assert ("right" in outcomes.values()) != has_branch
