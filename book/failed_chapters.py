"""Say which chapters failed in a build, in which cell and why; `make book` ends with it.

Jupyter Book leaves a report for each of them under `_build/html/reports` and goes on; its warning is one line
among a thousand.
"""

import json
import re
import sys
from pathlib import Path
from textwrap import indent, shorten

ROOT = Path(__file__).parents[1]
ADVICE = """\
To see the book all the same, from the outputs that are stored in the notebooks: make preview
To run a chapter by itself: make lab
"""
# A cell between two lines of dashes: all of it, or of one that took too long five lines of each end.
CELL = re.compile(r"(?:following cell|cell contents):\n-+\n(.*?)\n-+\n", re.DOTALL)


def number_of(cell: str, notebook: Path) -> str:
    """Which of the notebook's code cells it is, as "3 of 16"."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]).strip() for cell in cells if cell["cell_type"] == "code"]
    begin = cell.split("\n")[:5]
    numbers = [i for i, source in enumerate(sources, start=1) if source.split("\n")[:5] == begin]
    return f"{numbers[0]} of {len(sources)}"


def reason(report: str) -> str:
    """The error itself: its last paragraph, or that the cell took too long."""
    found = re.search(r"A cell timed out .*", report)
    return found[0] if found else shorten(report.strip().split("\n\n")[-1], 300)


def describe(report: Path, reports: Path, root: Path) -> str:
    """What failed, in a few lines."""
    text = re.sub(r"\x1b\[[\d;]*m", "", report.read_text(encoding="utf-8"))
    name = report.relative_to(reports).as_posix().removesuffix(".err.log")
    notebook = root / f"{name}.ipynb"
    title = "".join(json.loads(notebook.read_text(encoding="utf-8"))["cells"][0]["source"]).split("\n")[0]
    found = CELL.search(text)
    where = "before its first cell"
    if found:
        first = indent("\n".join(found[1].split("\n")[:3]), "    ")
        where = f"in code cell {number_of(found[1], notebook)}, which begins\n{first}\nwith"
    return f"{name}.ipynb ({title.lstrip('# ')}) failed {where}\n    {reason(text)}"


def main(root: Path = ROOT) -> None:
    reports = root / "_build" / "html" / "reports"
    failed = [describe(report, reports, root) for report in sorted(reports.rglob("*.err.log"))]
    if not failed:
        failed = ["No chapter failed in running; the build's warnings above say what is wrong."]
    print("", *failed, ADVICE, sep="\n", end="")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
