"""Put the setup cell into notebooks: `python book/setup_cell.py notebooks/*.ipynb`; `make notebooks` runs it.

It is the first code cell of every notebook, the same in all of them, and gets the address of the repository
from `_config.yml`. Nothing is executed: a notebook that has its outputs keeps them.
"""

import json
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]

# What is there is kept: pip installs only what is missing or too old. A mere folder of the package's name,
# like a clone in the working directory, is found by find_spec too, but has no origin.
SOURCE = """\
# Where `repro` is missing, as in Colab, it is installed:
# from the clone around this notebook or from the web.
from importlib.util import find_spec
from pathlib import Path

if getattr(find_spec("repro"), "origin", None) is None:
    source = (
        ".."
        if Path("../src/repro").is_dir()
        else "ARCHIVE"
    )
    %pip install --quiet {source}"""


def archive() -> str:
    """Address of the package as pip takes it, an archive because not every machine has git."""
    repository = yaml.safe_load(ROOT.joinpath("_config.yml").read_text(encoding="utf-8"))["repository"]
    return f"{repository['url']}/archive/{repository['branch']}.zip"


def setup_cell() -> dict:
    """The cell as it is stored. The tag keeps it off the pages of the book, where it says nothing."""
    return {
        "cell_type": "code",
        "execution_count": 1,
        "id": "setup",
        "metadata": {"tags": ["remove-cell"]},
        "outputs": [],
        "source": SOURCE.replace("ARCHIVE", archive()).splitlines(keepends=True),
    }


def with_setup_cell(notebook: dict) -> dict:
    """The notebook with the cell below its title; where it is new, the other cells are counted from two."""
    title, *others = notebook["cells"]
    kept = [cell for cell in others if cell.get("id") != "setup"]
    if len(kept) == len(others):
        kept = [
            cell | {"execution_count": cell["execution_count"] + 1} if cell.get("execution_count") else cell
            for cell in kept
        ]
    return notebook | {"cells": [title, setup_cell(), *kept]}


def main(names: list[str]) -> None:
    for path in map(Path, names):
        stored = path.read_text(encoding="utf-8")
        written = json.dumps(with_setup_cell(json.loads(stored)), indent=1, ensure_ascii=False) + "\n"
        if written != stored:
            path.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
