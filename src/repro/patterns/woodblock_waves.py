"""A colour woodcut: rows of breaking waves with striped faces, foam fingers and spray, on grained paper."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from .canvas import colors, grid, mix, noise, ramp, smoothstep

Color = tuple[int, ...]  # red, green, blue, 0 to 255

INK, PRUSSIAN, INDIGO, BLUE, PALE, CREAM, FOAM = (
    tuple((255 * c).round().astype(int).tolist())
    for c in colors("131f3d", "173672", "1f5596", "4a92c8", "a3d0da", "efe2c4", "f8f1de")
)
SKY = colors("1d4a8c", "62a3bb", "d9d9bd", "f1dcae", "efb57c", "dc8a5c")
STRIPES = (PRUSSIAN, PALE, INDIGO, BLUE, PRUSSIAN, PALE, INDIGO, FOAM, PRUSSIAN, BLUE, INDIGO)

# rows of waves from back to front: the foot's level and the height
ROWS = ((0.42, 0.17), (0.58, 0.27), (0.82, 0.42), (1.0, 0.33), (1.15, 0.28))

# one wave, tip to the right, in units of its height: its back and its hollow face, both from foot to tip
BACK = np.array(
    [[-1.25, -0.75, -0.35, 0.0, 0.38, 0.74, 0.95, 0.98], [0.0, 0.12, 0.42, 0.78, 0.99, 0.95, 0.74, 0.6]]
).T
FACE = np.array(
    [[0.95, 0.62, 0.4, 0.32, 0.38, 0.55, 0.76, 0.98], [-0.05, 0.02, 0.2, 0.42, 0.62, 0.75, 0.74, 0.6]]
).T


def paint(rng: np.random.Generator, n: int) -> np.ndarray:
    """The print, (n, n, 3)."""
    sky = ramp(grid(n)[1] * 2.0 + 0.03 * noise(rng, n, 3, 9), SKY)
    page = Image.fromarray((np.clip(sky, 0, 1) * 255).astype(np.uint8))
    pen = _Pen(page, n)
    sx, sy = rng.uniform(0.2, 0.34), rng.uniform(0.17, 0.24)
    pen.disc(sx, sy, 0.1, (196, 62, 44), (150, 40, 36))
    _clouds(rng, pen)
    for row, (foot, height) in enumerate(ROWS):
        left = -0.3 + rng.uniform(0, 0.3)
        side = 1 if row % 2 == 0 else -1
        while left < 1.4:
            h = height * rng.uniform(0.8, 1.2)
            _wave(rng, pen, left, foot + rng.uniform(-0.02, 0.02), h, side)
            left += 1.55 * h
    return _paper(rng, np.asarray(page, np.float32) / 255, n)


class _Pen:
    """Draws on a PIL image in unit coordinates, with an outline of the picture's line width."""

    LINE = 0.0034

    def __init__(self, page: Image.Image, n: int):
        self.draw, self.n = ImageDraw.Draw(page), n

    def polygon(self, points: np.ndarray, fill: Color) -> None:
        self.draw.polygon((points * self.n).ravel().tolist(), fill=fill)

    def line(self, points: np.ndarray, fill: Color = INK, width: float = LINE) -> None:
        self.draw.line(
            (points * self.n).ravel().tolist(), fill=fill, width=max(1, round(width * self.n)), joint="curve"
        )

    def dot(self, x: float, y: float, r: float, fill: Color) -> None:
        n = self.n
        self.draw.ellipse(((x - r) * n, (y - r) * n, (x + r) * n, (y + r) * n), fill=fill)

    def disc(self, x: float, y: float, r: float, fill: Color, edge: Color = INK) -> None:
        self.dot(x, y, r + self.LINE, edge)
        self.dot(x, y, r, fill)

    def blob(self, discs: np.ndarray, fill: Color, edge: Color = INK) -> None:
        """A union of discs (k, 3: x, y, r) with one outline round them all."""
        for x, y, r in discs:
            self.dot(x, y, r + self.LINE, edge)
        for x, y, r in discs:
            self.dot(x, y, r, fill)


def _curve(points: np.ndarray, k: int = 48) -> np.ndarray:
    """A Catmull-Rom spline (k, 2) through the points."""
    p = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    t = np.linspace(0, len(p) - 3 - 1e-9, k)
    i, f = t.astype(int), (t % 1)[:, None]
    a, b, c, d = (p[i + j] for j in range(4))
    return 0.5 * (2 * b + (c - a) * f + (2 * a - 5 * b + 4 * c - d) * f**2 + (3 * b - a - 3 * c + d) * f**3)


