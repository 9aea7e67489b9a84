"""Sphinx extension: the scorecard, made from `results/` and the numbers of the paper; none is typed twice."""

from pathlib import Path

from generated_page import setup_page

from repro.experiments.scorecard import scorecard

PAGE = "book/scorecard"
PLACE = "<!-- scorecard -->"


def write_scorecard(app, text):
    """Replace the placeholder of the page."""
    return text.replace(PLACE, scorecard(Path(app.srcdir, "results")))


def setup(app):
    return setup_page(app, PAGE, write_scorecard)
