"""Figures 6 and 7: photo, baseline and network side by side, for every trained style."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from ..figures import Table, show
from ..images import center_crop
from ..optimize_image import transfer_style
from .support.common import Result, describe_pictures, rounded, settings, squares
from .support.trained_styles import style_networks, trained_style

SEED = 0
LABELS = {"content": "photo", "baseline": "baseline", "network": "network"}
SETTINGS: dict[str, dict[str, Any]] = {
    "smoke": {"photos": ["chelsea"], "sizes": [32], "iterations": 4},
    "book": {"photos": ["chelsea"], "sizes": [192], "iterations": 60},
    "paper": {"photos": ["chelsea", "astronaut", "coffee"], "sizes": [256, 512], "iterations": 500},
}


def run(scale: str = "book", loss_network: str = "auto", styles: Sequence[str] | None = None) -> Result:
    """Stylise photos by the baseline and by each network, with the network's own objective.

    Args:
        styles: names of style networks, files or runs; default those of the package whose style
            picture is on this machine.

    Returns:
        ``data["rows"]``, for each style, photo and size the objective of ``baseline``, ``network`` and
        ``content``, the photo itself. Pictures ``STYLE/PHOTO/SIZE/style``, ``.../content``, ``.../baseline``
        and ``.../network``.

    Raises:
        ValueError: unknown scale, loss network or network, or no network comes with the package.
        repro.errors.AssetError: a style picture or weights cannot be had.
    """
    chosen = settings(SETTINGS, scale)
    pictures, rows, described = {}, [], []
    for source in style_networks(styles):
        style = trained_style(source, loss_network)
        described.append(style.describe())
        for size in chosen["sizes"]:
            for name, content in squares(chosen["photos"], size).items():
                loss, count = style.loss_for(content), chosen["iterations"]
                found = transfer_style(content, style.picture, style.loss_network, loss, count, seed=SEED)
                images = {"content": content, "baseline": found.image, "network": style.result(content)}
                objective = style.objective(content)
                values = {key: rounded(style.value(objective, image)) for key, image in images.items()}
                rows.append({"style": style.name, "photo": name, "size": size, **values})
                pictures[f"{style.name}/{name}/{size}/style"] = center_crop(style.picture, size)
                for key, image in images.items():
                    pictures[f"{style.name}/{name}/{size}/{key}"] = image
    chosen["styles"] = [style["name"] for style in described]
    photos = describe_pictures(squares(chosen["photos"], chosen["sizes"][0]))
    made_with = {"seed": SEED, "networks": described, "photos": photos}
    return Result({"settings": chosen, "rows": rows}, pictures, made_with)


def table(result: Result) -> Table:
    """Return the objective of photo, baseline and network for each style, photo and size."""
    rows = [
        [row["style"], row["photo"], row["size"], *(f"{row[key]:.3g}" for key in LABELS)]
        for row in result.data["rows"]
    ]
    titles = ["style", "photo", "size, px", *(f"objective of the {label}" for label in LABELS.values())]
    return Table(titles, rows, "llrrrr", result.origin)


def plot(result: Result) -> Figure:
    """Draw a row for each style, photo and size: style, photo, baseline, network, with their objectives."""
    titles = []
    for row in result.data["rows"]:
        titles += [row["style"].replace("_", " ")]
        titles += [f"{label} {row[key]:.3g}" for key, label in LABELS.items()]
    return show(list(result.pictures.values()), titles, columns=4)
