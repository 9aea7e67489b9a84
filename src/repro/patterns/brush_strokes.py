"""Oil paint: thick strokes along a swirling flow field, coarse strokes first, fine ones last."""

import numpy as np

from .canvas import Paint, colors, fractal, grid, mix, noise, ramp, relief, smoothstep

NIGHT = colors("0a1238", "12246b", "1b3f9c", "2f6fc4", "5aa7d6", "1e4fa8", "16307c", "a9d9dc", "2b7fb8")
GLOW = colors("fff3c0", "ffd94a", "fbb11e", "ee7a1b", "c9451d", "2c4fa3")
RIVER = colors("2a1140", "8c1f45", "d8472b", "f6a12c", "ffe08a", "f08a3a", "7fc4b4", "17606e")

# grid of strokes a side, length, width, share of the grid that is painted
LAYERS = ((20, 0.18, 0.058, 1.0), (40, 0.11, 0.026, 1.0), (68, 0.06, 0.0125, 0.55))


def paint(rng: np.random.Generator, n: int) -> np.ndarray:
    """The picture, (n, n, 3): a river of warm light through deep blue whirls."""
    m = 256  # the guides are smooth: a fixed lattice is enough and keeps the strokes independent of n
    x, y = grid(m)
    stream = 0.05 * fractal(rng, m, 3, 2) + 0.2 * (y - 0.45 * x)
    glow, rings = np.zeros_like(x), np.zeros_like(x)
    for cx, cy, size in _centers(rng):
        r = np.hypot(x - cx, y - cy)
        stream += rng.choice((-1, 1)) * 0.4 * size * np.exp(-((r / (1.15 * size)) ** 2))
        near = np.exp(-((r / (0.62 * size)) ** 4))
        rings = np.where(near > glow, r / (0.72 * size), rings)
        glow = np.maximum(glow, near)
    gy, gx = np.gradient(stream)
    angle = np.arctan2(-gx, gy)
    bend_y, bend_x = (np.gradient(np.unwrap(angle, axis=a), axis=a) * m for a in (0, 1))
    bend = np.clip(np.cos(angle) * bend_x + np.sin(angle) * bend_y, -14, 14)

    ripple = 0.5 + 0.5 * np.sin(stream * 95 + 0.8 * noise(rng, m, 6))
    target = ramp(0.72 * ripple + 0.16 * noise(rng, m, 7) + 0.1, NIGHT)
    river = (stream - np.median(stream)) / 0.026 + 0.12 * noise(rng, m, 20)
    target = mix(target, ramp(0.5 + 0.5 * river, RIVER), smoothstep(1.15, 0.85, np.abs(river)))
    target = mix(target, ramp(rings + 0.08 * noise(rng, m, 24), GLOW), glow * 1.15)

    canvas = Paint(rng, np.full((n, n, 3), colors("16234f")[0], np.float32))
    for side, length, width, share in LAYERS:
        for k in rng.permutation(side * side)[: int(share * side * side)].tolist():
            jx, jy, dl, dw, turn, light, warm = rng.uniform(-1, 1, 7).tolist()
            px, py = (k % side + 0.5 + 0.6 * jx) / side, (k // side + 0.5 + 0.6 * jy) / side
            i, j = (min(max(int(p * m), 0), m - 1) for p in (py, px))
            color = target[i, j] * (1 + 0.2 * light) + np.array([0.035, 0.01, -0.035], np.float32) * warm
            heading = float(angle[i, j]) + 0.1 * turn
            canvas.stroke(
                *(px, py, heading, length * (1 + 0.3 * dl), width * (1 + 0.35 * dw), float(bend[i, j])),
                *(np.clip(color, 0, 1), rng.integers(0, 256, 2).tolist()),
                dryness=0.32,
                streak=0.5,
            )
    return relief(canvas.color, canvas.height, depth=1.0, gloss=0.5)


def _centers(rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """Whirls (x, y, size): two large, some smaller, none too close to another."""
    found = [
        (rng.uniform(0.58, 0.74), rng.uniform(0.24, 0.36), 0.2),
        (rng.uniform(0.2, 0.34), rng.uniform(0.64, 0.76), 0.16),
    ]
    for _ in range(400):
        size = rng.uniform(0.07, 0.12)
        x, y = rng.uniform(0.04, 0.96, 2).tolist()
        if all(np.hypot(x - a, y - b) > 1.25 * (size + s) for a, b, s in found):
            found.append((x, y, size))
    return found[:9]
