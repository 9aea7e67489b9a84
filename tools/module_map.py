"""Write the map of the package's modules into CONTRIBUTING.md: `python tools/module_map.py`.

The line of a module is the first of its docstring. A test asks whether the map is up to date.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "repro"
PAGE = ROOT / "CONTRIBUTING.md"
BEGIN, END = "<!-- modules -->\n", "<!-- end of modules -->\n"


def summary(path: Path) -> str:
    """Return the first line of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return re.sub(r":\w+:|`(?=`)|(?<=`)`", "", text.split("\n")[0]).rstrip(".")


def module_map() -> str:
    """Return the table: a row for each module, and one for all patterns."""
    rows = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if path.name == "__init__.py":
            name = name.removesuffix("__init__.py") or "__init__.py"
        if name.startswith("patterns/") and path.name != "__init__.py":
            continue
        rows.append(f"| `{name}` | {summary(path)} |")
    return "\n".join(["| module | holds |", "|---|---|", *rows]) + "\n"


def written(page: str) -> str:
    """Return the page with the map between its two marks."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{module_map()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
