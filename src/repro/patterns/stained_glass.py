"""A leaded window: a sun with rays over hills and water, cut into cells of coloured glass."""

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.spatial import cKDTree

from .canvas import colors, grid, mix, noise, smoothstep

SKY_DAWN = colors("ffe27a", "f9b43c", "7fd0dc", "f48a6a", "bfe3d8")
SKY_DAY = colors("2f9bd0", "63c1d6", "1c6fc2", "8f7fd0", "3fb0c4")
SKY_DEEP = colors("14459c", "1c6fc2", "0f2f7e", "4a3fa8", "1b58b4", "2a8ac8", "7a2f9a")
# region by region, from the sun outwards and then from the far hills to the water
PALETTES = (
    colors("ffe27a", "ffd23d", "ffb41c", "ff9a1f"),
    colors("f2701b", "e2391b", "c81e2a", "f59a22"),
    *(SKY_DAWN, SKY_DAY, SKY_DEEP, SKY_DAY, SKY_DEEP, SKY_DEEP, SKY_DAY, SKY_DEEP),
    colors("1f7a4a", "35a05a", "7fbf3f", "146152", "b7cf4a"),
    colors("0f5a58", "177a6a", "0b3f55", "3a9a6a", "d98f2a"),
    colors("a3195b", "7b1f8a", "d6336c", "4b1a7a", "e8743b"),
    colors("0d2f78", "1450a5", "1b86b8", "3fc0c4", "0a1f55"),
)
CORONA, FIRST_RING, FIRST_HILL = 1, 2, 10
GAPS = (0.085, 0.045, *[0.072] * 8, *[0.052] * 4)  # least distance between the cells of a region


def paint(rng: np.random.Generator, n: int) -> np.ndarray:
    """The picture, (n, n, 3)."""
    x, y = grid(n)
    sun = (rng.uniform(0.56, 0.68), rng.uniform(0.28, 0.36), rng.uniform(0.1, 0.12))
    phases = rng.uniform(0, 2 * np.pi, (6, 3))
    region = _regions(x, y, sun, phases)
    sites, site_region = _sites(rng, sun, phases)
    tree = cKDTree(np.column_stack([sites, 3.0 * site_region]))  # far apart: each region has its own cells
    points = np.stack([x, y * np.where(region < FIRST_HILL, 1, 1.2), 3.0 * region], -1)
    cell = tree.query(points.reshape(-1, 3))[1].reshape(n, n)

    # Lead: distance to the nearest border; the borders of regions get the heavier came.
    thin = distance_transform_edt(~_borders(cell)).astype(np.float32) / n
    heavy = distance_transform_edt(~_borders(region)).astype(np.float32) / n
    lead = np.minimum(thin / 0.0036, heavy / 0.0062) / (1 + 0.2 * noise(rng, n, 14))

    # Glass: a colour for each cell, a slow gradient across it, streaks, grain, grime along the lead.
    tint = np.stack([PALETTES[r][rng.integers(len(PALETTES[r]))] for r in site_region])
    tint *= 1 + 0.15 * rng.standard_normal((len(sites), 1)).astype(np.float32)
    tilt = rng.uniform(0, 2 * np.pi, len(sites)).astype(np.float32)[cell]
    gradient = np.sin(15 * (np.cos(tilt) * x + np.sin(tilt) * y) + 3 * tilt)
    streaks = np.where(tilt < np.pi, noise(rng, n, 90, 16), noise(rng, n, 16, 90))
    daylight = np.clip(1.25 - 0.5 * np.hypot(x - sun[0], y - sun[1]), 0.75, 1.2)
    light = daylight * (
        1 + 0.2 * gradient + 0.1 * streaks + 0.05 * noise(rng, n, 330) + 0.08 * noise(rng, n, 40)
    )
    light *= 0.55 + 0.45 * smoothstep(0.002, 0.018, np.minimum(thin, heavy))
    image = tint[cell] * light[..., None]
    image = mix(image, np.ones(3, np.float32), 0.25 * smoothstep(1.2, 2.6, gradient + 0.7 * streaks))

    metal = 0.07 + 0.13 * np.clip(1 - np.abs(lead - 0.35) / 0.4, 0, 1) * (1 + 0.4 * noise(rng, n, 120))
    image = mix(
        np.clip(image, 0, 1),
        metal[..., None] * np.array([0.95, 0.97, 1.1], np.float32),
        1 - smoothstep(0.85, 1.1, lead),
    )
    bloom = np.stack([gaussian_filter(image[..., c], n * 0.012, truncate=2.5) for c in range(3)], -1)
    return image + 0.22 * bloom * bloom  # light scattered over the lead by the brightest cells


def _regions(x: np.ndarray, y: np.ndarray, sun: tuple[float, float, float], phases: np.ndarray) -> np.ndarray:
    """Index into PALETTES at points x, y: what is painted last lies in front."""
    x, y = x + 0.008 * np.sin(17 * y + phases[4, 0]), y + 0.008 * np.sin(19 * x + phases[4, 1])
    r, theta = np.hypot(x - sun[0], y - sun[1]), np.arctan2(y - sun[1], x - sun[0])
    ring = (r - sun[2]) / 0.098 + 0.45 * np.sin(3 * theta + phases[5, 0]) * smoothstep(0.12, 0.5, r)
    region = np.clip(np.ceil(ring) + 1, FIRST_RING, FIRST_HILL - 1).astype(np.int32)
    spike = np.abs((theta / (2 * np.pi) * 14) % 1 - 0.5) * 2
    region[r < sun[2] * (1.25 + 0.55 * spike)] = CORONA
    region[r < sun[2]] = 0
    for k, (a, b, c) in enumerate(phases[:4]):
        crest = 0.055 * np.sin(4.1 * x + a) + 0.03 * np.sin(8.3 * x + b) + 0.012 * np.sin(19 * x + c)
        region[y > 0.61 + 0.1 * k + crest] = FIRST_HILL + k
    return region


def _sites(
    rng: np.random.Generator, sun: tuple[float, float, float], phases: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Middles of the cells (k, 2) and their regions (k,): random darts, thinned to the region's gap."""
    darts = rng.uniform(-0.03, 1.03, (2600, 2))
    region = _regions(darts[:, 0], darts[:, 1], sun, phases)
    kept = np.zeros(len(darts), bool)
    for i, (dart, r) in enumerate(zip(darts, region, strict=True)):
        rivals = darts[:i][kept[:i] & (region[:i] == r)]
        kept[i] = not len(rivals) or np.hypot(*(rivals - dart).T).min() > GAPS[r]
    scale = np.where(region < FIRST_HILL, 1, 1.2)[:, None] * [0, 1] + [1, 0]
    return (darts * scale)[kept], region[kept]


def _borders(label: np.ndarray) -> np.ndarray:
    """True where a pixel's label differs from its right or lower neighbour's."""
    edge = np.zeros(label.shape, bool)
    edge[:, :-1] |= label[:, :-1] != label[:, 1:]
    edge[:-1] |= label[:-1] != label[1:]
    return edge
