"""A flat-woven rug: motifs on a coarse grid of stitches, every stitch a twisted thread."""

import numpy as np

from .canvas import colors, grid, noise, relief

WOOL = colors("8f1d22", "b8332a", "1b2a55", "2f5f86", "e0a233", "efe0bd", "2b1a18", "c96a2c", "3f6b4f")
MADDER, RED, INDIGO, BLUE, OCHRE, CREAM, BLACK, RUST, GREEN = range(9)
STITCHES = 104

# rings of a motif from the middle outwards
DIAMONDS = (
    (CREAM, RED, RED, BLACK, OCHRE, OCHRE, INDIGO, INDIGO, INDIGO, CREAM, BLACK, RUST),
    (OCHRE, BLACK, BLUE, BLUE, CREAM, MADDER, MADDER, MADDER, BLACK, OCHRE, GREEN, GREEN),
    (RED, CREAM, BLACK, GREEN, GREEN, OCHRE, BLACK, RED, RED, CREAM, INDIGO, BLUE),
)


def paint(rng: np.random.Generator, n: int) -> np.ndarray:
    """The rug, (n, n, 3)."""
    x, y = grid(n)
    # The weaver's hand: rows and columns wander a little.
    u = (x + 0.004 * noise(rng, n, 5)) * STITCHES
    v = (y + 0.004 * noise(rng, n, 5)) * STITCHES
    v = v + 0.5 * (np.floor(u) % 2)
    column, row = np.floor(u).astype(int), np.floor(v).astype(int)
    motif = _motif(rng)
    wool = motif[row.clip(0, STITCHES), column.clip(0, STITCHES - 1)]

    # Wool takes the dye unevenly: by row (abrash), by stitch and by fibre.
    abrash = np.cumsum(rng.standard_normal(STITCHES + 1)) * 0.035
    abrash -= np.convolve(abrash, np.ones(25) / 25, "same")
    stitch = 0.09 * rng.standard_normal((STITCHES + 1, STITCHES))
    tone = 1 + (abrash[:, None] + stitch)[row.clip(0, STITCHES), column.clip(0, STITCHES - 1)]
    fu, fv = u - column - 0.5, v - row - 0.5
    lean = np.where(column % 2 == 0, 1, -1) * 0.7
    twist = np.sin((fv + lean * fu) * 2 * np.pi * 2.2)
    body = np.sqrt(np.clip(1 - 3.4 * fu * fu, 0, 1)) * np.sqrt(
        np.clip(1 - 2.6 * (fv + 0.5 * lean * fu) ** 2, 0, 1)
    )
    fibre = noise(rng, n, 340)
    shade = tone * (0.42 + 0.62 * body + 0.07 * twist + 0.05 * fibre + 0.05 * noise(rng, n, 6))
    image = WOOL[wool] * shade[..., None].astype(np.float32)
    return relief(image, (0.25 * body + 0.04 * twist).astype(np.float32), depth=0.9)


def _motif(rng: np.random.Generator) -> np.ndarray:
    """The weaver's chart (STITCHES + 1, STITCHES): an index into WOOL for each stitch."""
    row, column = np.mgrid[: STITCHES + 1, :STITCHES]
    chart = np.full(row.shape, MADDER)
    top = -int(rng.integers(0, 20))
    while top <= STITCHES:
        for band in (_diamonds, _zigzag, _hooks, _zigzag):
            height = {_diamonds: 36, _zigzag: 9, _hooks: 17}[band]
            inside = (row >= top) & (row < top + height)
            chart[inside] = band(rng, row - top, column, height)[inside]
            border = (row == top) | (row == top + height - 1)
            chart[border] = np.where(column[border] // 2 % 2, BLACK, CREAM)
            top += height
    return chart


def _diamonds(rng: np.random.Generator, row: np.ndarray, column: np.ndarray, height: int) -> np.ndarray:
    """Stepped diamonds side by side, their rings in the colours of DIAMONDS."""
    period = 26
    shift = int(rng.integers(period))
    which = (column + shift) // period
    a = np.abs((column + shift) % period - period // 2)
    b = np.abs(row - height // 2)
    ring = (a + 1.5 * (b // 2)).astype(int) // 2
    rings = np.array(DIAMONDS)[(which + rng.integers(3)) % 3]
    field = np.take_along_axis(rings, np.minimum(ring, 11)[..., None], -1)[..., 0]
    cross = (ring > 9) & ((a + b) % 4 == 0)
    return np.where(cross, CREAM, np.where(ring > 9, MADDER, field))


def _zigzag(rng: np.random.Generator, row: np.ndarray, column: np.ndarray, height: int) -> np.ndarray:
    """Chevrons in four colours."""
    wave = np.abs((column + rng.integers(8)) % 12 - 6)
    return np.array(rng.permutation([OCHRE, INDIGO, CREAM, RUST, BLUE, BLACK]))[(row + wave) // 2 % 6]


def _hooks(rng: np.random.Generator, row: np.ndarray, column: np.ndarray, height: int) -> np.ndarray:
    """Hooked triangles, light on dark, turned every other time."""
    period = 14
    column = column + rng.integers(period)
    a, b, which = column % period, row % height, column // period % 2
    b = np.where(which == 0, b, height - 1 - b)
    triangle = np.abs(a - 7) <= (b - 3) // 2
    hook = (
        ((a == 2) & (b > 5) & (b < 13)) | ((b == 5) & (a >= 2) & (a < 5)) | ((a == 11) & (b > 5) & (b < 13))
    )
    hook |= (b == 5) & (a >= 9) & (a < 12)
    eye = np.abs(a - 7) + np.abs(b - 11) <= 2
    base = np.where(which == 0, INDIGO, GREEN)
    return np.where(
        eye, OCHRE, np.where(triangle, np.where(which == 0, RED, RUST), np.where(hook, CREAM, base))
    )
