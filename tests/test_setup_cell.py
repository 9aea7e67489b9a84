"""The first cell of the notebooks finds the package, or installs it and leaves what is there alone."""

import importlib.util
import json
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from IPython.core.inputtransformer2 import TransformerManager
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(ROOT.joinpath("notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("setup_cell", ROOT / "book" / "setup_cell.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_has_it_below_the_title(script, path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert cells[1] == script.setup_cell(), "run `python book/setup_cell.py notebooks/*.ipynb`"


def test_it_is_put_in_once_and_the_others_are_counted_on(script):
    code = {"cell_type": "code", "id": "a", "execution_count": 1, "outputs": []}
    unrun = code | {"id": "b", "execution_count": None}
    title = {"cell_type": "markdown", "id": "t"}
    once = script.with_setup_cell({"cells": [title, code, unrun]})
    assert [cell["id"] for cell in once["cells"]] == ["t", "setup", "a", "b"]
    assert [cell.get("execution_count") for cell in once["cells"]] == [None, 1, 2, None]
    assert script.with_setup_cell(once) == once


@pytest.mark.parametrize("place", ["installed", "clone", "bare", "bare, beside a folder named repro"])
def test_what_it_installs(script, place, tmp_path, monkeypatch):
    """Run with a stand-in for pip."""
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    monkeypatch.chdir(notebooks)
    if place == "clone":
        tmp_path.joinpath("src", "repro").mkdir(parents=True)
    if place != "installed":
        folder = SimpleNamespace(origin=None) if "folder" in place else None
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: folder)
    asked, names = [], {}
    shell = SimpleNamespace(
        run_line_magic=lambda magic, line: asked.append(f"{magic} {line.format(**names)}")
    )
    code = TransformerManager().transform_cell("".join(script.setup_cell()["source"]))
    exec(code, names | {"get_ipython": lambda: shell}, names)

    address = yaml.safe_load(ROOT.joinpath("_config.yml").read_text(encoding="utf-8"))["repository"]["url"]
    source = {"installed": None, "clone": ".."}.get(place, f"{address}/archive/main.zip")
    assert asked == ([f"pip install --quiet {source}"] if source else [])


def test_packages_that_are_there_are_kept():
    """Lower bounds only, so pip has no reason to replace the torch that Colab has for its graphics cards."""
    project = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8"))["project"]
    ranges = {wanted.name: wanted.specifier for wanted in map(Requirement, project["dependencies"])}
    assert {bound.operator for specifier in ranges.values() for bound in specifier} == {">="}
    assert ranges["torch"].contains("2.6.0+cu124")
