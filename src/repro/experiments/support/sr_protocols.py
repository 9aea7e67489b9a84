"""Ways in which a table's bicubic rows may have been made: degradation, upsampling, border, channel, SSIM.

The paper says that it evaluates on the Y channel and leaves the rest open, and its rows at x8 are not what
the usual protocol gives. Each protocol here changes one choice of :mod:`repro.metrics`, or a few that go
together in one program.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ...degradations import gaussian_blur
from ...images import center_crop, match_histograms, resize, rgb_to_ycbcr
from ...metrics import to_y

Size = tuple[int, int]
# Ways to resize an image to (H, W). F.interpolate is as OpenCV's: four pixels whatever the factor.
RESIZE: dict[str, Callable[[Tensor, Size], Tensor]] = {
    "antialiased": resize,
    "point-sampled": lambda x, size: F.interpolate(x, size, mode="bicubic").clamp(0, 1),
    "corner-aligned": lambda x, size: F.interpolate(x, size, mode="bicubic", align_corners=True).clamp(0, 1),
    "area": lambda x, size: F.interpolate(x, size, mode="area"),
    "every n-th pixel": lambda x, size: F.interpolate(x, size, mode="nearest-exact"),
    "bilinear": lambda x, size: F.interpolate(x, size, mode="bilinear"),
}
# What is scored of an image (1, 3, H, W): whole numbers (1, C, H, W) up to 255, on the CPU.
PLANES: dict[str, Callable[[Tensor], Tensor]] = {
    "y": to_y,
    "full-range y": lambda x: (255 * rgb_to_ycbcr(to_8_bit(x.cpu().double()))[:, :1]).round(),
    "rgb": lambda x: 255 * to_8_bit(x.cpu().double()),
}


@dataclass(frozen=True)
class Protocol:
    """One way to make and to score a bicubic row; the defaults are those of :mod:`repro.metrics`.

    Attributes:
        blur: sigma in pixels of a Gaussian before downsampling.
        down: how the picture is made smaller, a key of :data:`RESIZE`.
        up: how it is enlarged, a key of the same.
        border: whether as many pixels as the factor are cut off each side before scoring.
        channel: "y", studio range; "full-range y", JPEG's; or "rgb".
        window: of SSIM, "gaussian" (11 x 11, sigma 1.5) or "uniform" (7 x 7, scikit-image's default).
        match_histogram: whether the result gets the histogram of the low-resolution image.
        square: whether only the centre square, resized to 288 px, is used, as in training.
        uncropped: whether the whole picture is downsampled, though its size may be no multiple of the
            factor, and compared with its top left part.
        gray_as_is: whether greyscale files are scored on their own values, without conversion to Y.
    """

    blur: float = 0.0
    down: str = "antialiased"
    up: str = "antialiased"
    border: bool = True
    channel: Literal["y", "full-range y", "rgb"] = "y"
    window: Literal["gaussian", "uniform"] = "gaussian"
    match_histogram: bool = False
    square: bool = False
    uncropped: bool = False
    gray_as_is: bool = False


_POINT, _CORNER, _EVERY = "point-sampled", "corner-aligned", "every n-th pixel"
PROTOCOLS = {
    "antialiased bicubic": Protocol(),
    "greyscale files as they are": Protocol(gray_as_is=True),
    "no border cut off": Protocol(border=False),
    "blur 1": Protocol(blur=1.0),
    "bilinear upsampling": Protocol(up="bilinear"),
    "bilinear upsampling, greyscale files as they are": Protocol(up="bilinear", gray_as_is=True),
    "bilinear upsampling, blur 1": Protocol(1.0, up="bilinear"),
    "bilinear upsampling, whole picture": Protocol(up="bilinear", uncropped=True),
    "area, bilinear upsampling": Protocol(down="area", up="bilinear"),
    "area, bilinear upsampling, blur 1": Protocol(1.0, "area", "bilinear"),
    "area": Protocol(down="area"),
    "whole picture": Protocol(uncropped=True),
    "point-sampled": Protocol(0.0, _POINT, _POINT),
    "point-sampled, blur 0.5": Protocol(0.5, _POINT, _POINT),
    "point-sampled, blur 1": Protocol(1.0, _POINT, _POINT),
    "corner-aligned": Protocol(0.0, _CORNER, _CORNER),
    "corner-aligned, blur 1": Protocol(1.0, _CORNER, _CORNER),
    "every n-th pixel": Protocol(0.0, _EVERY),
    "every n-th pixel, blur 1": Protocol(1.0, _EVERY),
    "RGB": Protocol(channel="rgb"),
    "full-range Y": Protocol(channel="full-range y"),
    "uniform SSIM window": Protocol(window="uniform"),
    "histogram matched": Protocol(match_histogram=True),
    "squares of 288 px": Protocol(square=True),
}


def crop_to_multiple(image: Tensor, factor: int) -> Tensor:
    """Cut (N, 3, H, W) at the right and the bottom to multiples of ``factor``.

    Example:
        >>> import torch
        >>> crop_to_multiple(torch.rand(1, 3, 101, 90), 4).shape
        torch.Size([1, 3, 100, 88])
    """
    height, width = (side // factor * factor for side in image.shape[-2:])
    return image[..., :height, :width]


def to_8_bit(image: Tensor) -> Tensor:
    """Round to what a file of 8 bits would hold, on the scale of 0 to 1.

    Example:
        >>> import torch
        >>> to_8_bit(torch.tensor([-0.1, 0.5, 2.0]))
        tensor([0.0000, 0.5020, 1.0000])
    """
    return (255 * image.clamp(0, 1)).round() / 255


def is_gray_file(path: Path) -> bool:
    """Return whether a picture file has one channel; one with three that agree is no such file."""
    with Image.open(path) as file:
        return file.mode in ("1", "L", "LA")


def bicubic_score(picture: Tensor, factor: int, protocol: Protocol, gray: bool = False) -> dict[str, float]:
    """Return PSNR (dB) and SSIM of a picture that was downsampled and upsampled again.

    Args:
        picture: (1, 3, H, W) in [0, 1], of any size that leaves 11 px inside the border.
        factor: 4 or 8.
        protocol: how.
        grey: whether it comes from a greyscale file.
    """
    if gray and protocol.gray_as_is:
        protocol = replace(protocol, channel="rgb")  # its channels are all the same
    source = center_crop(picture, 288) if protocol.square else picture
    original = crop_to_multiple(source, factor)
    height, width = original.shape[-2:]
    sharp = source if protocol.uncropped else original
    blurred = gaussian_blur(sharp, protocol.blur) if protocol.blur else sharp
    low = to_8_bit(RESIZE[protocol.down](blurred, (height // factor, width // factor)))
    result = RESIZE[protocol.up](low, (height, width))
    if protocol.match_histogram:
        result = match_histograms(result, low)
    return score(result, original, factor, protocol)


def score(result: Tensor, original: Tensor, factor: int, protocol: Protocol) -> dict[str, float]:
    """Return PSNR (dB) and SSIM of a result, (1, 3, H, W), against the original of the same shape."""
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    inside = slice(factor, -factor) if protocol.border else slice(None)
    planes = [PLANES[protocol.channel](image)[0, :, inside, inside].numpy() for image in (original, result)]
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    window = gaussian if protocol.window == "gaussian" else {}
    return {
        "psnr": float(peak_signal_noise_ratio(*planes, data_range=255)),
        "ssim": float(structural_similarity(*planes, data_range=255, channel_axis=0, **window)),
    }
