"""A build that fails says last which chapter it was, which cell, why, and what to do."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("jupyter_book", reason="the book is built by jupyter-book")

ROOT = Path(__file__).parents[1]
CONFIG = "title: A book\nonly_build_toc_files: true\nexecute: {execute_notebooks: force, timeout: 10}\n"
CHAPTERS = {
    "good": ["x = 1"],
    "bad": ["x = 1", "# two lines\nx = 2\nassert x == 1, 'x is\\ntwo'", "x = 3"],
    "slow": ["x = 1", "import time\n\ntime.sleep(600)"],
}


def write_chapter(folder, name, sources):
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    code = {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": []}
    cells = [
        {"cell_type": "markdown", "id": "title", "metadata": {}, "source": f"# The {name} chapter\n\nText."}
    ]
    cells += [code | {"id": f"cell{i}", "source": source} for i, source in enumerate(sources)]
    notebook = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    folder.joinpath("notebooks", f"{name}.ipynb").write_text(json.dumps(notebook))


def say(folder):
    command = [sys.executable, ROOT / "book" / "failed_chapters.py", folder]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A book of three chapters, two of which fail."""
    folder = tmp_path_factory.mktemp("book")
    folder.joinpath("notebooks").mkdir()
    for name, sources in CHAPTERS.items():
        write_chapter(folder, name, sources)
    listed = "".join(f"- file: notebooks/{name}\n" for name in CHAPTERS)
    folder.joinpath("_config.yml").write_text(CONFIG)
    folder.joinpath("_toc.yml").write_text(f"format: jb-book\nroot: index\nchapters:\n{listed}")
    folder.joinpath("index.md").write_text("# A book\n")
    command = [Path(sys.executable).with_name("jupyter-book"), "build", "-W", "--keep-going", folder]
    assert subprocess.run(command, capture_output=True).returncode != 0
    return folder


def test_chapter_cell_reason_and_what_to_do(built):
    assert say(built) == [
        "",
        "notebooks/bad.ipynb (The bad chapter) failed in code cell 2 of 3, which begins",
        "    # two lines",
        "    x = 2",
        "    assert x == 1, 'x is\\ntwo'",
        "with",
        "    AssertionError: x is two",
        "notebooks/slow.ipynb (The slow chapter) failed in code cell 2 of 2, which begins",
        "    import time",
        "",
        "    time.sleep(600)",
        "with",
        "    A cell timed out while it was being executed, after 10 seconds.",
        "To see the book all the same, from the outputs that are stored in the notebooks: make preview",
        "To run a chapter by itself: make lab",
    ]


def test_a_build_that_fails_otherwise(tmp_path):
    assert say(tmp_path)[1].startswith("No chapter failed in running; the build's warnings above")


def test_make_book_ends_with_it():
    makefile = ROOT.joinpath("Makefile").read_text(encoding="utf-8")
    recipe = makefile.split("\nbook:")[1].split("\n\n")[0]
    assert "|| { $(BIN)/python book/failed_chapters.py; exit 1; }" in recipe
    assert recipe.index("rm -rf _build/html/reports") < recipe.index("$(BOOK)")  # those of an earlier build
