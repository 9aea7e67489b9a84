"""Marbled paper: drops of ink on water, then combed and swirled.

Each tool moves the ink by an invertible, area-preserving map, so the picture is drawn backwards: a point of
the finished sheet is carried back through the tools, last one first, to the ink it came from. The map of a
drop is that of A. Jaffer's mathematical marbling.
"""

import numpy as np

from .canvas import colors, grid, noise

INKS = colors(
    "f4e6c8", "16254f", "b3202c", "e9a92f", "1d6f78", "f0d9b0", "0e1630", "d9623b", "3d8f8a", "7a1f3d"
)
DROPS = 60


def paint(rng: np.random.Generator, n: int) -> np.ndarray:
    """The sheet, (n, n, 3)."""
    x, y = grid(n)
    x, y = x + 0.003 * noise(rng, n, 12), y + 0.003 * noise(rng, n, 12)
    for _ in range(6):  # swirls, stirred last
        cx, cy = rng.uniform(0.05, 0.95, 2)
        x, y = _swirl(
            x, y, cx, cy, rng.uniform(0.07, 0.16), float(rng.choice((-1, 1))) * rng.uniform(1.5, 3.2)
        )
    for spacing, sharpness, pull in ((0.075, 2.2, 0.06), (0.21, 2.5, 0.12)):  # combs up and down
        y = y + pull * _comb(x + rng.uniform(0, 1), spacing, sharpness)
    x = x + 0.09 * _comb(y + rng.uniform(0, 1), 0.27, 1.8)
    return _ink(rng, x, y, n)


def _swirl(
    x: np.ndarray, y: np.ndarray, cx: float, cy: float, radius: float, turns: float
) -> tuple[np.ndarray, np.ndarray]:
    """Turn the points round (cx, cy), most in the middle, fading over `radius`."""
    dx, dy = x - cx, y - cy
    angle = turns * np.exp(-(dx * dx + dy * dy) / radius**2)
    cos, sin = np.cos(angle), np.sin(angle)
    return cx + dx * cos - dy * sin, cy + dx * sin + dy * cos


def _comb(t: np.ndarray, spacing: float, sharpness: float) -> np.ndarray:
    """Displacement in -1..1 by tines `spacing` apart, pulled in turn one way and the other."""
    phase = t / spacing
    tine = np.round(phase)
    return (1 - 2 * (tine % 2)) * (1 - 2 * np.abs(phase - tine)) ** sharpness


def _ink(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, n: int) -> np.ndarray:
    """Colour of the inks before any tool: bands, and drops that push aside what lay there before."""
    px, py = x.ravel(), y.ravel()
    shade = np.empty(n * n, np.float32)
    ink = np.empty(n * n, np.int16)
    left = np.arange(n * n)  # the points that no drop has claimed yet
    for _ in range(DROPS):
        k, radius = rng.integers(len(INKS)), np.float32(rng.uniform(0.02, 0.075))
        cx, cy = rng.uniform(-0.2, 1.2, 2).astype(np.float32)
        dx, dy = px - cx, py - cy
        distance2 = dx * dx + dy * dy
        inside = distance2 < radius**2
        ink[left[inside]], shade[left[inside]] = k, np.sqrt(distance2[inside]) / radius
        out = ~inside
        push = np.sqrt(1 - radius**2 / distance2[out])
        px, py, left = cx + dx[out] * push, cy + dy[out] * push, left[out]
    edges = np.cumsum(rng.uniform(0.012, 0.05, 60)) - 0.4
    band = np.searchsorted(edges, py).clip(1, len(edges) - 1)
    # neighbouring bands differ: each is a step of 1..k-1 round the inks
    order = np.cumsum(rng.integers(1, len(INKS), len(edges))) % len(INKS)
    ink[left] = order[band]
    shade[left] = np.clip((py - edges[band - 1]) / (edges[band] - edges[band - 1]), 0, 1)
    tone = 1 + 0.22 * (shade.reshape(n, n) - 0.5) + 0.05 * noise(rng, n, 260) + 0.04 * noise(rng, n, 30)
    return INKS[ink].reshape(n, n, 3) * tone[..., None]
