"""The book's figures and tables: matplotlib in one style, a slider over two pictures. They never compute."""

from __future__ import annotations

import base64
import io
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from .images import to_array


def show(
    images: Sequence[Tensor | None],
    titles: Sequence[str] = (),
    columns: int | None = None,
    width: float = 9.0,
) -> Figure:
    """Draw images, each (1, 3, H, W) in [0, 1], in a grid.

    Args:
        images: None for a place that stays empty, but not the first.
        titles: one for each place, or none.
        columns: of the grid; default all in one row.
        width: of the figure in inches.
    """
    if titles and len(titles) != len(images):
        raise ValueError(f"{len(images)} images but {len(titles)} titles")
    columns = columns or len(images)
    rows = -(-len(images) // columns)
    assert images[0] is not None
    height, breadth = images[0].shape[-2:]
    cell = width / columns
    size = (width, rows * (cell * height / breadth + (0.3 if titles else 0.05)))
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    for i, (axis, image) in enumerate(zip(axes.flat, images, strict=False)):
        if image is None:
            continue
        axis.imshow(to_array(image), interpolation="lanczos")
        if titles:
            axis.set_title(titles[i], fontsize=10)
    return figure


def show_groups(groups: Sequence[Mapping[str, Tensor]], columns: int, width: float) -> Figure:
    """Draw groups of images by title in a grid, each group on rows of its own; see :func:`show`."""
    images: list[Tensor | None] = []
    titles: list[str] = []
    for group in groups:
        empty = -len(group) % columns
        images += [*group.values(), *[None] * empty]
        titles += [*group, *[""] * empty]
    return show(images, titles, columns, width)


def panels(columns: int = 1, size: tuple[float, float] = (6.4, 3.4), **options: Any) -> tuple[Figure, Any]:
    """Return a new figure and its axes, which have no frame above and to the right.

    Args:
        columns: how many axes stand side by side.
        size: of the figure in inches, (width, height).
        options: others of :func:`matplotlib.pyplot.subplots`, such as ``sharey``.

    Example:
        >>> figure, (left, right) = panels(2)
        >>> plt.close(figure)
    """
    figure, axes = plt.subplots(ncols=columns, figsize=size, layout="constrained", **options)
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


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
    figure, axis = panels()
    for name, values in series.items():
        axis.plot(range(len(values)) if x is None else x, values, label=name)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    if log:
        axis.set_yscale("log")
    axis.grid(alpha=0.25)
    if len(series) > 1:
        figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure


def explore(draw: Callable[..., Any], **controls: Any) -> None:
    """Call ``draw`` again as sliders and lists move, where somebody can move them: JupyterLab and Colab.

    Elsewhere, as on the pages of a book, it does nothing, so that those need no scripts.

    Args:
        draw: draws a picture from values by name.
        controls: for each name what ``ipywidgets.interact`` makes a control of: (lowest, highest, step), a
            list of choices, or a bool.
    """
    # A Jupyter server tells a kernel which notebook it is for; programs that only execute notebooks do not.
    if "JPY_SESSION_NAME" in os.environ or "google.colab" in sys.modules:
        from ipywidgets import interact

        interact(draw, **controls)


_ALIGN = {"l": ("left", "---"), "r": ("right", "---:")}


@dataclass(repr=False)
class Table:
    """Rows of words and numbers under titles.

    A notebook shows it as HTML if it is a cell's last value or given to ``display``; ``str`` is Markdown.

    Attributes:
        titles: one for each column.
        rows: each with a cell for each column; None is an empty cell, anything else is written by ``str``.
        align: "l" (left) or "r" (right) for each column; by default all but the first are to the right.
        caption: text above the table; backticks stand around code, there and in cells.

    Example:
        >>> print(Table(["method", "PSNR"], [["bicubic", "28.42 dB"]], caption="Set5 at x4."))
        Set5 at x4.
        <BLANKLINE>
        | method | PSNR |
        |---|---:|
        | bicubic | 28.42 dB |
    """

    titles: Sequence[str]
    rows: Sequence[Sequence[Any]]
    align: str = ""
    caption: str = ""

    def _lines(self) -> tuple[str, list[list[str]]]:
        """Return a letter of alignment for each column, and the cells as text, titles first."""
        lines = [["" if cell is None else str(cell) for cell in row] for row in (self.titles, *self.rows)]
        return self.align or "l" + "r" * (len(self.titles) - 1), lines

    def __str__(self) -> str:
        align, lines = self._lines()
        head, *rows = ("|".join(["", *(f" {cell} " if cell else " " for cell in line), ""]) for line in lines)
        rule = f"|{'|'.join(_ALIGN[letter][1] for letter in align)}|"
        return "\n".join([*([self.caption, ""] if self.caption else []), head, rule, *rows])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        align, lines = self._lines()

        def row(tag: str, line: list[str]) -> str:
            cells = []
            for letter, text in zip(align, map(_html, line), strict=True):
                side = _ALIGN[letter][0]  # twice: JupyterLab heeds the style, GitHub the attribute
                cells.append(f'<{tag} align="{side}" style="text-align: {side}">{text}</{tag}>')
            return "".join(cells)

        head, *rows = (row("td" if i else "th", line) for i, line in enumerate(lines))
        html = [f"<p>{_html(self.caption)}</p>"] if self.caption else []
        html += ['<table class="dataframe">', f"<thead><tr>{head}</tr></thead>", "<tbody>"]
        html += [f"<tr>{cells}</tr>" for cells in rows]
        return "\n".join([*html, "</tbody>", "</table>"])


def _html(text: str) -> str:
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


# A range input lies over both pictures, and the second one is cut off where it stands. Without scripts, and
# where a viewer strips styles, the two pictures with their labels are left.
_STYLE = """\
<style>
.compare { display: flex; gap: 0.5rem; justify-content: center; }
.compare img { display: block; width: 100%; max-width: var(--width); height: auto; }
.compare input { display: none; }
@media (scripting: enabled) {
.compare { display: grid; position: relative; max-width: var(--width); margin: 0 auto; overflow: hidden; }
.compare > * { grid-area: 1 / 1; }
.compare div + div { clip-path: inset(0 0 0 var(--at)); }
.compare span { position: absolute; bottom: 0.5rem; left: 0.5rem; padding: 0 0.5rem; }
.compare span { color: #fff; background: #000b; }
.compare div + div span { left: auto; right: 0.5rem; }
.compare input {
  display: block; position: relative; width: calc(100% + 3rem); height: 100%; margin: 0 -1.5rem; padding: 0;
  appearance: none; background: none; outline: none; cursor: ew-resize; touch-action: pan-y;
  --line: #fff;
  --grip: radial-gradient(circle, var(--line) 0.5rem, #000a 0.55rem 0.6rem, #0000 0.65rem),
    linear-gradient(90deg, #0000 45%, #000a 0 47%, var(--line) 0 53%, #000a 0 55%, #0000 0);
}
.compare input:focus-visible { --line: #4c9aff; }
.compare input::-webkit-slider-runnable-track { height: 100%; }
.compare input::-webkit-slider-thumb { appearance: none; width: 3rem; height: 100%; background: var(--grip); }
.compare input::-moz-range-thumb { width: 3rem; height: 100%; border: 0; background: var(--grip); }
}
</style>"""


class Comparison:
    """Two pictures over each other and a slider between them, as HTML that needs nothing else.

    A notebook shows it if it is a cell's last value or given to ``display``.

    Args:
        files: the contents of two PNG or JPEG files of equal size.
        labels: a short name for each, shown on it.
        alts: what is to be seen on each, for those who cannot see it.
    """

    def __init__(self, files: Sequence[bytes], labels: Sequence[str], alts: Sequence[str]) -> None:
        if not len(files) == len(labels) == len(alts) == 2:
            raise ValueError(
                f"expected two of each, got {len(files)} pictures, labels {labels} and alts {alts}"
            )
        sizes = [Image.open(io.BytesIO(file)).size for file in files]
        if sizes[0] != sizes[1]:
            raise ValueError(f"the pictures differ in size: {sizes[0]} and {sizes[1]}")
        self.files, self.labels, self.alts, self.width = files, labels, alts, sizes[0][0]

    def __repr__(self) -> str:
        return f"Comparison of {' and '.join(self.labels)}"

    def _repr_html_(self) -> str:
        lines = [f'<div class="compare" style="--at: 50%; --width: {self.width}px">', _STYLE]
        for file, label, alt in zip(self.files, self.labels, self.alts, strict=True):
            kind = "png" if file.startswith(b"\x89PNG") else "jpeg"
            data = f"data:image/{kind};base64,{base64.b64encode(file).decode()}"
            lines.append(f'<div><img src="{data}" alt="{escape(alt)}"><span>{escape(label)}</span></div>')
        name = escape(f"Boundary between {' and '.join(self.labels)}")
        move = "this.parentNode.style.setProperty('--at', this.value + '%')"
        lines.append(
            f'<input type="range" value="50" autocomplete="off" aria-label="{name}" oninput="{move}">'
        )
        return "\n".join([*lines, "</div>"])


def compare(
    before: Tensor,
    after: Tensor,
    labels: Sequence[str] = ("before", "after"),
    *,
    alts: Sequence[str],
    quality: int | None = None,
) -> Comparison:
    """Two images of equal size, each (1, 3, H, W) in [0, 1], with a slider between them.

    Args:
        labels: a short name for each.
        alts: what is to be seen on each, for those who cannot see it.
        quality: of JPEG, 1 to 95, for large photographs; by default PNG, which loses nothing.
    """
    files = []
    for image in (before, after):
        file = io.BytesIO()
        options = {"format": "PNG"} if quality is None else {"format": "JPEG", "quality": quality}
        Image.fromarray(to_array(image)).save(file, **options)
        files.append(file.getvalue())
    return Comparison(files, labels, alts)
