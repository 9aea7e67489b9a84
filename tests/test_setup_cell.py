"""The first cell of the notebooks finds the package, or installs it and leaves what is there alone."""

import importlib.util
import json
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from IPython.core.inputtransformer2 import TransformerManager
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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


ADDRESS = "https://github.com/owner/name"
WHEELS = ("perceptual_losses_repro-0.1.0-py3-none-any.whl", "perceptual_losses_repro-0.2.0-py3-none-any.whl")
PLACES = {
    "installed": None,
    "clone": "..[train,experiments]",
    "wheels": f"{WHEELS[1]}[train,experiments]",
    "clone, wheels": "..[train,experiments]",
    "bare": f"perceptual-losses-repro[train,experiments] @ {ADDRESS}/archive/main.zip",
    "bare, a folder named repro": f"perceptual-losses-repro[train,experiments] @ {ADDRESS}/archive/main.zip",
}


def asked_of_pip(code, place, folder, monkeypatch):
    """Run the cell in a notebook's folder, with a stand-in for pip; return what it was asked for."""
    notebooks = folder / "notebooks"
    notebooks.mkdir()
    monkeypatch.chdir(notebooks)
    if "clone" in place:
        folder.joinpath("src", "repro").mkdir(parents=True)
    if "wheels" in place:
        for name in WHEELS:
            notebooks.joinpath(name).touch()
    if place != "installed":
        found = SimpleNamespace(origin=None) if "folder" in place else None
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    asked, names = [], {}
    shell = SimpleNamespace(
        run_line_magic=lambda magic, line: asked.append(f"{magic} {line.format(**names)}")
    )
    exec(TransformerManager().transform_cell(code), names | {"get_ipython": lambda: shell}, names)
    return asked


@pytest.mark.parametrize(("place", "source"), PLACES.items(), ids=PLACES)
@pytest.mark.parametrize("address", [ADDRESS, ""], ids=["address", "no address"])
def test_what_it_installs(script, address, place, source, tmp_path, monkeypatch):
    code = script.source(address)
    if address == "" and "bare" in place:
        with pytest.raises(ModuleNotFoundError, match=r"clone of its repository.*\n.*pip wheel") as refusal:
            asked_of_pip(code, place, tmp_path, monkeypatch)
        assert len(str(refusal.value).splitlines()) == 2
    else:
        asked = asked_of_pip(code, place, tmp_path, monkeypatch)
        assert asked == ([f'pip install --quiet "{source}"'] if source else [])


@pytest.mark.parametrize("address", [ADDRESS, ""])
def test_it_names_no_place_but_the_projects(script, address):
    assert re.findall(r"https?://\S+", script.source(address)) == (
        [f'{ADDRESS}/archive/main.zip"'] if address else []
    )


def test_the_wheel_that_it_looks_for_is_the_one_that_is_made(script):
    name = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8"))["project"]["name"]
    wheel = f"{canonicalize_name(name).replace('-', '_')}-*.whl"
    assert f'glob("{wheel}")' in script.source("")


def test_packages_that_are_there_are_kept():
    """Lower bounds only, so pip has no reason to replace the torch that Colab has for its graphics cards."""
    project = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8"))["project"]
    ranges = {wanted.name: wanted.specifier for wanted in map(Requirement, project["dependencies"])}
    assert {bound.operator for specifier in ranges.values() for bound in specifier} == {">="}
    assert ranges["torch"].contains("2.6.0+cu124")
