"""The same experiments with two loss networks: how far their results agree, as a table in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .. import EXPERIMENTS
from ..scorecard import load_results, loss_network_of, provenance_line


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
        if name not in results or name not in others:
            continue
        both = [dict(rows(found[name]["data"])) for found in (results, others)]
        shared = [what for what in both[0] if what in both[1]]
        if not shared:
            continue
        names = [(loss_network_of(found[name]) or {}).get("name", "none") for found in (results, others)]
        lines += [f"### {EXPERIMENTS[name].title}", ""]
        lines += [
            f"`{of}`: {provenance_line(found[name])}\n"
            for of, found in zip(names, (results, others), strict=True)
        ]
        lines += [f"| | `{names[0]}` | `{names[1]}` |", "|---|---:|---:|"]
        lines += [f"| {what} | {both[0][what]} | {both[1][what]} |" for what in shared] + [""]
    return "\n".join(lines)


def _feature_reconstruction(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for row in data["rows"]:
        yield f"{row['photo']}, from {row['layer']}, PSNR of the picture found", f"{row['psnr']:.1f} dB"


def _style_reconstruction(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for layers in dict.fromkeys(row["layers"] for row in data["rows"]):
        left = statistics.fmean(
            row["end"][layer] / row["start"][layer]
            for row in data["rows"]
            if row["layers"] == layers
            for layer in row["end"]
        )
        yield f"{layers}, style loss left", f"{100 * left:.2g} %"


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
    rows = {
        (row["factor"], row["set"], row["method"]): row for row in data["means"] if row["input"] == "plain"
    }
    for (factor, test_set, method), row in rows.items():
        pixel = rows.get((factor, test_set, f"x{factor}_pixel"))
        if pixel is None or row is pixel:
            continue
        for key, layer in (("feature", "relu2_2"), ("feature_relu3_3", "relu3_3")):
            if key in row:
                share = row[key] / pixel[key]
                yield (
                    f"x{factor}, {test_set}, {method} over x{factor}_pixel, distance at {layer}",
                    f"{share:.2f}",
                )


ROWS: dict[str, Callable[[Mapping[str, Any]], Iterator[tuple[str, str]]]] = {
    "feature_reconstruction": _feature_reconstruction,
    "style_reconstruction": _style_reconstruction,
    "ablations": _ablations,
    "objective_curve": _objective_curve,
    "super_resolution": _super_resolution,
}
