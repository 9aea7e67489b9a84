"""Sphinx extension: the presets' tables, made from `repro.presets`, so that no number is typed twice."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from generated_page import setup_page

from repro.presets import PRESETS

PAGE = "book/differences"
PLACE = "<!-- presets: {} -->"
TASKS = {"style": "style transfer", "super_resolution": "super-resolution"}
PARTS = ("loss", "network", "training")


def written(value: Any) -> str:
    """A value as a reader would write it."""
    if isinstance(value, Mapping):
        return ", ".join(f"`{layer}` {weight:g}" for layer, weight in value.items()) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return f"`{value}`"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def table(task: str) -> str:
    """What the presets choose for a task, one row a setting."""
    lines = [f"| setting | {' | '.join(PRESETS)} |", "|---|" + "---|" * len(PRESETS)]
    for part in PARTS:
        configs = [getattr(getattr(preset, task), part) for preset in PRESETS.values()]
        for field in fields(configs[0]):
            values = [written(getattr(config, field.name)) for config in configs]
            lines.append(f"| `{part}.{field.name}` | {' | '.join(values)} |")
    return "\n".join(lines)


def sources() -> str:
    """Where every setting comes from, one entry a setting."""
    entries = []
    for part in PARTS:
        for field in fields(getattr(PRESETS["paper"].style, part)):
            entries.append(f"`{part}.{field.name}`")
            entries += [f": **{name}**: {field.metadata[name]}" for name in PRESETS]
            entries.append("")
    return "\n".join(entries)


def write_tables(app, text):
    """Replace the placeholders of the page."""
    for task in TASKS:
        text = text.replace(PLACE.format(task), table(task))
    return text.replace(PLACE.format("sources"), sources())


def setup(app):
    return setup_page(app, PAGE, write_tables)
