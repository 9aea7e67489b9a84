"""What is in a Pillow picture: colours, opacity, orientation, colour profile, JPEG quality."""

from __future__ import annotations

import io
import struct

import numpy as np
import torch
from PIL import ExifTags, Image, ImageCms
from torch import Tensor

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


def decode(picture: Image.Image) -> tuple[Tensor, Tensor | None]:
    """Return a Pillow picture's colours, (1, 3, H, W) in [0, 1], and opacity, (1, 1, H, W) or None.

    Upright, in sRGB; greyscale, palette, CMYK and 16-bit pictures become RGB. Opacity is None where every
    pixel is opaque.
    """
    picture = _upright(picture)
    if picture.mode.startswith(("I", "F")):  # 16 or 32 bits a sample, always greyscale
        values = np.asarray(picture, dtype=np.float32)
        top = 65535.0 if picture.mode.startswith("I") else max(1.0, float(values.max()))
        grey = torch.from_numpy(np.clip(values / top, 0.0, 1.0))
        image, clear = grey.expand(1, 3, *grey.shape).contiguous(), picture.info.get("transparency")
        if not isinstance(clear, int) or not (values == clear).any():
            return image, None
        return image, torch.from_numpy((values != clear).astype(np.float32))[None, None]
    transparent = picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info
    if transparent:
        picture = picture.convert("RGBA")
    elif picture.mode == "P":
        picture = picture.convert("RGB")
    pixels = np.array(_to_srgb(picture).convert("RGBA" if transparent else "RGB"))
    colours = np.ascontiguousarray(pixels[..., :3])
    image = torch.from_numpy(colours).permute(2, 0, 1)[None].to(torch.float32) / 255
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
        return ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode=mode)
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
