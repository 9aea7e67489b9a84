"""Put the setup cell into notebooks: `python book/setup_cell.py notebooks/*.ipynb`; `make notebooks` runs it.

It is the first code cell of every notebook, the same in all of them. Where the project has an address, which
`make address` writes into `pyproject.toml`, the cell can install from there. Nothing is executed: a notebook
that has its outputs keeps them.
"""

import json
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
BRANCH = "main"
EXTRAS = "[train,experiments]"  # what the chapters need beside the package's core

# What is there is kept: pip installs only what is missing or too old. A mere folder of the package's name,
# like a clone in the working directory, is found by find_spec too, but has no origin.
SOURCE = """\
# Where `repro` is missing, it is installed: from the clone around
# this notebook{comma} from a wheel beside it{web}.
from importlib.util import find_spec
from pathlib import Path

if getattr(find_spec("repro"), "origin", None) is None:
    wheels = sorted(Path().glob("{wheel}-*.whl"))
    if Path("../src/repro").is_dir():
        source = "..{extras}"
    elif wheels:
        source = f"{{wheels[-1]}}{extras}"
    else:
{else}
    %pip install --quiet "{{source}}\""""
HELP = """\
        raise ModuleNotFoundError(
            "open this notebook in a clone of its repository; or put a wheel\\n"
            "beside it, as `pip wheel --no-deps .` makes there, and run again"
        )"""


def project() -> dict:
    return tomllib.loads(ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8"))["project"]


def archive(address: str) -> str:
    """Address of the package as pip takes it, an archive because not every machine has git."""
    return f"{address}/archive/{BRANCH}.zip"


def source(address: str) -> str:
    """The cell's code, with the project's address or, where that is empty, without."""
    parts = {
        "wheel": project()["name"].replace("-", "_"),
        "comma": "," if address else " or",
        "web": ", or from the web" if address else "",
        "extras": EXTRAS,
        "else": f'        source = "{project()["name"]}{EXTRAS} @ {archive(address)}"' if address else HELP,
    }
    return SOURCE.format(**parts)


def setup_cell() -> dict:
    """The cell as it is stored. The tag keeps it off the pages of the book, where it says nothing."""
    return {
        "cell_type": "code",
        "execution_count": 1,
        "id": "setup",
        "metadata": {"tags": ["remove-cell"]},
        "outputs": [],
        "source": source(project()["urls"].get("Source", "")).splitlines(keepends=True),
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
