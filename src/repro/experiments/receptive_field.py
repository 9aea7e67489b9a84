"""Which pixels an output pixel depends on, with and without downsampling, at equal depth (section 3.1).

The paper: "Without downsampling, each additional 3x3 convolution increases the effective receptive field
size by 2. After downsampling by a factor of D, each 3x3 convolution instead increases effective
receptive field size by 2D". Both are measured here by the gradient of an output pixel.
"""

from __future__ import annotations

from typing import Any

import torch
from matplotlib.figure import Figure

from ..figures import Table, panels
from .support.common import Result, rounded, settings
from .support.network_analysis import effective_side, field_side, full_size, influence, small_inside

SEED = 0
KINDS = {"full": "full size throughout", "quarter": "a quarter of the size inside"}
SETTINGS: dict[str, dict[str, Any]] = {
    "smoke": {"size": 160, "width": 0.5, "blocks": [0, 5]},
    "book": {"size": 160, "width": 0.5, "blocks": [0, 1, 2, 3, 4, 5]},
    "paper": {"size": 256, "width": 1.0, "blocks": [0, 1, 2, 3, 4, 5]},
}


def run(scale: str = "book", loss_network: str = "auto") -> Result:
    """Measure receptive fields; no loss network is used.

    Returns:
        ``data["rows"]``, for each kind of network and number of residual blocks ``side`` in pixels (the
        lowest and highest over the four positions of the output pixel in the coarse grid), and
        ``effective_side``, of the square that holds 90 % of the influence. ``data["growth"]``: pixels that
        the field grows by for each 3x3 convolution. Pictures: the influence, one for each kind.

    Raises:
        ValueError: unknown scale.
    """
    chosen = settings(SETTINGS, scale)
    size, blocks = chosen["size"], chosen["blocks"]
    rows, pictures = [], {}
    for kind in KINDS:
        for count in blocks:
            torch.manual_seed(SEED)
            channels = max(1, round(32 * chosen["width"]))
            network = full_size(channels, count) if kind == "full" else small_inside(chosen["width"], count)
            maps = influence(network, size, range(size // 2, size // 2 + 4), SEED)
            sides = [field_side(seen) for seen in maps.values()]
            if max(sides) >= size:
                raise ValueError(f"an image of {size} px is too small for a field of {max(sides)} px")
            effective = [effective_side(seen, position) for position, seen in maps.items()]
            rows.append(
                {
                    "network": kind,
                    "blocks": count,
                    "side": {"lowest": min(sides), "highest": max(sides)},
                    "effective_side": {"lowest": min(effective), "highest": max(effective)},
                }
            )
        seen = maps[size // 2]
        logarithm = (seen / seen.max()).clamp(1e-6).log10() / 6 + 1
        pictures[kind] = logarithm.expand(1, 3, -1, -1)
    growth = {}
    for kind in KINDS:
        first, *_, last = (row for row in rows if row["network"] == kind)
        grown = last["side"]["highest"] - first["side"]["highest"]
        # A residual block has two 3x3 convolutions.
        growth[kind] = rounded(grown / (2 * (last["blocks"] - first["blocks"])))
    return Result({"settings": chosen, "rows": rows, "growth": growth}, pictures, {"seed": SEED})


def table(result: Result) -> Table:
    """Return the sides of the fields in pixels, the largest over the positions in the coarse grid."""
    rows = [
        [KINDS[row["network"]], row["blocks"], row["side"]["highest"], row["effective_side"]["highest"]]
        for row in result.data["rows"]
    ]
    titles = ["network", "residual blocks", "side, px", "side that holds 90 % of the influence, px"]
    return Table(titles, rows, caption=result.origin)


def plot(result: Result) -> Figure:
    """Draw the influence around an output pixel for both networks, and how the field grows with depth."""
    figure, axes = panels(3, (9, 3.2))
    rows = result.data["rows"]
    for axis, (kind, label) in zip(axes, KINDS.items(), strict=False):
        mine = [row for row in rows if row["network"] == kind]
        axis.imshow(result.pictures[kind][0, 0].numpy(), cmap="magma", vmin=0, vmax=1)
        axis.set_title(f"{label}: {mine[-1]['side']['highest']} px", fontsize=10)
        axis.axis("off")
        counts = [row["blocks"] for row in mine]
        (line,) = axes[2].plot(counts, [row["side"]["highest"] for row in mine], "o-", label=label)
        effective = [row["effective_side"]["highest"] for row in mine]
        axes[2].plot(counts, effective, "o--", color=line.get_color())
    axes[2].plot([], [], "--", color="grey", label="square that holds 90 %")
    axes[2].set(xlabel="residual blocks", ylabel="side in pixels")
    axes[2].set_ylim(0, 1.5 * max(row["side"]["highest"] for row in rows))  # room for the legend
    axes[2].legend(frameon=False, fontsize=8, loc="upper left")
    return figure
