"""The numbers of the paper, from ``paper.toml`` beside this file: the only place where they are typed."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Any


@cache
def paper_numbers() -> dict[str, Any]:
    """Return the numbers of the paper by experiment, each table with ``source`` and ``certainty``."""
    file = resources.files(__package__) / "paper.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))
