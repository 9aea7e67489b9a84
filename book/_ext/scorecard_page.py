"""Sphinx extension: the scorecard, made from `results/` and the numbers of the paper; none is typed twice."""

from pathlib import Path

from compare_loss_networks import compare
from generated_page import setup_page

from repro.experiments.scorecard import scorecard

PAGE = "book/scorecard"
PLACE = "<!-- scorecard -->"
BESIDE = "<!-- beside -->"


def write_scorecard(app, text):
    """Replace the placeholders of the page."""
    results = Path(app.srcdir, "results")
    return text.replace(PLACE, scorecard(results)).replace(BESIDE, compare(results, results / "pocket"))


def setup(app):
    return setup_page(app, PAGE, write_scorecard)
