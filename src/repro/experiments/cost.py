"""What downsampling saves: multiplications counted and seconds measured, at equal depth (section 3.1).

The paper: a 3x3 convolution with C filters on an input of C x H x W takes 9 H W C^2 multiplications, as many
as one with D C filters on D C x H/D x W/D, so that after downsampling a larger network costs the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import nn

from ..blocks import ResidualBlock
from ..devices import device
from ..figures import Table, panels
from .support.common import Result, seconds, settings, spread
from .support.network_analysis import OPTIONS, full_size, multiplications, small_inside

SEED = 0
COUNTED_AT = 256  # px: counting costs nothing, so it is done at the paper's size whatever the scale
SETTINGS: dict[str, dict[str, Any]] = {
    "smoke": {"size": 32, "repeats": 2},
    "book": {"size": 128, "repeats": 3},
    "paper": {"size": 256, "repeats": 15},
}
# What is compared: how it is made, and channels and size of its input at an image of the given side.
CASES: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "block, 32 channels, full size": (lambda: ResidualBlock(32, **OPTIONS), 32, 1),
    "block, 128 channels, a quarter": (lambda: ResidualBlock(128, **OPTIONS), 128, 4),
    "block, 128 channels, full size": (lambda: ResidualBlock(128, **OPTIONS), 128, 1),
    "network, a quarter inside": (small_inside, 3, 1),
    "network, 32 channels, full size": (lambda: full_size(32), 3, 1),
    "network, 128 channels, full size": (lambda: full_size(32, body=128), 3, 1),
}


def conv_multiplications(channels: int, height: int, width: int) -> int:
    """Return the paper's 9 H W C^2 (section 3.1)."""
    return 9 * height * width * channels**2


def run(scale: str = "book", loss_network: str = "auto") -> Result:
    """Count multiplications at 256 px and measure seconds at the scale's size; no loss network is used.

    Returns:
        ``data["rows"]``, for each case ``multiplications`` at 256 px, ``parameters``, and ``seconds`` of a
        pass at ``settings.size``, median and range. ``data["formula"]``: the paper's number for the blocks.

    Raises:
        ValueError: unknown scale.
    """
    chosen = settings(SETTINGS, scale)
    rows = []
    for name, (make, channels, divisor) in CASES.items():
        torch.manual_seed(SEED)
        network = make().eval().to(device())
        x = torch.rand(1, channels, *[chosen["size"] // divisor] * 2, device=device())
        with torch.no_grad():
            times = seconds(partial(network, x), chosen["repeats"])
        rows.append(
            {
                "case": name,
                "multiplications": multiplications(make(), (channels, *[COUNTED_AT // divisor] * 2)),
                "parameters": sum(value.numel() for value in network.parameters()),
                "seconds": spread(times),
            }
        )
    formula = {
        "block, 32 channels, full size": 2 * conv_multiplications(32, COUNTED_AT, COUNTED_AT),
        "block, 128 channels, a quarter": 2 * conv_multiplications(128, COUNTED_AT // 4, COUNTED_AT // 4),
        "block, 128 channels, full size": 2 * conv_multiplications(128, COUNTED_AT, COUNTED_AT),
    }
    data = {"settings": {**chosen, "counted_at": COUNTED_AT}, "rows": rows, "formula": formula}
    return Result(data, made_with={"seed": SEED})


def table(result: Result) -> Table:
    """Return multiplications, parameters and seconds of each case."""
    size, counted_at = (result.data["settings"][key] for key in ("size", "counted_at"))
    rows = [
        [
            row["case"],
            f"{row['multiplications'] / 1e6:,.0f}",
            f"{row['parameters']:,}",
            f"{row['seconds']['median']:.3g}",
        ]
        for row in result.data["rows"]
    ]
    titles = ["", f"million multiplications at {counted_at} px", "parameters", f"seconds at {size} px"]
    return Table(titles, rows, caption=result.origin)


def plot(result: Result) -> Figure:
    """Draw the multiplications and the seconds of each case as bars."""
    rows = result.data["rows"]
    size, counted_at = (result.data["settings"][key] for key in ("size", "counted_at"))
    figure, axes = panels(2, (9, 2.8), sharey=True)
    names = [row["case"] for row in rows]
    axes[0].barh(names, [row["multiplications"] / 1e9 for row in rows], color="C0")
    axes[0].set_xlabel(f"billion multiplications at {counted_at} px")
    times = [row["seconds"] for row in rows]
    middle = [time["median"] for time in times]
    reach = [
        [time["median"] - time["lowest"] for time in times],
        [time["highest"] - time["median"] for time in times],
    ]
    axes[1].barh(names, middle, xerr=reach, color="C1", error_kw={"elinewidth": 1})
    axes[1].set_xlabel(f"seconds at {size} px")
    axes[0].invert_yaxis()
    return figure
