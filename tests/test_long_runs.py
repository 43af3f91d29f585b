"""helpers.long_runs: answers come back as they were stored, and a damaged file is not used."""

import json

import numpy as np
import pytest

from helpers import long_runs

LABELS = np.array([0, 9, 3])
RUNS = {
    "seed 0": {"float": np.array([0, 9, 3]), "3 bits": np.array([1, 2, 3])},
    "seed 1": {"float": LABELS},
}


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "new folder" / "runs.json"
    long_runs.store(path, LABELS, RUNS, {"data": "three digits"})
    return path


def names_in(runs: dict) -> dict[str, list[str]]:
    """{run: the names of its answers, in their order}."""
    return {run: list(answers) for run, answers in runs.items()}


def test_what_is_stored_comes_back(stored):
    labels, runs, about = long_runs.load(stored)
    assert labels.tolist() == [0, 9, 3]
    assert about["data"] == "three digits"
    assert about["date"] > "2026"
    assert names_in(runs) == names_in(RUNS)
    np.testing.assert_array_equal(runs["seed 0"]["3 bits"], [1, 2, 3])
    assert len(stored.read_text().splitlines()) == 5  # a line per run, so that changes can be read


@pytest.mark.parametrize(
    "change, why",
    [
        (lambda s: s["about"].pop("date"), "does not say date"),
        (lambda s: s.update(labels="09"), "does not answer all images"),
        (lambda s: s["runs"][0]["answers"].update(float="0x3"), "not digits"),
        (lambda s: s.update(labels=[0, 9, 3]), "'isascii'"),
        (lambda s: s.pop("runs"), "'runs'"),
    ],
)
def test_a_damaged_file_is_not_used(stored, change, why):
    content = json.loads(stored.read_text())
    change(content)
    stored.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"Cannot use runs.json: .*{why}.*Run `make figures`"):
        long_runs.load(stored)


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="Run `make figures`"):
        long_runs.load(tmp_path / "none.json")


ROWS = [{"seed": 0, "AP": [0.6, 0.58, 0.62]}, {"seed": 1, "AP": [0.61, 0.59, 0.63]}]


def test_rows_of_figures_come_back_with_their_origin(tmp_path):
    path = tmp_path / "new folder" / "rows.json"
    long_runs.store_rows(path, ROWS, {"torch": "2"})
    rows, about = long_runs.load_rows(path)
    assert rows == ROWS
    assert about["torch"] == "2" and about["machine"] and about["commit"]
    assert len(path.read_text().splitlines()) == 5


def test_the_origin_is_known_without_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    long_runs.store_rows(tmp_path / "rows.json", ROWS, {})
    assert long_runs.load_rows(tmp_path / "rows.json")[1]["commit"] == "unknown"


@pytest.mark.parametrize(
    "change, why",
    [
        (lambda s: s["about"].pop("machine"), "does not say machine"),
        (lambda s: s["rows"].clear(), "no rows"),
        (lambda s: s["rows"][1].pop("AP"), "a row lacks a figure"),
    ],
)
def test_damaged_rows_are_not_used(tmp_path, change, why):
    path = tmp_path / "rows.json"
    long_runs.store_rows(path, ROWS, {})
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"Cannot use rows.json: .*{why}.*Run `make figures`"):
        long_runs.load_rows(path)
