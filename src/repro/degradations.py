"""Ways to make a picture worse: low-resolution input for super-resolution, distortions to compare on."""

from __future__ import annotations

import io

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .images import check_image, from_array, resize, to_array


def low_resolution(image: Tensor, factor: int, blur: float = 1.0) -> Tensor:
    """Make the low-resolution input of super-resolution: Gaussian blur, then bicubic (section 4.2).

    Args:
        image: (N, 3, H, W) in [0, 1]; H and W must be multiples of ``factor``.
        factor: 4 or 8 in the paper.
        blur: sigma of the Gaussian in pixels, 1.0 in the paper; 0 leaves it out.

    Returns:
        (N, 3, H / factor, W / factor) in [0, 1].

    Raises:
        ValueError: the sides are no multiples of ``factor``, or ``blur`` does not suit them
            (:func:`gaussian_blur`).
    """
    check_image(image)
    height, width = image.shape[-2:]
    if height % factor or width % factor:
        raise ValueError(f"an image of {width} x {height} px is no multiple of {factor}; crop it first")
    return resize(gaussian_blur(image, blur), (height // factor, width // factor))


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """Blur (N, 3, H, W) with a Gaussian of ``sigma`` pixels, cut off at 3 sigma; the border is mirrored.

    Raises:
        ValueError: ``sigma`` is negative, or a side is too short to be mirrored by 3 sigma.
    """
    if sigma < 0:
        raise ValueError(f"blur: expected at least 0, got {sigma}")
    if sigma == 0:
        return image
    radius = max(1, round(3 * sigma))
    if radius >= min(image.shape[-2:]):
        height, width = image.shape[-2:]
        raise ValueError(
            f"an image of {width} x {height} px is too small for a blur of {sigma:g} px, "
            f"which needs more than {radius} px a side"
        )
    positions = torch.arange(-radius, radius + 1, dtype=image.dtype)
    kernel = torch.exp(-(positions**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).to(image.device).expand(3, 1, 1, -1)
    image = F.pad(image, (radius,) * 4, mode="reflect")
    image = F.conv2d(image, kernel, groups=3)
    return F.conv2d(image, kernel.transpose(2, 3), groups=3)


DISTORTIONS = ("blur", "noise", "jpeg", "shift", "colour", "rescale")


def distort(image: Tensor, kind: str, strength: float, rng: np.random.Generator) -> Tensor:
    """Damage an image in one of the ways that :data:`DISTORTIONS` names.

    Args:
        image: (1, 3, H, W) in [0, 1].
        kind: "blur" (Gaussian), "noise" (Gaussian, independent per value), "jpeg", "shift" (by whole
            pixels), "colour" (gain and offset of each channel) or "rescale" (down and up again).
        strength: from 0, barely visible, to 1, plain to see.
        rng: source of the random choices.

    Returns:
        (1, 3, H, W) in [0, 1].
    """
    height, width = image.shape[-2:]
    if kind == "blur":
        return gaussian_blur(image, 0.5 + 2.5 * strength)
    if kind == "noise":
        noise = torch.from_numpy(rng.standard_normal(image.shape, dtype=np.float32))
        return (image + (0.01 + 0.14 * strength) * noise).clamp(0, 1)
    if kind == "jpeg":
        buffer = io.BytesIO()
        Image.fromarray(to_array(image)).save(buffer, "JPEG", quality=round(70 - 62 * strength))
        return from_array(np.array(Image.open(buffer)))
    if kind == "shift":
        distance, angle = 1 + 7 * strength, rng.uniform(0, 2 * np.pi)
        dy, dx = round(distance * np.sin(angle)), round(distance * np.cos(angle))
        padded = F.pad(image, (8, 8, 8, 8), mode="reflect")
        return padded[..., 8 + dy : 8 + dy + height, 8 + dx : 8 + dx + width]
    if kind == "colour":
        amount = 0.03 + 0.27 * strength
        gain = torch.from_numpy(1 + amount * rng.uniform(-1, 1, (1, 3, 1, 1))).float()
        offset = torch.from_numpy(0.5 * amount * rng.uniform(-1, 1, (1, 3, 1, 1))).float()
        return (image * gain + offset).clamp(0, 1)
    if kind == "rescale":
        factor = 1.3 + 4.7 * strength
        return resize(
            resize(image, (max(1, round(height / factor)), max(1, round(width / factor)))), (height, width)
        )
    raise ValueError(f"unknown distortion {kind!r}; known: {', '.join(DISTORTIONS)}")
