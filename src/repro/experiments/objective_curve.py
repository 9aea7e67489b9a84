"""Figure 5: the objective of the baseline against its iterations, with the network's value and the photo's.

The paper finds the network, one pass, as good as 50 to 100 iterations of the baseline, at 256 px and also at
512 and 1024 px, for which it was not trained.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

from ..devices import device
from ..figures import Table, panels
from ..images import center_crop
from ..picture_files import load_image
from ..sample_photos import PHOTOS
from ..training.data import data_hash, list_photos
from .scorecard import paper_numbers
from .support.baseline_curves import SEED, baseline_curve
from .support.common import Result, describe_pictures, rounded, settings, squares
from .support.trained_styles import TrainedStyle, first_style, trained_style

SETTINGS: dict[str, dict[str, Any]] = {
    "smoke": {"photos": {32: 2}, "iterations": 6},  # how many, by size
    "book": {"photos": {256: 2, 512: 2, 1024: 1}, "iterations": 60},
    "paper": {"photos": {256: 50, 512: 50, 1024: 50}, "iterations": 500},
}


def run(
    scale: str = "book",
    loss_network: str = "auto",
    data: str | Path | None = None,
    styles: Sequence[str] | None = None,
    sizes: Sequence[int] | None = None,
) -> Result:
    """Minimise the objective of a trained network by the baseline, photo by photo, and compare.

    At every size its terms weigh against each other as in training; see
    :meth:`repro.experiments.support.trained_styles.TrainedStyle.loss_for`.

    Args:
        data: a folder of photos, the first of which are taken; default those that come with scikit-image,
            of which there are five.
        styles: names of style networks, files or runs, of which the first is taken whose style picture is
            on this machine; default ``stained_glass``, which does best against its baseline.
        sizes: sides of the photos, in pixels, in place of those of the scale, with as many photos of each.

    Returns:
        ``data["sizes"]``, for each size ``baseline``, mean and standard deviation over the photos after each
        iteration; ``network`` and ``content``, mean and standard deviation of the network's result and of the
        photo itself; ``crossing``, the first iteration after which the baseline's mean is no higher than the
        network's (None if never), and ``crossings`` of each photo; ``baselines_kept``, how many of the
        baseline's curves were on this machine already (:mod:`repro.experiments.support.baseline_curves`).

    Raises:
        ValueError: unknown scale, loss network or network, or no network comes with the package.
        FileNotFoundError: no picture in ``data``.
        repro.errors.AssetError: the style picture or weights cannot be had.
    """
    chosen = settings(SETTINGS, scale)
    if sizes is not None:
        chosen["photos"] = dict.fromkeys(sizes, max(chosen["photos"].values()))
    style = trained_style(first_style(styles), loss_network)
    found = []
    for size, count in chosen["photos"].items():
        photos = photos_of(count, size, data)
        found.append({"size": size, "photos": list(photos), **compare(style, photos, chosen["iterations"])})
    pictures = describe_photos(max(chosen["photos"].values()), min(chosen["photos"]), data)
    chosen["photos"] = {of["size"]: len(of["photos"]) for of in found}  # there may be fewer than asked for
    made_with = {"seed": SEED, "network": style.describe(), "photos": pictures}
    return Result({"settings": chosen, "sizes": found}, {}, made_with)


def photos_of(count: int, size: int, data: str | Path | None) -> dict[str, Tensor]:
    """Return centre squares of the first photos of a folder, or of those that come with scikit-image."""
    if data is None:
        return squares(list(PHOTOS)[:count], size)
    data = Path(data).expanduser()
    paths = list_photos(data)[:count]
    return {str(path.relative_to(data)): center_crop(load_image(path), size).to(device()) for path in paths}


def describe_photos(count: int, size: int, data: str | Path | None) -> dict[str, Any]:
    """Return what a result says of the photos that :func:`photos_of` gives."""
    if data is None:
        return describe_pictures(photos_of(count, size, None))
    return {"sha256": data_hash(list_photos(data)[:count])}


def compare(style: TrainedStyle, photos: dict[str, Tensor], iterations: int) -> dict[str, Any]:
    """Return the baseline's objective over its iterations, the network's and the photos'; see :func:`run`."""
    curves, own, contents, kept = [], [], [], 0
    for content in tqdm(photos.values(), style.name, unit="photo", leave=False, disable=None):
        objective = style.objective(content)
        own.append(style.value(objective, style.result(content)))
        contents.append(style.value(objective, content))
        curve, was_kept = baseline_curve(style, content, iterations)
        curves.append(curve)
        kept += was_kept
    means = [moments(values) for values in zip(*curves, strict=True)]
    baseline = {key: [moment[key] for moment in means] for key in ("mean", "deviation")}
    return {
        "baseline": baseline,
        "network": moments(own),
        "content": moments(contents),
        "crossing": crossing(baseline["mean"], statistics.fmean(own)),
        "crossings": [crossing(curve, value) for curve, value in zip(curves, own, strict=True)],
        "baselines_kept": kept,
    }


