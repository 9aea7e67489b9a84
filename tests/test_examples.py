"""The examples of the docstrings, run as written."""

import doctest
from importlib import import_module
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

SOURCE = Path(__file__).parents[1] / "src"
MODULES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for path in (SOURCE / "repro").rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_show(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # an example may write a file
    found = doctest.testmod(import_module(name))
    plt.close("all")
    assert found.attempted
    assert not found.failed
