"""Photographs that are always at hand: those in scikit-image's wheel, in the public domain or CC0."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from .images import from_array, resize_longest

# Names, and whom to credit.
PHOTOS = {
    "astronaut": "Eileen Collins, NASA; public domain",
    "chelsea": "Chelsea the cat, Stefan van der Walt; CC0",
    "coffee": "Coffee cup, Rachel Michetti; CC0",
    "motorcycle": "Motorcycle, Middlebury stereo 2014, Daniel Scharstein; CC0",
    "rocket": "Falcon 9 launch, SpaceX; public domain",
}


def photo(name: str, size: int | None = None) -> Tensor:
    """Return a free photograph that comes with scikit-image; no network is used.

    Args:
        name: one of :data:`PHOTOS`.
        size: the longest side in pixels; default as it is.

    Returns:
        (1, 3, H, W) in [0, 1].
    """
    if name not in PHOTOS:
        raise ValueError(f"unknown photo {name!r}; known: {', '.join(PHOTOS)}")
    from skimage import data

    pixels = data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(data, name)()
    image = from_array(pixels[..., :3])
    return image if size is None else resize_longest(image, size)


def photo_files() -> list[Path]:
    """Return the files of :data:`PHOTOS`, for a training run that needs nothing else."""
    from skimage import data

    files = {"motorcycle": "motorcycle_left.png", "rocket": "rocket.jpg"}
    return [Path(data.__file__).parent / files.get(name, f"{name}.png") for name in PHOTOS]
