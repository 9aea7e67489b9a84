"""Images as tensors: checks, sizes, crops, colour spaces.

One convention everywhere in ``repro``: an image is a float32 tensor of shape (N, 3, H, W), RGB, in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def check_image(image: Tensor, what: str = "image") -> None:
    """Raise unless ``image`` follows the convention's type and shape, (N, 3, H, W) floating point.

    Values are not checked: an image that is being optimised may leave [0, 1] for a moment.

    Raises:
        TypeError: not a floating-point tensor.
        ValueError: not of shape (N, 3, H, W).
    """
    if not isinstance(image, Tensor) or not image.is_floating_point():
        kind = image.dtype if isinstance(image, Tensor) else type(image).__name__
        raise TypeError(f"{what}: expected a floating-point tensor with values in [0, 1], got {kind}")
    if image.ndim != 4 or image.shape[1] != 3 or 0 in image.shape:
        raise ValueError(f"{what}: expected shape (N, 3, H, W), got {tuple(image.shape)}")


def from_array(array: np.ndarray) -> Tensor:
    """Convert an (H, W, 3) uint8 array, RGB, to an image of shape (1, 3, H, W)."""
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"expected a uint8 array of shape (H, W, 3), got {array.dtype} {array.shape}")
    return torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1)[None].to(torch.float32) / 255


def to_array(image: Tensor) -> np.ndarray:
    """Convert an image of shape (1, 3, H, W) to an (H, W, 3) uint8 array: clipped, then rounded.

    Raises:
        ValueError: more than one image, or a value that is not finite.
    """
    check_image(image)
    if image.shape[0] != 1:
        raise ValueError(f"expected one image, got a batch of {image.shape[0]}")
    image = image.detach()[0]
    pixels = np.empty((*image.shape[1:], 3), np.uint8)
    for top in range(0, len(pixels), 256):  # in strips, as a large picture would need several copies
        strip = image[:, top : top + 256].to("cpu", torch.float32)
        if not bool(torch.isfinite(strip).all()):
            raise ValueError("the image has values that are not finite (NaN or infinity)")
        pixels[top : top + 256] = (strip.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return pixels


def resize(image: Tensor, size: Sequence[int]) -> Tensor:
    """Resize to ``size`` = (H, W) with antialiased bicubic interpolation (a = -0.5, as Matlab and Pillow).

    Args:
        image: (N, 3, h, w).

    Returns:
        (N, 3, H, W), clipped to [0, 1], since bicubic interpolation overshoots at edges.
    """
    check_image(image)
    if min(size) < 1:
        raise ValueError(f"size must be at least 1 x 1 px, got {size[0]} x {size[1]}")
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    height, width = size
    resized = F.interpolate(image, (height, width), mode="bicubic", antialias=True, align_corners=False)
    return resized.clamp(0, 1)


def resize_longest(image: Tensor, size: int) -> Tensor:
    """Resize so that the longest side has ``size`` pixels and the aspect ratio is kept."""
    if size < 1:
        raise ValueError(f"size must be at least 1 px, got {size}")
    height, width = image.shape[-2:]
    factor = size / max(height, width)
    return resize(image, (max(1, round(height * factor)), max(1, round(width * factor))))


def crop_middle(image: Tensor, height: int, width: int) -> Tensor:
    """Cut the middle out of (N, C, H, W): ``height`` x ``width`` pixels, or the whole of a shorter side."""
    top, left = (
        max(0, (have - keep) // 2) for have, keep in zip(image.shape[-2:], (height, width), strict=True)
    )
    return image[..., top : top + height, left : left + width]


def center_crop(image: Tensor, size: int) -> Tensor:
    """Cut the largest centred square out of (N, 3, H, W) and resize it to (N, 3, size, size)."""
    side = min(image.shape[-2:])
    return resize(crop_middle(image, side, side), (size, size))


# ITU-R BT.601 at full range, as JPEG uses it: rows give Y, Cb, Cr from R, G, B. Its precision goes before it
# moves, as Apple's GPUs have no float64.
_YCBCR = torch.tensor(
    [
        [0.299, 0.587, 0.114],
        [-0.168735892, -0.331264108, 0.5],
        [0.5, -0.418687589, -0.081312411],
    ],
    dtype=torch.float64,
)


def rgb_to_ycbcr(image: Tensor) -> Tensor:
    """Convert (N, 3, H, W) RGB in [0, 1] to Y in [0, 1] and Cb, Cr in [-0.5, 0.5] (BT.601, full range)."""
    check_image(image)
    return torch.einsum("dc,nchw->ndhw", _YCBCR.to(image.dtype).to(image.device), image)


def ycbcr_to_rgb(image: Tensor) -> Tensor:
    """Invert :func:`rgb_to_ycbcr`; the result is not clipped."""
    check_image(image)
    return torch.einsum("dc,nchw->ndhw", torch.linalg.inv(_YCBCR).to(image.dtype).to(image.device), image)


def match_histograms(image: Tensor, reference: Tensor) -> Tensor:
    """Give each colour channel of ``image`` the distribution of values of ``reference``'s.

    The paper's post-processing of super-resolved images (section 4.2), with the low-resolution input as the
    reference; which channels it matched is not stated, RGB here. A value goes to that value of the reference
    up to which there is the same share of pixels. Values of the image that agree in 16 bits are counted as
    one, so that a large picture needs no sorting.

    Args:
        image: (1, 3, H, W), in [0, 1]; what is outside is clipped.
        reference: (1, 3, h, w), of any size.

    Returns:
        (1, 3, H, W).
    """
    check_image(image)
    check_image(reference, "reference")
    if image.shape[0] != 1 or reference.shape[0] != 1:
        raise ValueError("match_histograms takes one image and one reference")
    matched = torch.empty_like(image)
    strips = [slice(top, top + 256) for top in range(0, image.shape[-2], 256)]
    for channel, goal, result in zip(image[0].detach(), reference[0].detach(), matched[0], strict=True):
        counts = np.zeros(_leading_bits(torch.ones(1)).item() + 1, dtype=np.int64)
        for rows in strips:
            counts += np.bincount(_leading_bits(channel[rows]).ravel(), minlength=len(counts))
        values, frequency = np.unique(goal.cpu().float().numpy(), return_counts=True)
        occupied = counts.nonzero()[0]
        shares = np.cumsum(counts[occupied]) / counts.sum()
        table = np.zeros(len(counts), dtype=np.float32)
        table[occupied] = np.interp(shares, np.cumsum(frequency) / frequency.sum(), values)
        for rows in strips:
            result[rows] = torch.from_numpy(table[_leading_bits(channel[rows])])
    return matched


def _leading_bits(values: Tensor) -> np.ndarray:
    """Return exponent and 16 bits of the fraction of values in [0, 1], as whole numbers in the same order."""
    values = values.cpu().float().clamp(0, 1) + 0.0  # no negative zero
    if not bool(values.isfinite().all()):
        raise ValueError("the image has values that are not finite (NaN)")
    return values.numpy().view(np.int32) >> 7
