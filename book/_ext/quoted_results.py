"""Sphinx role: prose quotes a number from the file that it was measured into, so that none is typed.

    {result}`speed.book.json:data.sizes.size=256.speedup.500:,.0f`

is a file of `results/` or a network's card, the way to the value, and optionally a format as Python has it.
The way goes down by keys; in a list of rows by `field=value`, several joined by `&`, which must fit one row;
in a list of values by position. ` / 60` after it divides the value. What is not there is a warning, and with
warnings as errors there is no book.
"""

import json
from pathlib import Path

from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

FOLDERS = ("results", "src/repro/weights")

logger = logging.getLogger(__name__)


def step(value, part):
    """What a dictionary or list holds under one part of the way; LookupError says what else there is."""
    if isinstance(value, list) and "=" in part:
        wanted = dict(condition.split("=", 1) for condition in part.split("&"))
        rows = [row for row in value if all(str(row.get(key)) == text for key, text in wanted.items())]
        if len(rows) != 1:
            raise LookupError(f"{len(rows)} of {len(value)} rows have {part}")
        return rows[0]
    if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
        return value[int(part)]
    if isinstance(value, dict) and part in value:
        return value[part]
    there = f"one of {', '.join(value)}" if isinstance(value, dict) else f"a {type(value).__name__}"
    raise LookupError(f"no {part!r}, but {there}")


def source(root: Path, name: str) -> Path:
    """The file of that name in one of the folders."""
    for folder in FOLDERS:
        if (path := root / folder / name).is_file():
            return path
    raise LookupError(f"no file {name!r} in {' or '.join(FOLDERS)}")


def quote(root: Path, text: str) -> str:
    """The quoted value as the page shows it.

    Raises:
        LookupError: no such file or value.
        ValueError: the format or the divisor does not suit the value.
    """
    name, way, form = [*text.split(":", 2), "", ""][:3]
    value = json.loads(source(root, name).read_text(encoding="utf-8"))
    way, _, divisor = way.partition(" / ")
    for part in way.split("."):
        value = step(value, part)
    if isinstance(value, dict | list):
        raise LookupError(f"{way!r} is not a single value")
    try:
        return format(value / float(divisor) if divisor else value, form)
    except TypeError as error:
        raise ValueError(f"{value!r}: {error}") from error


class Result(SphinxRole):
    def run(self):
        root = Path(self.env.srcdir)
        try:
            shown = quote(root, self.text)
        except (LookupError, ValueError) as error:
            logger.warning("result %s: %s", self.text, error.args[0], location=self.get_location())
            shown = "?"
        else:  # a page is made again when the file changes
            self.env.note_dependency(str(source(root, self.text.split(":")[0])))
        return [nodes.Text(shown)], []


def setup(app):
    app.add_role("result", Result())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
