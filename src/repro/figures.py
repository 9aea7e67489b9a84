"""Matplotlib helpers of the book: one style of figure. They draw and never compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from .images import to_array


def show(
    images: Sequence[Tensor], titles: Sequence[str] = (), columns: int | None = None, width: float = 9.0
) -> Figure:
    """Draw images, each (1, 3, H, W) in [0, 1], in a grid.

    Args:
        titles: one for each image, or none.
        columns: of the grid; default all in one row.
        width: of the figure in inches.
    """
    if titles and len(titles) != len(images):
        raise ValueError(f"{len(images)} images but {len(titles)} titles")
    columns = columns or len(images)
    rows = -(-len(images) // columns)
    height, breadth = images[0].shape[-2:]
    cell = width / columns
    size = (width, rows * (cell * height / breadth + (0.3 if titles else 0.05)))
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    for i, (axis, image) in enumerate(zip(axes.flat, images, strict=False)):
        axis.imshow(to_array(image), interpolation="lanczos")
        if titles:
            axis.set_title(titles[i], fontsize=10)
    return figure


def curves(
    series: Mapping[str, Sequence[float]],
    xlabel: str = "iteration",
    ylabel: str = "loss",
    log: bool = True,
    x: Sequence[float] | None = None,
) -> Figure:
    """Draw named series against ``x``, by default their index, on a logarithmic axis unless told otherwise.

    Their names stand to the right of the axes, where they never cover a line.
    """
    figure, axis = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    for name, values in series.items():
        axis.plot(range(len(values)) if x is None else x, values, label=name)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    if log:
        axis.set_yscale("log")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
    if len(series) > 1:
        figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure
