"""Write the table of the README anew from the stored results: `python tools/readme_table.py`."""

import sys
from pathlib import Path

from repro.atomic_files import atomic_path
from repro.experiments.scorecard import rows_of, summary, table

ROOT = Path(__file__).resolve().parents[1]
MARKS = ("<!-- scorecard -->\n", "<!-- end of scorecard -->\n")
HEADLINES = (
    "256 px, 2 photos, iterations that the network is worth",
    "256 px, 2 photos, objective of photo over network",
    "256 px, speed-up over 500 iterations",
    *(
        f"x{s}, set5, {method}, PSNR"
        for s in (4, 8)
        for method in ("bicubic", f"x{s}_pixel", f"x{s}_relu2_2")
    ),
    "growth by a 3x3 convolution, after downsampling by 4",
)


def headlines(folder: Path) -> str:
    """Return a table in Markdown of the rows of :data:`HEADLINES` that the results in ``folder`` have."""
    found = [row for rows in rows_of(folder).values() for row in rows]
    by_name = {row.what: row for row in found}
    return f"{summary(found)}\n\n{table([by_name[what] for what in HEADLINES if what in by_name])}\n"


def with_headlines(text: str, folder: Path) -> str:
    """Return a page with what is between its two :data:`MARKS` made anew by :func:`headlines`.

    Raises:
        ValueError: the page has no place for it, or a result is damaged.
    """
    before, begin, rest = text.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not begin or not end:
        raise ValueError(f"the page has no {MARKS[0].strip()} and {MARKS[1].strip()} to write between")
    return f"{before}{begin}\n{headlines(folder)}\n{end}{after}"


def main(page: Path = ROOT / "README.md") -> None:
    text = with_headlines(page.read_text(encoding="utf-8"), ROOT / "results")
    with atomic_path(page) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
