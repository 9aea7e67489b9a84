"""Every style network beside the baseline: its objective on many photos, and the baseline's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, LogLocator

from ..figures import Table, panels
from .objective_curve import compare, describe_photos, photos_of, shown_crossing
from .scorecard import paper_numbers
from .support.baseline_curves import SEED
from .support.common import Result, settings
from .support.trained_styles import style_networks, trained_style

SETTINGS: dict[str, dict[str, Any]] = {
    # The long runs show where the baseline ends, on the first of the photos: each takes minutes.
    "smoke": {"size": 32, "photos": 2, "iterations": 6, "long": {"photos": 1, "iterations": 9}},
    "book": {"size": 128, "photos": 3, "iterations": 50, "long": {"photos": 1, "iterations": 200}},
    "paper": {"size": 256, "photos": 20, "iterations": 50, "long": {"photos": 2, "iterations": 500}},
}


def run(
    scale: str = "book",
    loss_network: str = "auto",
    data: str | Path | None = None,
    styles: Sequence[str] | None = None,
) -> Result:
    """Measure each style network's objective, and minimise the same one by the baseline, photo by photo.

    Args:
        data: a folder of photos that no network was trained on, the first of which are taken; default those
            that come with scikit-image, of which there are five.
        styles: names of style networks, files or runs; default those of the package whose style
            picture is on this machine.

    Returns:
        ``data["rows"]``, for each style mean and standard deviation over the photos of the objective of
        ``content`` (the photo itself), ``network``, and ``baseline`` after the iterations named in
        ``data["after"]``; ``crossing``, the first iteration after which the baseline's mean is no higher than
        the network's (None if never), ``crossings`` of each photo, and ``baselines_kept``, how many of the
        baseline's curves were on this machine already (:mod:`repro.experiments.support.baseline_curves`).
        ``long`` has ``network`` and ``baseline`` on the first few photos alone, the latter after
        ``iterations`` of ``data["settings"]`` and of its ``long``.

    Raises:
        ValueError: unknown scale, loss network or network, or no network comes with the package.
        FileNotFoundError: no picture in ``data``.
        repro.errors.AssetError: a style picture or weights cannot be had.
    """
    chosen = settings(SETTINGS, scale)
    after = [count for count in (10, 20, 50, 100) if count <= chosen["iterations"]] or [chosen["iterations"]]
    photos = photos_of(chosen["photos"], chosen["size"], data)
    chosen["photos"] = len(photos)  # there may be fewer
    few = dict(list(photos.items())[: chosen["long"]["photos"]])
    chosen["long"] = {**chosen["long"], "photos": len(few)}
    rows, described = [], []
    for source in style_networks(styles):
        style = trained_style(source, loss_network)
        described.append(style.describe())
        found = compare(style, photos, chosen["iterations"])
        long = compare(style, few, chosen["long"]["iterations"])
        found["baselines_kept"] += long["baselines_kept"]
        counts = (chosen["iterations"], chosen["long"]["iterations"])
        long = {"network": long["network"], "baseline": _at(long["baseline"], counts)}
        rows.append({"style": style.name, **found, "baseline": _at(found["baseline"], after), "long": long})
    made_with = {
        "seed": SEED,
        "networks": described,
        "photos": describe_photos(chosen["photos"], chosen["size"], data),
    }
    return Result({"settings": chosen, "after": after, "photos": list(photos), "rows": rows}, {}, made_with)


def _at(curve: dict[str, list[float]], counts: Sequence[int]) -> dict[str, dict[str, float]]:
    """Return the moments of a curve after some numbers of iterations, by the number as JSON has it."""
    return {str(count): {key: values[count] for key, values in curve.items()} for count in counts}


def table(result: Result) -> Table:
    """Return for each style where the baseline crosses the network, and how the three objectives compare.

    "Not passed on" counts the photos on which the baseline had not come down to the network when it stopped.
    """
    last = result.data["after"][-1]
    rows = [
        [
            row["style"],
            shown_crossing(row["crossing"], result.data["settings"]["iterations"]),
            row["crossings"].count(None),
            f"{row['content']['mean'] / row['network']['mean']:.1f}",
            f"{row['network']['mean'] / row['baseline'][str(last)]['mean']:.3f}",
        ]
        for row in result.data["rows"]
    ]
    number = len(result.data["photos"])
    titles = ["style", "crossing", f"not passed on, of {number} photos", "photo / network"]
    return Table([*titles, f"network / baseline after {last} iterations"], rows, caption=result.origin)


def table_of_ends(result: Result) -> Table:
    """Return how far baseline and network are above the baseline's end, on a few photos, and the paper's."""
    chosen = result.data["settings"]
    short, end = str(chosen["iterations"]), str(chosen["long"]["iterations"])
    found = {}
    for row in result.data["rows"]:
        baseline = {count: moments["mean"] for count, moments in row["long"]["baseline"].items()}
        found[row["style"]] = baseline, row["long"]["network"]["mean"]
    for size, of in paper_numbers()["objective_curve"]["size"].items():
        if {short, end} <= of["baseline"].keys():
            found[f"paper, {size} px"] = of["baseline"], of["network"]
    rows = [
        [name, f"{baseline[short] / baseline[end]:.2f}", f"{network / baseline[end]:.2f}"]
        for name, (baseline, network) in found.items()
    ]
    caption = f"Objectives, divided by the baseline's after {end} iterations."
    return Table(["style", f"baseline after {short} iterations", "network"], rows, caption=caption)


def plot(result: Result) -> Figure:
    """Draw a row for each style: photo, network and baseline on a logarithmic axis, deviations as factors."""
    rows = result.data["rows"]
    figure, axis = panels(size=(8.0, 1.4 + 0.5 * len(rows)))
    marks = [("content", "the photo itself", "C3", "s"), ("network", "network", "C2", "o")]
    for key, label, color, mark in marks:
        means = [row[key]["mean"] for row in rows]
        # As far to the left as to the right: below the mean by as much, some bars would end near zero.
        factors = [1 + row[key]["deviation"] / row[key]["mean"] for row in rows]
        bars = [[m - m / f for m, f in zip(means, factors, strict=True)]]
        bars += [[m * f - m for m, f in zip(means, factors, strict=True)]]
        axis.errorbar(means, range(len(rows)), xerr=bars, fmt=mark, color=color, label=label, capsize=3)
    for count in result.data["after"]:
        means = [row["baseline"][str(count)]["mean"] for row in rows]
        axis.plot(means, range(len(rows)), "|", color="C0", markersize=14)
        axis.annotate(f"{count}", (means[0], -0.3), ha="center", va="bottom", fontsize=8, color="C0")
    axis.plot([], [], "|", color="C0", markersize=14, label="baseline after so many iterations")
    axis.set_yticks(range(len(rows)), [row["style"].replace("_", " ") for row in rows])
    axis.set(xscale="log", xlabel="objective", ylim=(len(rows) - 0.5, -0.8))
    axis.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))  # more of them would overlap
    axis.xaxis.set_minor_formatter(LogFormatterSciNotation(minor_thresholds=(np.inf, np.inf)))  # label all
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure
