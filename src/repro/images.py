"""Read and write pictures; sizes and colour spaces.

One convention everywhere in ``repro``: an image is a float32 tensor of shape (N, 3, H, W), RGB, in [0, 1].
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from .decoding import DAMAGED, decode, jpeg_quality
from .files import atomic_path

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
LARGEST_SIDE = {".jpg": 65_500, ".jpeg": 65_500, ".webp": 16_383}  # in pixels, where the format has a limit


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


class Picture(NamedTuple):
    """What a file holds: the image, (1, 3, H, W), its opacity, (1, 1, H, W), and the quality it was saved at.

    ``alpha`` is None where every pixel is opaque, ``quality`` (1 to 100) where the file is no JPEG.
    """

    image: Tensor
    alpha: Tensor | None
    quality: int | None


def load_image(path: str | Path, size: int | None = None) -> Tensor:
    """Read a picture file as an image.

    Greyscale, palette, CMYK and 16-bit pictures become RGB; an embedded colour profile is converted to
    sRGB; the EXIF orientation is applied; transparent parts are laid over white; of an animation the first
    frame is taken. PostScript, which is a program, is not read.

    Args:
        path: the file.
        size: if given, the longest side in pixels of what is returned (aspect ratio kept).

    Returns:
        (1, 3, H, W), float32, RGB, in [0, 1].

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a picture, is damaged or has more than 178 megapixels, or ``size`` is not
            positive.
    """
    image, alpha, _ = load_picture(path)
    if alpha is not None:
        image = over_white(image, alpha)
    return image if size is None else resize_longest(image, size)


def load_picture(path: str | Path) -> Picture:
    """Read a picture file with what is to be kept when a changed version of it is saved.

    As :func:`load_image`, but transparent parts keep their colour and are described by ``alpha``.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: {'is a folder, not a picture' if path.is_dir() else 'no such file'}"
        )
    try:
        with warnings.catch_warnings():  # it warns at 89 megapixels, and telephones have more
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                if file.format == "EPS":  # a program, which Pillow has Ghostscript run, whatever its name
                    raise UnidentifiedImageError
                file.load()
                return Picture(*decode(file), jpeg_quality(file))
    except UnidentifiedImageError:
        raise ValueError(f"{path}: not a picture in a format that Pillow reads") from None
    except Image.DecompressionBombError:
        limit = 2 * Image.MAX_IMAGE_PIXELS // 10**6
        raise ValueError(f"{path}: more than {limit} megapixels; make it smaller first") from None
    except (*DAMAGED, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" in str(error):  # too little of it, no damage
            raise
        raise ValueError(f"{path}: the picture is damaged or cannot be read ({error})") from None


def from_pil(picture: Image.Image) -> Tensor:
    """Convert a Pillow picture of any mode to an image, (1, 3, H, W); see :func:`load_image`."""
    image, alpha = decode(picture)
    return image if alpha is None else over_white(image, alpha)


def over_white(image: Tensor, alpha: Tensor) -> Tensor:
    """Lay (N, 3, H, W) over white where ``alpha``, (N, 1, H, W), is below 1; rounded to 8 bits."""
    return (255 * (image * alpha + (1 - alpha))).round() / 255


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


def save_image(image: Tensor, path: str | Path, quality: int = 95, alpha: Tensor | None = None) -> None:
    """Write an image of shape (1, 3, H, W) to a file, whole or not at all.

    The suffix chooses the format. Values are clipped to [0, 1] and rounded to 8 bits. A file of that name
    is replaced.

    Args:
        quality: of JPEG and WebP files, 1 to 100.
        alpha: opacity, (1, 1, H, W); in a format that has none the image is laid over white.

    Raises:
        ValueError: unknown suffix, a side that is too long for the format, more than one image, or values
            that are not finite.
        OSError: the folder cannot be written to.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(
            f"{path}: cannot write {path.suffix or 'a name without suffix'!r}; use one of {SUFFIXES}"
        )
    side, limit = max(image.shape[-2:]), LARGEST_SIDE.get(suffix)
    if limit and side > limit:
        raise ValueError(f"{path}: a side of {side} px is too long for {suffix} ({limit} px); use .png")
    if alpha is not None and suffix not in (".png", ".webp", ".tif", ".tiff"):
        image, alpha = over_white(image.clamp(0, 1), alpha.to(image)), None
    picture = Image.fromarray(to_array(image))
    if alpha is not None:
        picture.putalpha(Image.fromarray(to_array(alpha.expand(-1, 3, -1, -1))[..., 0]))
    options = {"quality": quality} if suffix in (".jpg", ".jpeg", ".webp") else {}
    if suffix in (".jpg", ".jpeg"):
        options["subsampling"] = 0
    with atomic_path(path) as temporary:
        picture.save(temporary, **options)


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
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
    return F.interpolate(image, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)


def resize_longest(image: Tensor, size: int) -> Tensor:
    """Resize so that the longest side has ``size`` pixels and the aspect ratio is kept."""
    if size < 1:
        raise ValueError(f"size must be at least 1 px, got {size}")
    height, width = image.shape[-2:]
    factor = size / max(height, width)
    return resize(image, (max(1, round(height * factor)), max(1, round(width * factor))))


def fingerprint(image: Tensor) -> list[int]:
    """Return the mean colours of 8 x 8 parts of a picture (1, 3, H, W), from 0 to 255.

    No hash of the pixels, whose last bits depend on the processor and on the number of threads.
    """
    means = F.adaptive_avg_pool2d(image.detach().cpu(), 8)
    return (255 * means).round().int().flatten().tolist()


def same_fingerprint(one: Sequence[int], other: Sequence[int]) -> bool:
    """Say whether two of :func:`fingerprint` are of the same picture: no mean differs by more than 1."""
    return len(one) == len(other) and all(abs(a - b) <= 1 for a, b in zip(one, other, strict=True))


def center_crop(image: Tensor, size: int) -> Tensor:
    """Cut the largest centred square out of (N, 3, H, W) and resize it to (N, 3, size, size)."""
    side = min(image.shape[-2:])
    top, left = (image.shape[-2] - side) // 2, (image.shape[-1] - side) // 2
    return resize(image[..., top : top + side, left : left + side], (size, size))


# ITU-R BT.601 at full range, as JPEG uses it: rows give Y, Cb, Cr from R, G, B.
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
    return torch.einsum("dc,nchw->ndhw", _YCBCR.to(image), image)


def ycbcr_to_rgb(image: Tensor) -> Tensor:
    """Invert :func:`rgb_to_ycbcr`; the result is not clipped."""
    check_image(image)
    return torch.einsum("dc,nchw->ndhw", torch.linalg.inv(_YCBCR).to(image), image)


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