def crossing(curve: Sequence[float], value: float) -> int | None:
    """Return the first index at which a curve is at or below a value, or None.

    Example:
        >>> crossing([5.0, 3.0, 2.0], 3.0)
        1
    """
    return next((i for i, height in enumerate(curve) if height <= value), None)


def moments(values: Sequence[float]) -> dict[str, float]:
    """Return mean and standard deviation of values, 0 for a single one.

    Example:
        >>> moments([1.0, 2.0, 6.0])
        {'mean': 3.0, 'deviation': 2.64575}
    """
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": rounded(statistics.fmean(values)), "deviation": rounded(deviation)}


def table(result: Result) -> Table:
    """Return where the baseline crosses the network, and how far the photo lies above, at each size."""
    last = result.data["settings"]["iterations"]
    rows = []
    for found in result.data["sizes"]:
        paper = paper_numbers()["objective_curve"]["size"].get(str(found["size"]))
        rows.append(
            [
                f"{found['size']} px",
                shown_crossing(found["crossing"], last),
                ", ".join(shown_crossing(where, last) for where in found["crossings"]),
                f"{found['content']['mean'] / found['network']['mean']:.1f}",
                f"{paper['content'] / paper['network']:.1f}" if paper else None,
            ]
        )
    titles = ["size", "crossing", "of each photo", "photo / network", "paper's photo / network"]
    return Table(titles, rows, caption=result.origin)


def shown_crossing(where: int | None, last: int) -> str:
    """Return a crossing in words: "59", or "> 60" where the curve had not come down by iteration ``last``.

    Example:
        >>> shown_crossing(None, 60)
        '> 60'
    """
    return f"> {last}" if where is None else str(where)


def plot(result: Result) -> Figure:
    """Draw a panel for each size: the baseline's curve with its deviation, and two lines."""
    sizes = result.data["sizes"]
    figure, axes = panels(len(sizes), (2.2 + 3.2 * len(sizes), 3.4), squeeze=False, sharey=True)
    for axis, found in zip(axes[0], sizes, strict=True):
        mean, deviation = found["baseline"]["mean"], found["baseline"]["deviation"]
        low = [max(m - d, m / 10) for m, d in zip(mean, deviation, strict=True)]
        high = [m + d for m, d in zip(mean, deviation, strict=True)]
        axis.plot(mean, color="C0", label="baseline")
        axis.fill_between(range(len(mean)), low, high, color="C0", alpha=0.2, linewidth=0)
        for key, color, label in (("network", "C2", "network"), ("content", "C3", "the photo itself")):
            axis.axhline(found[key]["mean"], color=color, label=label)
        where = found["crossing"]
        crossed = f"crosses at {where}" if where is not None else "does not cross"
        axis.set_title(f"{found['size']} px: {crossed}", fontsize=10)
        axis.set(xlabel="iteration", yscale="log")
    axes[0][0].set_ylabel("objective")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=9)
    return figure
