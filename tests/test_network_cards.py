"""The page of the networks says what their cards say."""

import importlib
from pathlib import Path

import pytest

from repro.pretrained import card, shipped

BOOK = Path(__file__).parents[1] / "book"


@pytest.fixture
def extension(monkeypatch):
    monkeypatch.syspath_prepend(str(BOOK / "_ext"))  # as Sphinx does
    return importlib.import_module("network_cards")


def test_every_network_has_a_section_with_its_picture(extension):
    page = extension.write_cards(None, BOOK.joinpath("networks.md").read_text(encoding="utf-8"))
    assert "<!--" not in page
    for name in shipped():
        assert f"\n`{name}`\n" in page
        assert f"weights/{name}.jpg" in page
        assert f"* - weights\n  - {card(name)['parameters']:,}\n" in page
        assert f"{card(name)['stages'][-1]['steps']:,} steps of" in page


def test_what_a_card_says_is_read_out(extension):
    facts = card("great_wave")
    facts["started_from"] = {"network": "kelim", "weights": "x", "steps": 1500}
    facts["evaluation"] = {"objective": 170980.0, "tv": 9.0}
    layers = {"relu1_2": 1.0, "relu2_2": 3.0, "relu3_3": 1.0}
    facts["recipe"] = {**facts["recipe"], "loss": {**facts["recipe"]["loss"], "style_layers": layers}}
    rows = dict(extension.rows(facts))
    assert "Katsushika Hokusai, 1831; public domain" in rows["style picture"]
    assert rows["loss"].startswith("content `relu3_3` 1; style `relu1_2` 1, `relu2_2` 3, `relu3_3` 1;")
    assert rows["training"].endswith("began with the weights of `kelim` (1,500 steps)")
    one = {"steps": 900, "batch_size": 1, "size": 256, "schedule": "cosine", "seconds": 60.0}
    one |= {"optimizer": "muon", "learning_rate": 1.2e-3}
    facts["stages"] = [one]
    rows_of_one = dict(extension.rows(facts))
    assert rows_of_one["training"].startswith("900 steps of 1 photo of 256 px, Muon at 0.0012, cosine; began")
    assert rows_of_one["made on"].endswith(", 1 minutes")
    facts["stages"] = [one | {"optimizer": "adam", "batch_size": 4, "size": 128, "seconds": None}, one]
    rows_of_two = dict(extension.rows(facts))
    assert rows_of_two["training"].startswith(
        "1,800 steps in 2 stages: 900 steps of 4 photos of 128 px, Adam at 0.0012, cosine; 900 steps of 1 "
    )
    assert rows_of_two["made on"].endswith(", 1 minutes for the last stage")
    assert rows["objective, held out"] == "170,980"
    assert rows["photos"] == "1,431, and 16 others held out to judge by"
    assert not any(name.startswith("tv") for name in rows)
    judged = {"objective": 9.0, "psnr": 27.096, "feature/relu2_2": 67405.0}
    facts |= {"task": "super-resolution", "evaluation": judged}
    facts["recipe"] = {**facts["recipe"], "super_resolution": {"factor": 8}}
    facts["recipe"]["loss"] = {**facts["recipe"]["loss"], "pixel_weight": 1.0, "pixel_error": "absolute"}
    assert extension.title(facts) == "Super-resolution x8, feature and pixel loss"
    facts["recipe"]["loss"]["content_layers"] = {}
    assert extension.title(facts) == "Super-resolution x8, pixel loss"
    paper = {**facts, "recipe": {**facts["recipe"], "preset": "paper"}}
    assert extension.title(paper) == "Super-resolution x8, pixel loss, preset paper"
    rows = dict(extension.rows(facts))
    assert "style picture" not in rows
    assert "pixels 1, absolute error" in rows["loss"]
    assert rows["PSNR, held out"] == "27.1"
    assert rows["distance at `relu2_2`, held out"] == "67,405"
