"""Sphinx extension: the API page lists every public module of `repro`, so that a new one needs no entry."""

import importlib
import pkgutil

from generated_page import setup_page

PAGE = "book/api"
PLACE = "<!-- modules -->"
PACKAGE = "repro"

TABLE = """```{{eval-rst}}
.. autosummary::

{names}
```
"""
SECTION = """
## {name}

```{{eval-rst}}
.. automodule:: {name}
   :members:
```
"""


def public_modules(package: str) -> list[str]:
    """Dotted names of the package's modules and subpackages, without private ones, sorted."""
    path = importlib.import_module(package).__path__
    names = (module.name for module in pkgutil.walk_packages(path, f"{package}."))
    return sorted(name for name in names if not any(part.startswith("_") for part in name.split(".")))


def write_modules(app, text):
    """Replace the placeholder of the API page by a table of modules and one section for each."""
    names = public_modules(PACKAGE)
    table = TABLE.format(names="\n".join(f"   {name}" for name in names))
    return text.replace(PLACE, table + "".join(SECTION.format(name=name) for name in names))


def setup(app):
    return setup_page(app, PAGE, write_modules)
