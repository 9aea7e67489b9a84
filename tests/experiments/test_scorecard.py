"""The scorecard: verdicts on results whose numbers are known, and what it says where there are none."""

import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from repro import experiments
from repro.experiments.scorecard import (
    COMPARE,
    paper_numbers,
    scorecard,
)


def _write(folder, name, data, scale="book", **made_with):
    content = {
        "name": name,
        "scale": scale,
        "device": "CPU, 2 threads",
        "seconds": 12.3,
        "command": f"repro reproduce {name} --scale {scale} --loss-network pocket",
        "made_with": made_with,
        "data": data,
    }
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.{scale}.json").write_text(json.dumps(content))


def _rows(name, data):
    return [tuple(row) for row in COMPARE[name](data)]


def test_without_results_it_says_so(tmp_path):
    text = scorecard(tmp_path / "missing")
    assert text.startswith("No result is stored yet")
    for name in COMPARE:
        assert f"`repro reproduce {name}` makes one" in text


def test_the_paper_is_named_for_every_experiment_that_is_compared():
    for name in COMPARE:
        assert {"source", "certainty"} <= set(paper_numbers()[name])
        assert name in experiments.EXPERIMENTS


def test_the_largest_scale_is_taken_and_described(tmp_path):
    network = {"name": "pocket", "layers": ["relu2_2"], "weights": "x"}
    for scale, growth in (("paper", 2.0), ("book", 9.0), ("smoke", 9.0)):
        _write(
            tmp_path,
            "receptive_field",
            {"growth": {"full": growth, "quarter": 8.0}},
            scale,
            loss_network=network,
        )
    result = experiments.load_results(tmp_path)["receptive_field"]
    assert result.provenance["scale"] == "paper"
    assert result.loss_network == network
    text = scorecard(tmp_path)
    assert "Of 2 comparisons with a number of the paper: 2 agree." in text
    assert "(scale paper; CPU, 2 threads; loss network `pocket` at `relu2_2`; 12 s)\n" in text
    assert "| growth by a 3x3 convolution, at full size | 2 px | 2 px | agrees |" in text


def test_super_resolution():
    paper = {"psnr": 28.43, "ssim": 0.8114}
    means = [
        {"factor": 4, "set": "set5", "method": "bicubic", "psnr": 28.42, "ssim": 0.79, "paper": paper},
        {
            "factor": 4,
            "set": "set5",
            "method": "x4",
            "psnr": 30.0,
            "ssim": 0.8,
            "paper": paper,
        },  # not its method
        {"factor": 4, "set": "set5", "method": "x4_relu2_2", "psnr": 29.0, "ssim": 0.75, "paper": paper},
        {"factor": 4, "set": "mine", "method": "bicubic", "psnr": 20.0, "ssim": 0.5, "paper": None},
    ]
    off = {
        "x4": [{"protocol": "a", "psnr": 0.01, "ssim": 0.02}, {"protocol": "c", "psnr": 0.5, "ssim": 0.01}],
        "x8": [{"protocol": "b", "psnr": 1.2, "ssim": 0.1}],
    }
    assert _rows("super_resolution", {"means": means, "off": off}) == [
        ("x4, set5, bicubic, PSNR", "28.43 dB", "28.42 dB", "agrees"),
        ("x4, set5, bicubic, SSIM", "0.8114", "0.7900", "differs"),
        ("x4, set5, x4_relu2_2, PSNR", "28.43 dB", "29.00 dB", "better"),
        ("x4, set5, x4_relu2_2, SSIM", "0.8114", "0.7500", "worse"),
        ("x4, all bicubic rows, protocol nearest in PSNR: a", "", "0.01 dB off", "agrees"),
        ("x4, all bicubic rows, protocol nearest in SSIM: c", "", "0.0100 off", "differs"),
        ("x8, all bicubic rows, protocol nearest in PSNR: b", "", "1.20 dB off", "differs"),
        ("x8, all bicubic rows, protocol nearest in SSIM: b", "", "0.1000 off", "differs"),
    ]


@pytest.mark.parametrize(
    ("crossing", "last", "verdict"),
    [
        (49, 500, "worse"),
        (50, 500, "agrees"),
        (100, 500, "agrees"),
        (101, 500, "better"),
        (None, 500, "better"),
        (None, 60, "differs"),
    ],
)
def test_crossing(crossing, last, verdict):
    found = {
        "size": 128,
        "photos": ["a"],
        "crossing": crossing,
        "baseline": {"mean": [1.0] * (last + 1)},
        "network": {"mean": 1.0},
        "content": {"mean": 9.0},
    }
    (row,) = _rows("objective_curve", {"sizes": [found]})
    assert row[1:] == ("50 to 100", f"not by {last}" if crossing is None else str(crossing), verdict)
    ratio = _rows("objective_curve", {"sizes": [{**found, "size": 256, "photos": ["a", "b"]}]})[1]
    assert ratio == ("256 px, 2 photos, objective of photo over network", "8.9", "9.0", "agrees")


def test_speed():
    found = {"size": 256, "speedup": {"100": 212.0, "300": 5000.0, "500": 10.0}}
    rows = _rows("speed", {"sizes": [found, {**found, "size": 128}]})
    assert [row[1:] for row in rows] == [
        ("212", "212", "agrees"),
        ("636", "5000", "better"),
        ("1060", "10", "worse"),
    ]


def test_a_wrong_count_is_seen():
    data = {"rows": [{"case": "block", "multiplications": 8_000_000}], "formula": {"block": 9_000_000}}
    assert _rows("cost", data) == [("million multiplications, block", "9", "8", "differs")]


def test_a_smoke_run_is_not_compared(tmp_path):
    _write(tmp_path, "receptive_field", {"growth": {"full": 2.0, "quarter": 8.0}}, "smoke")
    assert experiments.load_results(tmp_path) == {}


def test_the_page_is_made_from_the_stored_results(tmp_path, monkeypatch):
    book = Path(__file__).parents[2] / "book"
    monkeypatch.syspath_prepend(str(book / "_ext"))  # as Sphinx does
    extension = importlib.import_module("scorecard_page")
    page = book.joinpath("scorecard.md").read_text()
    _write(tmp_path / "results", "receptive_field", {"growth": {"full": 2.0, "quarter": 8.0}})
    made = extension.write_scorecard(SimpleNamespace(srcdir=tmp_path), page)
    assert extension.PLACE in page
    assert extension.BESIDE in page
    made_here = page.replace(extension.PLACE, scorecard(tmp_path / "results"))
    assert made == made_here.replace(extension.BESIDE, "")  # nothing is stored of another loss network
    assert "| agrees |" in made


@pytest.mark.parametrize("text", ["{", "{}"])
def test_a_damaged_result_is_named(tmp_path, text):
    (tmp_path / "cost.book.json").write_text(text)
    with pytest.raises(ValueError, match=r"cost\.book\.json: damaged"):
        scorecard(tmp_path)
