"""What the pattern generators share: coordinates, noise, palettes, relief light and brush strokes.

A canvas is a float32 array (n, n, 3), RGB in [0, 1]. Lengths are fractions of the side, x to the right and
y downwards, so that the same seed gives the same composition whatever n is.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter


def grid(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates x, y of the pixel centres, each (n, n) float32 in (0, 1)."""
    u = ((np.arange(n) + 0.5) / n).astype(np.float32)
    x, y = np.meshgrid(u, u)
    return x, y


def _spline_basis(n: int, cells: int) -> np.ndarray:
    """Uniform cubic B-spline weights (n, cells + 3) of n pixel centres on a lattice of `cells` intervals."""
    u = (np.arange(n) + 0.5) / n * cells
    i = u.astype(int)
    f = u - i
    weights = ((1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3)
    basis = np.zeros((n, cells + 3), np.float32)
    for k, w in enumerate(weights):
        basis[np.arange(n), i + k] = w / 6
    return basis


def noise(rng: np.random.Generator, n: int, cells_x: int, cells_y: int | None = None) -> np.ndarray:
    """Smooth noise (n, n), mean 0, deviation about 1, with `cells` bumps across; unequal cells streak it."""
    cells_y = cells_x if cells_y is None else cells_y
    lattice = rng.standard_normal((cells_y + 3, cells_x + 3)).astype(np.float32)
    return _spline_basis(n, cells_y) @ lattice @ _spline_basis(n, cells_x).T / 0.48


def fractal(rng: np.random.Generator, n: int, cells: int, octaves: int = 4) -> np.ndarray:
    """Sum of `octaves` noises (n, n), each twice as fine and half as strong as the one before."""
    start = np.zeros((n, n), np.float32)
    return sum((noise(rng, n, cells << k) * 0.5**k for k in range(octaves)), start) * 0.85


def colors(*codes: str) -> np.ndarray:
    """Hexadecimal colours as an array (k, 3) float32 in [0, 1]."""
    return np.array([[int(c[i : i + 2], 16) for i in (0, 2, 4)] for c in codes], np.float32) / 255


def ramp(t: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Colours (..., 3) at position t (...) of a palette (k, 3) spread evenly over [0, 1]; t is clipped."""
    s = np.clip(t, 0, 1) * (len(palette) - 1)
    i = np.minimum(s.astype(int), len(palette) - 2)
    f = (s - i)[..., None].astype(np.float32)
    return palette[i] * (1 - f) + palette[i + 1] * f


def mix(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    """(1 - t) a + t b for colours a, b (..., 3) and weights t (...) clipped to [0, 1]."""
    t = np.clip(t, 0, 1)[..., None]
    return a + (b - a) * t


def smoothstep(low: float, high: float, t: np.ndarray) -> np.ndarray:
    """Cubic step from 0 at `low` to 1 at `high`."""
    s = np.clip((t - low) / (high - low), 0, 1)
    return s * s * (3 - 2 * s)


def relief(image: np.ndarray, height: np.ndarray, depth: float, gloss: float = 0.0) -> np.ndarray:
    """Light the canvas from the upper left as a surface of `height` (n, n); `depth` scales the slopes."""
    n = len(height)
    dy, dx = np.gradient(gaussian_filter(height, n / 1400))
    slope = (dx + 1.3 * dy) * (depth * n / 512)
    lit = image * (1 + np.clip(slope, -0.45, 0.5))[..., None]
    return lit + gloss * (np.clip(slope - 0.18, 0, 0.6) ** 1.5)[..., None]


class Paint:
    """A canvas under wet paint: colour (n, n, 3) and thickness (n, n), built up stroke by stroke.

    Args:
        rng: source of the bristle texture.
        ground: the canvas before the first stroke, (n, n, 3), contiguous; it is painted over in place.
    """

    TEXTURE = 256

    def __init__(self, rng: np.random.Generator, ground: np.ndarray):
        n = len(ground)
        self.color = ground
        self.height = np.zeros((n, n), np.float32)
        self.axis = ((np.arange(n) + 0.5) / n).astype(np.float32)
        hairs = noise(rng, self.TEXTURE, 6, 90) + 0.7 * noise(rng, self.TEXTURE, 14, 40)
        self.bristles = np.clip(0.5 + 0.3 * hairs, 0, 1)

    def stroke(
        self,
        x: float,
        y: float,
        angle: float,
        length: float,
        width: float,
        bend: float,
        color: np.ndarray,
        offset: Sequence[int],
        *,
        squareness: int = 6,
        dryness: float = 0.3,
        streak: float = 0.3,
    ) -> None:
        """Lay one stroke.

        Args:
            x, y: middle of the stroke. angle: its direction there, radians. bend: its curvature, 1 / side.
            length, width: its full extents.
            color: (3,).
            offset: two integers, where in the bristle texture this stroke begins.
            squareness: 2 gives an ellipse (a dab), larger even values a band with rounded ends.
            dryness: how far the bristles separate towards the end, 0..1.
            streak: how much the bristles vary the colour's lightness.
        """
        n = len(self.height)
        cos, sin = math.cos(angle), math.sin(angle)
        sag = abs(bend) * length**2 / 8 + 1 / n
        reach_x = 0.52 * (abs(cos) * length + abs(sin) * width) + abs(sin) * sag
        reach_y = 0.52 * (abs(sin) * length + abs(cos) * width) + abs(cos) * sag
        left, right = max(int((x - reach_x) * n), 0), min(int((x + reach_x) * n) + 2, n)
        top, bottom = max(int((y - reach_y) * n), 0), min(int((y + reach_y) * n) + 2, n)
        if top >= bottom or left >= right:
            return
        px = self.axis[left:right] - x
        py = self.axis[top:bottom, None] - y
        u = px * (2 * cos / length) + py * (2 * sin / length)
        v = py * (2 * cos / width) - px * (2 * sin / width) - (bend * length**2 / (4 * width)) * (u * u)
        radius = (u * u) ** (squareness // 2) + v * v
        inside = np.flatnonzero(radius < 1.1)
        u, v, radius = u.ravel()[inside], v.ravel()[inside], radius.ravel()[inside]

        size = self.TEXTURE
        hair_row = (v * (0.25 * size * min(1.0, 22 * width)) + (offset[0] + size)).astype(np.int32)
        hair_column = (u * (0.2 * size) + (offset[1] + size)).astype(np.int32)
        hair = self.bristles[hair_row & (size - 1), hair_column & (size - 1)]
        alpha = (1 - radius) * (0.25 * n * width) + 0.5
        if dryness:
            alpha = np.minimum(alpha, (hair - (0.9 * dryness) * u + (0.12 - 0.5 * dryness)) * 8)
        alpha = np.minimum(np.maximum(alpha, 0), 1)
        # place in the flattened canvas of each pixel that the stroke covers
        at = inside + (top * n + left) + inside // (right - left) * (n - right + left)
        below = self.color.reshape(-1, 3)
        under = below[at]
        under += (color * (streak * hair + (1 - 0.5 * streak))[:, None] - under) * alpha[:, None]
        below[at] = under
        height = self.height.reshape(-1)
        under = height[at]
        height[at] = under + (0.5 * hair + 0.35 * radius + 0.35 - under) * alpha
