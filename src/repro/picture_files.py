"""Picture files in and out: colours, opacity, orientation, colour profile, damage, JPEG quality."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError
from torch import Tensor

from .atomic_files import atomic_path
from .images import resize_longest, to_array

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
LARGEST_SIDE = {".jpg": 65_500, ".jpeg": 65_500, ".webp": 16_383}  # in pixels, where the format has a limit
# Pillow's ways of saying that a file is damaged.
DAMAGED = (OSError, SyntaxError, EOFError, ValueError, TypeError, KeyError, IndexError, struct.error)
_UPRIGHT = {  # by EXIF's number for the orientation; 1 is upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


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
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
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
    options: dict[str, Any] = {"quality": quality} if suffix in (".jpg", ".jpeg", ".webp") else {}
    if suffix in (".jpg", ".jpeg"):
        options["subsampling"] = 0
    with atomic_path(path) as temporary:
        picture.save(temporary, **options)


def decode(picture: Image.Image) -> tuple[Tensor, Tensor | None]:
    """Return a Pillow picture's colours, (1, 3, H, W) in [0, 1], and opacity, (1, 1, H, W) or None.

    Upright, in sRGB; greyscale, palette, CMYK and 16-bit pictures become RGB. Opacity is None where every
    pixel is opaque.
    """
    picture = _upright(picture)
    if picture.mode.startswith(("I", "F")):  # 16 or 32 bits a sample, always greyscale
        values = np.asarray(picture, dtype=np.float32)
        top = 65535.0 if picture.mode.startswith("I") else max(1.0, float(values.max()))
        gray = torch.from_numpy(np.clip(values / top, 0.0, 1.0))
        image, clear = gray.expand(1, 3, *gray.shape).contiguous(), picture.info.get("transparency")
        if not isinstance(clear, int) or not (values == clear).any():
            return image, None
        return image, torch.from_numpy((values != clear).astype(np.float32))[None, None]
    transparent = picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info
    if transparent:
        picture = picture.convert("RGBA")
    elif picture.mode == "P":
        picture = picture.convert("RGB")
    pixels = np.array(_to_srgb(picture).convert("RGBA" if transparent else "RGB"))
    colors = np.ascontiguousarray(pixels[..., :3])
    image = torch.from_numpy(colors).permute(2, 0, 1)[None].to(torch.float32) / 255
    if not transparent or (pixels[..., 3] == 255).all():
        return image, None
    return image, torch.from_numpy(pixels[..., 3].astype(np.float32) / 255)[None, None]


def _upright(picture: Image.Image) -> Image.Image:
    """Turn a picture the way its EXIF says; damaged EXIF says nothing."""
    try:
        orientation = picture.getexif().get(ExifTags.Base.Orientation)
    except DAMAGED:
        return picture
    method = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return picture if method is None else picture.transpose(method)


def _to_srgb(picture: Image.Image) -> Image.Image:
    profile = picture.info.get("icc_profile")
    if not profile or picture.mode not in ("RGB", "RGBA", "CMYK", "L"):
        return picture
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = "RGBA" if picture.mode == "RGBA" else "RGB"
        target = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(picture, source, target, outputMode=mode) or picture
    except (ImageCms.PyCMSError, OSError):  # a broken profile: the numbers as they are are better than none
        return picture


# The luminance table of the JPEG standard (ITU-T T.81, Table K.1) by rows. A quality of 50 is this table;
# libjpeg makes the others from it by a factor.
_LUMINANCE = np.array(
    [
        16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
        14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
        18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
        49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
    ]
)  # fmt: skip


def jpeg_quality(picture: Image.Image) -> int | None:
    """Return the quality, 1 to 100, whose quantisation table is nearest to that of a JPEG file."""
    table = (getattr(picture, "quantization", None) or {}).get(0)
    if table is None or len(table) != 64:
        return None
    quality = np.arange(1, 101)
    percent = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    tables = np.clip((_LUMINANCE * percent[:, None] + 50) // 100, 1, 255)
    return int(quality[np.abs(tables - np.array(table)).sum(1).argmin()])
