"""Sphinx extension: the scorecard, made from `results/` and the numbers of the paper; none is typed twice."""

from pathlib import Path

from repro.experiments.scorecard import scorecard

PAGE = "book/scorecard"
PLACE = "<!-- scorecard -->"


def write_scorecard(app, docname, source):
    """Replace the placeholder of the page."""
    if docname == PAGE:
        source[0] = source[0].replace(PLACE, scorecard(Path(app.srcdir, "results")))


def page_is_outdated(app, env, added, changed, removed):
    """The page depends on the results, which Sphinx does not see."""
    return [PAGE] if PAGE in env.found_docs else []


def setup(app):
    app.connect("source-read", write_scorecard)
    app.connect("env-get-outdated", page_is_outdated)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
