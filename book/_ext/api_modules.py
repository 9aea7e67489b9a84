"""Sphinx extension: the API page lists every public module of `repro`, so that a new one needs no entry."""

import importlib
import pkgutil

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


def write_modules(app, docname, source):
    """Replace the placeholder of the API page by a table of modules and one section for each."""
    if docname == PAGE:
        names = public_modules(PACKAGE)
        table = TABLE.format(names="\n".join(f"   {name}" for name in names))
        source[0] = source[0].replace(PLACE, table + "".join(SECTION.format(name=name) for name in names))


def page_is_outdated(app, env, added, changed, removed):
    """The page depends on which modules there are, which Sphinx does not see."""
    return [PAGE] if PAGE in env.found_docs else []


def setup(app):
    app.connect("source-read", write_modules)
    app.connect("env-get-outdated", page_is_outdated)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
