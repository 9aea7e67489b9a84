"""Results of two loss networks beside each other: the rows that both have, and what is left out."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))  # as Sphinx does

from compare_loss_networks import ROWS, compare  # noqa: E402
from scorecard_page import write_scorecard  # noqa: E402


def _write(folder, name, loss_network, data, scale="book"):
    folder.mkdir(exist_ok=True)
    made_with = {"loss_network": {"name": loss_network, "layers": ["relu2_2"]}}
    result = {
        "scale": scale,
        "device": "CPU, 1 thread",
        "seconds": 2.0,
        "command": f"repro reproduce {name} --loss-network {loss_network}",
        "made_with": made_with,
        "data": data,
    }
    (folder / f"{name}.{scale}.json").write_text(json.dumps(result))


def _rows(name, data):
    return list(ROWS[name](data))


def test_a_table_has_the_rows_of_both(tmp_path):
    one = {"ends": {"base": {"objective": 4.0}, "padding": {"objective": 5.0}, "blocks": {"objective": 4.0}}}
    two = {"ends": {"base": {"objective": 10.0}, "padding": {"objective": 9.0}}}
    _write(tmp_path / "a", "ablations", "vgg16", one)
    _write(tmp_path / "b", "ablations", "pocket", two)
    _write(tmp_path / "b", "objective_curve", "pocket", {"sizes": []})  # is in one folder only
    text = compare(tmp_path / "a", tmp_path / "b")
    assert "| | `vgg16` | `pocket` |\n|---|---:|---:|\n" in text
    assert "| objective with the other padding | +25.0% | -10.0% |\n" in text
    assert "blocks" not in text
    assert text.count("###") == 1
    assert "--loss-network vgg16" in text and "--loss-network pocket" in text


def test_nothing_in_common_is_no_table(tmp_path):
    row = {"photo": "cat", "layer": "relu1_2", "psnr": 30.0}
    _write(tmp_path / "a", "feature_reconstruction", "vgg16", {"rows": [row]})
    _write(tmp_path / "b", "feature_reconstruction", "pocket", {"rows": [{**row, "layer": "relu5_3"}]})
    assert compare(tmp_path / "a", tmp_path / "b") == ""
    assert compare(tmp_path / "a", tmp_path / "missing") == ""


def test_a_damaged_result_is_named(tmp_path):
    (tmp_path / "ablations.book.json").write_text("{")
    with pytest.raises(ValueError, match=r"ablations\.book\.json: damaged"):
        compare(tmp_path, tmp_path)


def test_style_reconstruction_is_the_mean_over_styles_and_layers():
    rows = [
        {"style": "a", "layers": "all", "start": {"x": 10.0, "y": 4.0}, "end": {"x": 1.0, "y": 2.0}},
        {"style": "b", "layers": "all", "start": {"x": 10.0, "y": 4.0}, "end": {"x": 3.0, "y": 0.0}},
        {"style": "b", "layers": "x", "start": {"x": 10.0}, "end": {"x": 0.5}},
    ]
    assert _rows("style_reconstruction", {"rows": rows}) == [
        ("all, style loss left", "22 %"),
        ("x, style loss left", "5 %"),
    ]


def test_a_curve_that_never_crosses_says_so():
    found = {"baseline": {"mean": [9.0, 8.0, 7.0]}, "content": {"mean": 9.0}, "network": {"mean": 2.0}}
    data = {"sizes": [{"size": 32, "crossing": None, **found}, {"size": 64, "crossing": 2, **found}]}
    assert [value for _, value in _rows("objective_curve", data)] == ["not by 2", "4.5", "2", "4.5"]


def test_distances_of_super_resolution_are_shares_of_the_pixel_network():
    def row(method, feature, given="plain"):
        return {"factor": 4, "set": "set5", "input": given, "method": method, "feature": feature}

    means = [row("bicubic", 8.0), row("x4_pixel", 4.0), row("x4", 3.0), row("x4", 9.0, "blurred")]
    means[0] |= {"feature_relu3_3": 6.0}
    means[1] |= {"feature_relu3_3": 4.0}
    assert _rows("super_resolution", {"means": means}) == [
        ("x4, set5, bicubic over x4_pixel, distance at relu2_2", "2.00"),
        ("x4, set5, bicubic over x4_pixel, distance at relu3_3", "1.50"),
        ("x4, set5, x4 over x4_pixel, distance at relu2_2", "0.75"),
    ]


def test_every_table_is_on_the_page_of_the_scorecard():
    app = SimpleNamespace(srcdir=ROOT)
    page = write_scorecard(app, ROOT.joinpath("book", "scorecard.md").read_text(encoding="utf-8"))
    made = compare(ROOT / "results", ROOT / "results" / "pocket")
    assert made.count("###") == len(ROWS)
    assert made in page
