"""The project's own style pictures, drawn from a seed.

Every picture is made by this package's own arithmetic and random numbers, so it carries no foreign license.
`draw("stained_glass")` gives one; `PATTERNS` lists them. A pattern is a function `paint(rng, n) -> (n, n, 3)`
in a file of its name that works in fractions of the side: the composition is the same at every size.
"""

import zlib
from importlib import import_module
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

__all__ = ["PATTERNS", "Pattern", "draw"]

MIN_SIZE, MAX_SIZE = 32, 2048


class Pattern(NamedTuple):
    """A style picture: its title, and one line about it."""

    title: str
    description: str


PATTERNS: dict[str, Pattern] = {
    "stained_glass": Pattern(
        "Stained glass",
        "A leaded window, sun and rays over hills: jewel-coloured cells between dark lead lines.",
    ),
    "brush_strokes": Pattern(
        "Brush strokes",
        "Thick oil strokes along a swirling flow: a river of yellow and orange through deep blues.",
    ),
    "woodblock_waves": Pattern(
        "Woodblock waves",
        "A print of breaking waves: outlines, foam fingers, flat indigo and cream on grained paper.",
    ),
    "pointillism": Pattern(
        "Pointillism",
        "A river at sunset in dots of neighbouring and complementary colours.",
    ),
    "marbled_paper": Pattern(
        "Marbled paper",
        "Inks floated on water, combed and swirled: thin bands of colour folded into each other.",
    ),
    "kelim": Pattern(
        "Kelim",
        "A flat-woven rug: stepped diamonds and hooks in madder, indigo and ochre, thread by thread.",
    ),
}


def draw(name: str, size: int = 512, seed: int = 0) -> torch.Tensor:
    """Draw a style picture.

    Args:
        name: a key of `PATTERNS`.
        size: side in pixels, 32 to 2048.
        seed: a non-negative integer; the same seed gives the same picture, bit for bit.

    Returns:
        (1, 3, size, size) float32, RGB in [0, 1], rounded to 8 bits so that a PNG file keeps it exactly.

    Raises:
        ValueError: unknown name (the message lists the known ones), size outside 32..2048, negative seed.
    """
    if name not in PATTERNS:
        raise ValueError(f"unknown pattern {name!r}; known patterns: {', '.join(PATTERNS)}")
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ValueError(f"size must be between {MIN_SIZE} and {MAX_SIZE} pixels, got {size}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    # Painting larger and averaging down smooths the edges; beyond 1024 px it costs more than it shows.
    factor = 1 if size > 1024 else max(2, -(-512 // size))
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    paint = import_module(f".{name}", __name__).paint  # with what it needs of SciPy and scikit-image
    canvas = torch.from_numpy(np.clip(paint(rng, factor * size), 0, 1).astype(np.float32))
    image = F.avg_pool2d(canvas.permute(2, 0, 1)[None], factor)
    return image.mul(255).round().div(255).contiguous()
