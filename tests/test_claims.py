"""The limits of claims about trained networks are at a safe distance, and `check` keeps them."""

import json
import shutil

import claims
import pytest
import shared_networks
import torch
from claims import CLAIMS, Claim, check

from helpers import training
from helpers.data import Images, mnist

EXAMPLE = {"accuracy": Claim(0.9, 0.01, least=0.8), "loss": Claim(0.2, 0.02, most=0.4)}


@pytest.mark.parametrize("name", CLAIMS)
def test_the_limit_is_four_standard_deviations_from_the_mean(name):
    claim = CLAIMS[name]
    assert (claim.least is None) != (claim.most is None), "one limit"
    assert claim.margin(claim.mean) >= 4, claim


@pytest.mark.parametrize("name, kept, broken", [("accuracy", 0.8, 0.79), ("loss", 0.4, 0.41)])
def test_a_figure_beyond_its_limit_fails(monkeypatch, name, kept, broken):
    monkeypatch.setattr(claims, "CLAIMS", EXAMPLE)
    monkeypatch.delenv("WORKBOOK_CLAIMS", raising=False)
    check(name, kept)
    with pytest.raises(AssertionError, match=f"{name}: {broken}, expected at"):
        check(name, broken)
    with pytest.raises(KeyError, match="unknown"):
        check("unknown", 1)


def test_a_figure_that_is_not_a_number_fails(monkeypatch):
    monkeypatch.setattr(claims, "CLAIMS", EXAMPLE)
    for name in EXAMPLE:
        with pytest.raises(AssertionError):
            check(name, float("nan"))


def test_what_is_measured_is_noted(monkeypatch, tmp_path):
    monkeypatch.setattr(claims, "CLAIMS", EXAMPLE)
    monkeypatch.setenv("WORKBOOK_CLAIMS", str(tmp_path / "notes.jsonl"))
    check("accuracy", 0.95)
    check("new", 3)
    with pytest.raises(AssertionError):
        check("loss", 1)
    notes = [json.loads(line) for line in (tmp_path / "notes.jsonl").read_text().splitlines()]
    assert notes == [
        {"claim": "accuracy", "value": 0.95},
        {"claim": "new", "value": 3},
        {"claim": "loss", "value": 1},
    ]


def test_margins():
    assert EXAMPLE["accuracy"].margin(0.85) == pytest.approx(5)
    assert EXAMPLE["loss"].margin(0.5) == pytest.approx(-5)
    assert Claim(1, 0, least=0.9).margin(1) == float("inf")


def test_stored_weights_are_those_that_were_described(monkeypatch, tmp_path):
    monkeypatch.delenv("WORKBOOK_TEST_SEED", raising=False)
    network, _ = shared_networks.get("lenet")
    about = json.loads(shared_networks.ABOUT.read_text(encoding="utf-8"))["lenet"]
    accuracy = training.evaluate(network, mnist("test")).value
    expected = pytest.approx(about["accuracy"], abs=0.003)
    assert accuracy == expected, "the images or the weights are other ones"
    for file in shared_networks.FOLDER.iterdir():
        shutil.copy(file, tmp_path)
    with (tmp_path / "lenet.npz").open("ab") as weights:
        weights.write(b"x")
    monkeypatch.setattr(shared_networks, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match="lenet.npz has changed .*git checkout"):
        shared_networks.get("lenet")


def test_a_seed_trains_instead(monkeypatch):
    monkeypatch.setenv("WORKBOOK_TEST_SEED", "7")
    monkeypatch.setitem(shared_networks.EPOCHS, "lenet", 1)
    train_set = mnist("train")
    few = Images(train_set.images[:128], train_set.labels[:128], "a few")
    monkeypatch.setattr(shared_networks, "mnist", lambda split: few)
    network, history = shared_networks.get("lenet")
    assert len(history.loss) == 1 and history.source == "a few"
    stored = shared_networks.stored("lenet")[0]
    assert not torch.equal(network.fc1.weight, stored.fc1.weight)
