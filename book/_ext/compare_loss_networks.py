"""The same experiments with two loss networks: how far their results agree, as a table in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from repro.experiments import EXPERIMENTS, load_results
from repro.figures import Table


def _feature_reconstruction(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for row in data["rows"]:
        yield f"{row['photo']}, from {row['layer']}, PSNR of the picture found", f"{row['psnr']:.1f} dB"


def _style_reconstruction(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    left: dict[str, list[float]] = {}
    for row in data["rows"]:
        left.setdefault(row["layers"], []).extend(row["end"][x] / row["start"][x] for x in row["end"])
    for layers, shares in left.items():
        yield f"{layers}, style loss left", f"{100 * statistics.fmean(shares):.2g} %"


def _ablations(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    base = data["ends"]["base"]["objective"]
    for name, end in data["ends"].items():
        if name != "base":
            yield f"objective with the other {name}", f"{end['objective'] / base - 1:+.1%}"


def _objective_curve(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for found in data["sizes"]:
        last = len(found["baseline"]["mean"]) - 1
        crossing = f"not by {last}" if found["crossing"] is None else str(found["crossing"])
        yield f"{found['size']} px, iterations that the network is worth", crossing
        ratio = found["content"]["mean"] / found["network"]["mean"]
        yield f"{found['size']} px, objective of photo over network", f"{ratio:.1f}"


def _super_resolution(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    plain = [row for row in data["means"] if row["input"] == "plain"]
    rows = {(row["factor"], row["set"], row["method"]): row for row in plain}
    for (factor, test_set, method), row in rows.items():
        pixel = rows.get((factor, test_set, f"x{factor}_pixel"), row)
        for key, layer in (("feature", "relu2_2"), ("feature_relu3_3", "relu3_3")):
            if row is not pixel and key in row:
                what = f"x{factor}, {test_set}, {method} over x{factor}_pixel, distance at {layer}"
                yield what, f"{row[key] / pixel[key]:.2f}"


ROWS: dict[str, Callable[[Mapping[str, Any]], Iterator[tuple[str, str]]]] = {
    "feature_reconstruction": _feature_reconstruction,
    "style_reconstruction": _style_reconstruction,
    "ablations": _ablations,
    "objective_curve": _objective_curve,
    "super_resolution": _super_resolution,
}


def compare(folder: str | Path, other: str | Path) -> str:
    """Return a section in Markdown for each experiment whose result is in both folders.

    Only rows that both results have are shown: the same photos, sizes, layers and test sets.

    Args:
        folder, other: with the files that ``repro reproduce`` writes, made with two loss networks.

    Raises:
        ValueError: a result is damaged; the message names the file.
    """
    results, others = load_results(folder), load_results(other)
    lines = []
    for name, rows in ROWS.items():
        both = [found[name] for found in (results, others) if name in found]
        values = [dict(rows(result.data)) for result in both]
        shared = [what for what in values[0] if what in values[1]] if len(both) == 2 else []
        if shared:
            names = [result.loss_network["name"] for result in both]
            lines += [f"### {EXPERIMENTS[name].title}", ""]
            lines += [f"`{of}`: {result.origin}\n" for of, result in zip(names, both, strict=True)]
            table = [[what, *(found[what] for found in values)] for what in shared]
            lines += [str(Table(["", *(f"`{of}`" for of in names)], table)), ""]
    return "\n".join(lines)