def _wave(rng: np.random.Generator, pen: _Pen, x: float, foot: float, h: float, side: int) -> None:
    """One breaking wave: striped body from back to face, foam along the crest, fingers at the tip, spray."""

    def place(points: np.ndarray) -> np.ndarray:
        return np.asarray(points) * [side * h, -h] + [x, foot]

    wobble = rng.normal(0, 0.025, (len(BACK), 2))
    wobble[-1] = 0
    back, face = _curve(BACK + wobble), _curve(FACE + wobble * 0.5)
    skirt = np.array([[1.3, -0.3], [1.3, -1.6], [-1.6, -1.6], [-1.5, -0.1]])
    pen.polygon(place(np.vstack([back, face[::-1], skirt])), PRUSSIAN)

    cuts = np.linspace(0, 1, len(STRIPES) + 1) ** 1.1
    for k, color in enumerate(STRIPES):
        low, high = (back + (face - back) * c for c in cuts[k : k + 2])
        pen.polygon(place(np.vstack([low, high[::-1]])), color)
        pen.line(place(high), INK, pen.LINE * 0.6)
    pen.line(place(face), INK)
    pen.line(place(back), INK)
    # below the foot: swells that repeat the foot line
    for k in range(7):
        t = np.linspace(-1.5, 1.5, 40)
        swell = np.stack([t, -0.1 - 0.1 * k + 0.035 * np.sin(4 * t + k + x * 9)], 1)
        pen.line(place(swell), (BLUE, PALE, INDIGO)[k % 3], pen.LINE * (1.6 if k % 2 else 2.6))

    # Foam: a scalloped cap that swells towards the tip.
    at = np.linspace(23, 47, 34).astype(int)
    grow = np.linspace(0.25, 1, len(at))
    centers = place(back[at] + rng.normal(0, 0.012, (len(at), 2)) - [0, 0.02])
    radii = h * (0.022 + 0.045 * grow) * rng.uniform(0.8, 1.2, len(at))
    pen.blob(np.column_stack([centers, radii]), FOAM)
    for k in range(13):  # fingers hang from the lip
        s = 24 + int(k * 23 / 12)
        size = 0.13 + 0.15 * (k / 12) + rng.uniform(-0.03, 0.03)
        angle = -1.25 + rng.uniform(-0.45, 0.25) + 0.35 * (k / 12)
        _finger(pen, place, back[s] - [0.0, 0.03], angle, size, h)
    pen.blob(np.column_stack([centers, radii * 0.8])[6:], FOAM, FOAM)
    for k in range(12, len(at), 2):  # blue shadows in the foam
        x_k, y_k = centers[k] + [0, 0.25 * radii[k]]
        pen.dot(x_k, y_k, radii[k] * 0.34, PALE)
    for _ in range(26):  # spray
        ahead = rng.normal([0.85, 0.98], [0.38, 0.16])
        if ahead[1] > 0.9 or ahead[0] > 1.05:
            x_s, y_s = place(ahead)
            pen.disc(x_s, y_s, h * rng.uniform(0.007, 0.02), FOAM, INDIGO)


def _finger(
    pen: _Pen,
    place: Callable[[np.ndarray], np.ndarray],
    root: np.ndarray,
    angle: float,
    size: float,
    h: float,
) -> None:
    """A hooked finger of foam: discs that shrink along an arc, with two small claws at the end."""
    t = np.linspace(0, 1, 12)
    chains = []
    for turn, reach in ((2.2, 1.0), (3.6, 0.75), (0.6, 0.8)):
        heading = angle - turn * t * t
        steps = np.stack([np.cos(heading), np.sin(heading)], 1) * (size * reach / len(t))
        path = place(root + np.cumsum(steps, 0))
        chains.append(np.column_stack([path, h * size * (0.13 * (1 - t) + 0.03)]))
    pen.blob(np.vstack(chains), FOAM)


def _clouds(rng: np.random.Generator, pen: _Pen) -> None:
    """Bands of mist with rounded ends, and rows of fine lines between them."""
    t = np.linspace(-0.05, 1.05, 60)
    for k in range(26):
        level = 0.015 + 0.024 * k
        line = np.stack([t, level + 0.006 * np.sin(7 * t + 0.5 * k) + 0.003 * np.sin(19 * t + k)], 1)
        pen.line(line, (120, 160, 172) if k < 8 else (214, 178, 140), 0.0016)
    for _ in range(9):
        x, y, w = rng.uniform(0, 1), rng.uniform(0.03, 0.5), rng.uniform(0.07, 0.2)
        for dx, dy, s in ((0, 0, 1), (0.09, 0.022, 0.7), (-0.07, 0.03, 0.6)):
            ends = np.linspace(-w * s, w * s, 24)
            pen.blob(np.column_stack([x + dx + ends, np.full(24, y + dy), np.full(24, 0.0125)]), CREAM, BLUE)


def _paper(rng: np.random.Generator, print_: np.ndarray, n: int) -> np.ndarray:
    """Press the print on paper: wood grain in the flat tones, uneven ink, fibres, a warm sheet below."""
    grain = np.sin(2 * np.pi * (46 * grid(n)[1] + 1.6 * noise(rng, n, 3, 7))) + 0.8 * noise(rng, n, 10, 190)
    wear = noise(rng, n, 240) + 0.6 * noise(rng, n, 60)
    tone = 1 + 0.035 * grain + 0.035 * noise(rng, n, 5) + 0.03 * wear
    sheet = colors("f1e6cd")[0]
    bare = 0.07 + 0.5 * smoothstep(2.3, 3.4, wear)
    return mix(print_ * tone[..., None], sheet, bare)
