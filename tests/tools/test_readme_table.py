"""The table of the README: what it holds, and that it is the one of the stored results."""

import json

import pytest
import readme_table
from readme_table import HEADLINES, MARKS, ROOT, with_headlines

from repro.experiments.scorecard import COMPARE, paper_numbers


def growth(folder):
    """Write a result with two rows, one of which is a headline."""
    folder.mkdir()
    result = {"made_with": {}, "data": {"growth": {"full": 2.0, "quarter": 8.0}}}
    folder.joinpath("receptive_field.book.json").write_text(json.dumps(result))


def test_headlines_are_written_between_the_marks_of_a_page(tmp_path):
    growth(tmp_path / "results")
    text = f"# Before\n\n{MARKS[0]}old\n{MARKS[1]}\nafter\n"
    page = with_headlines(text, tmp_path / "results")
    assert page.startswith(f"# Before\n\n{MARKS[0]}\nOf 2 comparisons")
    assert page.endswith(f"{MARKS[1]}\nafter\n")
    assert "old" not in page
    assert "| growth by a 3x3 convolution, after downsampling by 4 | 8 px | 8 px | agrees |\n" in page
    assert "at full size" not in page  # no headline
    assert with_headlines(page, tmp_path / "results") == page
    with pytest.raises(ValueError, match="no <!-- scorecard -->"):
        with_headlines("# Nothing\n", tmp_path / "results")


def test_every_headline_is_a_row_of_the_scorecard():
    """So that none is left out because a word of it changed."""
    paper = paper_numbers()
    psnr = {"psnr": 1.0, "ssim": 0.1, "paper": {"psnr": 1.0, "ssim": 0.1}}
    data = {
        "objective_curve": {
            "sizes": [
                {
                    "size": 256,
                    "photos": ["a", "b"],
                    "crossing": 60,
                    "baseline": {"mean": [1.0] * 101},
                    "content": {"mean": 2.0},
                    "network": {"mean": 1.0},
                }
            ]
        },
        "speed": {
            "sizes": [{"size": 256, "speedup": {str(n): 1.0 for n in paper["speed"]["iterations"]}}],
        },
        "super_resolution": {
            "means": [
                {"factor": s, "set": "set5", "method": method, **psnr}
                for s in (4, 8)
                for method in ("bicubic", f"x{s}_relu2_2", f"x{s}_pixel")
            ],
            "off": {},
        },
        "receptive_field": {"growth": {"full": 2, "quarter": 8}},
    }
    rows = {row.what for name, found in data.items() for row in COMPARE[name](found)}
    assert set(HEADLINES) <= rows


def test_the_table_of_the_readme_is_that_of_the_stored_results():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text == with_headlines(text, ROOT / "results"), "run: python tools/readme_table.py"


def test_the_script_writes_into_the_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{MARKS[0]}old\n{MARKS[1]}after\n")
    readme_table.main(page)
    assert page.read_text() == with_headlines(page.read_text(), ROOT / "results")
    assert "old" not in page.read_text()
