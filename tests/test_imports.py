"""Imports point one way only, and `import repro` stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "repro"

# From the bottom up: a module may import only from rows above its own in this table, so modules of one row
# know nothing of each other.
LAYERS = [
    {"atomic_files", "blocks", "devices", "errors", "images", "patterns", "presets"},
    {"degradations", "downloads", "losses", "picture_files", "pretrained", "sample_photos"},
    {"datasets", "metrics", "style_pictures", "transform_nets", "vgg_weights"},
    {"loss_network", "export", "tiles"},
    {"figures", "inference", "optimize_image", "training"},
    {"experiments"},
    {"cli"},
]
LEVEL = {name: level for level, row in enumerate(LAYERS) for name in row}
ONLY = {"figures": {"images"}}  # draws, never computes

HEAVY = ["matplotlib", "skimage", "torchvision", "torchmetrics", "scipy", "IPython", "typer", "rich"]


def unit(path):
    """The module or subpackage directly below `repro` that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_units(source, package):
    """Which units of repro a file imports, in any form and at any depth of its code.

    `package` is the dotted name of the package that the file is in. The name of the package itself stands for
    what is imported from `repro/__init__.py`.
    """
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join(parts + ([node.module] if node.module else []))
            names += [f"{base}.{alias.name}" for alias in node.names] if base == "repro" else [base]
    ours = [name.split(".") for name in names if name.split(".")[0] == "repro"]
    return {name[1] if len(name) > 1 else "repro" for name in ours}


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if unit(path) not in {"__init__", "__main__"})


@pytest.mark.parametrize(
    ("source", "package", "expected"),
    [
        ("import torch", "repro", set()),
        ("import repro.images as images", "repro", {"images"}),
        ("from repro.losses import gram_matrix", "repro", {"losses"}),
        ("from . import blocks, images", "repro", {"blocks", "images"}),
        ("from ..images import resize", "repro.experiments", {"images"}),
        ("from ...images import resize", "repro.experiments.support", {"images"}),
        ("from .canvas import grid", "repro.patterns", {"patterns"}),
        ("def f():\n    from repro import training", "repro", {"training"}),
        ("import repro", "repro", {"repro"}),
    ],
)
def test_reading_of_imports(source, package, expected):
    assert imported_units(source, package) == expected


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_point_down(path):
    name = unit(path)
    assert name in LEVEL, f"{name} has no place in the table of layers"
    package = ".".join(path.relative_to(PACKAGE.parent).parent.parts)
    imported = imported_units(path.read_text(encoding="utf-8"), package) - {name}
    allowed = {"__version__"} | ONLY.get(name, {other for other in LEVEL if LEVEL[other] < LEVEL[name]})
    assert imported <= allowed


def test_import_of_the_package_is_light():
    """Compared with what torch and Pillow load by themselves, so that only repro's own choices count."""
    code = "import sys, torch, PIL.Image; before = set(sys.modules); import repro"
    code += "; print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(result.stdout.split())
    assert "repro" in loaded
    assert loaded.isdisjoint(HEAVY)
