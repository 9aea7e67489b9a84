"""Dots of pure colour: a river at sunset, every tone split into neighbours and a few complements."""

import numpy as np
from skimage.color import hsv2rgb, rgb2hsv

from .canvas import Paint, colors, fractal, grid, mix, noise, ramp, relief, smoothstep

SKY = colors("3f5fb8", "7f86d6", "d99ac0", "f7b98a", "fbd77c", "fdeaa6")
HILL = colors("5a4a9a", "7a63b0", "4a5aa8")
WATER = colors("f6c77a", "d79ab5", "7f8fd0", "3f68b0", "2f4f98")
MEADOW = colors("8fae3a", "4f8a3f", "2f6a4a", "24504f")
TREE = colors("1f4a4a", "2f6a44", "6f9a3a", "d9a83a")
DOTS = ((64, 0.0195, 0.14), (88, 0.0125, 0.22))  # grid of dots a side, diameter, share of complements


def paint(rng: np.random.Generator, n: int) -> np.ndarray:
    """The picture, (n, n, 3)."""
    m = 256  # the field is soft: a fixed lattice is enough
    field = _scene(rng, m)
    canvas = Paint(rng, np.full((n, n, 3), colors("d8c096")[0], np.float32))
    for side, diameter, share in DOTS:
        order = rng.permutation(side * side)
        jitter = rng.uniform(-0.55, 0.55, (len(order), 2))
        px, py = (order % side + 0.5 + jitter[:, 0]) / side, (order // side + 0.5 + jitter[:, 1]) / side
        i, j = (np.clip((p * m).astype(int), 0, m - 1) for p in (py, px))
        paints = _split(rng, field[i, j], share)
        widths = diameter * rng.uniform(0.75, 1.25, len(order))
        angles, lengths = rng.uniform(0, np.pi, len(order)), widths * rng.uniform(1.0, 1.5, len(order))
        shapes = np.stack([px, py, angles, lengths, widths], 1).tolist()
        offsets = rng.integers(0, 256, (len(order), 2)).tolist()
        for (x, y, angle, length, width), color, offset in zip(shapes, paints, offsets, strict=True):
            canvas.stroke(x, y, angle, length, width, 0.0, color, offset, squareness=2, dryness=0, streak=0.2)
    return relief(canvas.color, canvas.height, depth=0.5, gloss=0.1)


def _split(rng: np.random.Generator, color: np.ndarray, share: float) -> np.ndarray:
    """Colours (k, 3) pulled apart: purer, hue a little off, a `share` of them turned to the complement."""
    hue, saturation, value = rgb2hsv(color).T
    k = len(hue)
    turned = rng.random(k) < share
    hue = hue + 0.045 * rng.standard_normal(k) + np.where(turned, 0.5 + 0.06 * rng.standard_normal(k), 0)
    saturation = np.clip(saturation * rng.uniform(0.9, 1.5, k) + 0.08, 0, 0.95)
    value = np.clip(value * (1 + 0.14 * rng.standard_normal(k)) + 0.06, 0.12, 1)
    return hsv2rgb(np.stack([hue % 1, saturation, value], -1)).astype(np.float32)


def _scene(rng: np.random.Generator, m: int) -> np.ndarray:
    """The soft colour field under the dots, (m, m, 3)."""
    x, y = grid(m)
    sx, shore = rng.uniform(0.3, 0.42), 0.47
    cloud = fractal(rng, m, 3, 3)
    image = ramp(y / shore + 0.09 * np.sin(28 * y + 2.5 * cloud) * (1 - y) + 0.05 * cloud, SKY)
    r = np.hypot(x - sx, y - 0.33)
    image = mix(image, colors("fff3b8")[0], np.exp(-((r / 0.17) ** 2)))
    image = mix(image, colors("ff7a3a")[0], smoothstep(0.078, 0.066, r))
    ridge = shore - 0.07 - 0.05 * np.sin(5 * x + rng.uniform(0, 6)) - 0.015 * noise(rng, m, 9)
    image = mix(image, ramp(0.5 + 0.4 * noise(rng, m, 10), HILL), smoothstep(-0.006, 0.006, y - ridge))
    depth = np.clip((y - shore) / 0.35, 0, 1)
    ripple = np.sin(60 * np.sqrt(depth) + 1.5 * noise(rng, m, 5, 14))
    water = ramp(depth * 0.9 + 0.14 * ripple, WATER)
    path = np.exp(-(((x - sx) / (0.05 + 0.1 * depth)) ** 2)) * (0.6 + 0.5 * ripple)
    water = mix(water, colors("ffb04a")[0], path)
    image = mix(image, water, smoothstep(-0.004, 0.004, y - shore))
    bank = 0.80 - 0.16 * smoothstep(0.3, 1.0, x) + 0.02 * np.sin(9 * x) + 0.012 * noise(rng, m, 8)
    grass = ramp((y - bank) * 3.2 + 0.22 * noise(rng, m, 14) + 0.1, MEADOW)
    flowers = noise(rng, m, 34)
    grass = mix(grass, colors("e8412f")[0], smoothstep(1.1, 1.5, flowers))
    grass = mix(grass, colors("ffd84a")[0], smoothstep(1.3, 1.7, -flowers))
    image = mix(image, grass, smoothstep(-0.008, 0.008, y - bank))
    for tx, ty, size in ((0.84, 0.24, 0.17), (0.66, 0.40, 0.09), (0.98, 0.38, 0.13), (0.06, 0.40, 0.08)):
        tx += rng.uniform(-0.03, 0.03)
        off_axis = np.abs(x - tx - 0.01 * np.sin(20 * y)) / size
        trunk = smoothstep(0.1, 0.07, off_axis) * (y > ty) * (y < ty + 2.6 * size)
        image = mix(image, colors("4a2f4f")[0], trunk)
        crown = np.hypot((x - tx) / size, (y - ty) / (1.25 * size)) + 0.13 * noise(rng, m, 12)
        leaves = ramp(0.35 - 0.5 * (x - tx) / size - 0.3 * (y - ty) / size + 0.2 * noise(rng, m, 22), TREE)
        image = mix(image, leaves, smoothstep(1.05, 0.92, crown))
    return image
