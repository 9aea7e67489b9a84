"""PSNR and SSIM for super-resolution, by the protocol that published tables of those years share.

The paper (section 4.2) evaluates on the Y channel of YCbCr and leaves the rest open. That it measured like
the others is an inference: its PSNR of bicubic interpolation at x4 and its rows of SRCNN are those of other
tables. This module follows their evaluation code (SelfExSR's ``compute_difference.m``, Matlab):

1. Both images are clipped to [0, 1] and rounded to 8 bits.
2. Y is BT.601 luma in studio range, 16 (black) to 235 (white), rounded to 8 bits: Matlab's ``rgb2ycbcr`` for
   uint8. (JPEG's full range, as in ``repro.images.rgb_to_ycbcr``, would give a PSNR 1.3 dB lower.)
3. ``border`` pixels are cut off each side; for super-resolution by a factor s, border = s.
4. PSNR = 10 log10(255^2 / MSE), in double precision.
5. SSIM (Wang et al. 2004): Gaussian window 11x11 with sigma 1.5, K1 = 0.01, K2 = 0.03, dynamic range 255,
   averaged over the positions where the window lies inside the image; no downsampling beforehand.
6. A data set's value is the mean of its images' values.

Low-resolution test images are the originals, cropped at the right and the bottom to a multiple of s, then
resized by antialiased bicubic interpolation (``repro.images.resize``) and rounded to 8 bits.

Published tables treat greyscale files, of which Set14 has one (``bridge``), as they are, without step 2:
``channel="rgb"`` does that. It lowers the mean of Set14 by 0.09 dB; Set5 and BSD100 have none.

PSNR and SSIM follow the eye badly, which is the paper's point. :func:`lpips` was fitted to what people say.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .downloads import reason_of, torch_downloads
from .errors import AssetError
from .images import check_image

Channel = Literal["y", "rgb"]

_WINDOW_SIZE, _WINDOW_SIGMA = 11, 1.5
_K1, _K2 = 0.01, 0.03
_PEAK = 255.0
_LPIPS_SMALLEST = 31  # px: AlexNet's second pooling has nothing left of less


def to_y(image: Tensor) -> Tensor:
    """Compute the luma of an image as Matlab's ``rgb2ycbcr`` does for uint8.

    Args:
        image: (N, 3, H, W), RGB in [0, 1]; clipped and rounded to 8 bits first.

    Returns:
        (N, 1, H, W), float64, whole numbers from 16 to 235, on the CPU.
    """
    rgb = _to_8_bit(image)
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64) / 255
    return (16 + torch.einsum("c,nchw->nhw", weights, rgb)).round().unsqueeze(1)


def psnr(a: Tensor, b: Tensor, border: int = 0, channel: Channel = "y") -> Tensor:
    """Compute the peak signal-to-noise ratio of each pair of images, in dB; infinite where they are equal.

    Args:
        a, b: (N, 3, H, W), RGB in [0, 1].
        border: pixels to cut off each side.
        channel: ``"y"`` for luma, ``"rgb"`` for all three channels.

    Returns:
        (N,), float64.

    Raises:
        TypeError: an image is not floating point.
        ValueError: shapes differ or are not (N, 3, H, W), nothing is left inside the border, or the channel
            is unknown.
    """
    a, b = _prepare(a, b, border, channel)
    return 10 * torch.log10(_PEAK**2 / (a - b).square().mean(dim=(1, 2, 3)))


def ssim(a: Tensor, b: Tensor, border: int = 0, channel: Channel = "y") -> Tensor:
    """Compute the structural similarity of each pair of images, at most 1; with ``"rgb"`` the channels' mean.

    Arguments, result and errors are those of :func:`psnr`; inside the border each side must have 11 px.
    """
    a, b = _prepare(a, b, border, channel)
    height, width = a.shape[-2:]
    if min(height, width) < _WINDOW_SIZE:
        raise ValueError(f"SSIM needs 11 x 11 px inside the border, got {height} x {width}")
    c1, c2 = (_K1 * _PEAK) ** 2, (_K2 * _PEAK) ** 2
    mean_a, mean_b = _blur(a), _blur(b)
    var_a, var_b = _blur(a * a) - mean_a**2, _blur(b * b) - mean_b**2
    covariance = _blur(a * b) - mean_a * mean_b
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    similarity = similarity / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return similarity.mean(dim=(1, 2, 3))


@torch.no_grad()
def lpips(a: Tensor, b: Tensor) -> Tensor:
    """Compute the learned perceptual image patch similarity of each pair of images: 0 if equal.

    A perceptual loss, like the paper's: squared differences of features, each position's scaled to unit
    length. What it has more is a weight for every channel, fitted to people's choices of the closer of two
    distorted patches (Zhang et al. 2018). Version 0.1 on the five ReLU layers of AlexNet, as torchmetrics
    computes it; its weights are those of :func:`alexnet`.

    Args:
        a, b: (N, 3, H, W), RGB in [0, 1], clipped if beyond; 31 px or more each way.

    Returns:
        (N,), float32, on the images' device. For all its name it is a distance: lower is closer.

    Raises:
        TypeError: an image is not floating point.
        ValueError: shapes differ or are not (N, 3, H, W), or the images are too small.
        repro.errors.AssetError: AlexNet's weights are not on this machine and cannot be downloaded.
    """
    _check_pair(a, b)
    if min(a.shape[-2:]) < _LPIPS_SMALLEST:
        raise ValueError(f"LPIPS needs 31 x 31 px, got {a.shape[-2]} x {a.shape[-1]}")
    network = lpips_network().to(a.device)
    pairs = zip(a.float().clamp(0, 1).split(1), b.float().clamp(0, 1).split(1), strict=True)
    return torch.stack([network(x, y) for x, y in pairs])


def find_alexnet() -> Path | None:
    """Return torchvision's file of AlexNet, which :func:`lpips` needs, or None if not here.

    It is looked for where torch keeps its downloads; see :func:`repro.downloads.torch_downloads`.
    """
    from torchvision.models import AlexNet_Weights

    path = torch_downloads() / Path(AlexNet_Weights.IMAGENET1K_V1.url).name
    return path if path.is_file() else None


def alexnet() -> Path:
    """Return the file of :func:`find_alexnet`; 233 MB are downloaded through torchvision when it is not here.

    Raises:
        AssetError: not here and no download possible.
    """
    from torchvision.models import AlexNet_Weights

    if (path := find_alexnet()) is None:
        entry = AlexNet_Weights.IMAGENET1K_V1
        try:
            entry.get_state_dict(check_hash=True, progress=False, map_location="cpu", weights_only=True)
        except Exception as error:  # no network, a proxy's answer, a wrong hash: all end the same way
            raise AssetError(
                f"LPIPS: could not download {entry.url} ({reason_of(error)}); connect and try again, "
                f"or put the file into {torch_downloads()}"
            ) from None
        path = torch_downloads() / Path(entry.url).name
    return path


@cache
def lpips_network() -> nn.Module:
    """Return what :func:`lpips` computes with, loaded once; errors as there."""
    from torchmetrics.image import LearnedPerceptualImagePatchSimilarity

    alexnet()
    return LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True).eval()


def evaluate_sr(sr: Tensor, hr: Tensor, scale: int) -> dict[str, float]:
    """Score super-resolved images against the originals: Y channel, border of ``scale`` px; see the module.

    Args:
        sr: (N, 3, H, W), RGB in [0, 1], the super-resolved images.
        hr: the same shape, the originals; H and W must be multiples of ``scale``, since no image of another
            size can have been super-resolved by that factor.
        scale: the factor.

    Returns:
        ``{"psnr": dB, "ssim": at most 1}``, means over the batch.

    Raises:
        TypeError, ValueError: as :func:`psnr`, and for a size that is no multiple of ``scale``.
    """
    check_image(hr, "hr")
    height, width = hr.shape[-2:]
    if height % scale or width % scale:
        raise ValueError(f"crop the original to a multiple of {scale} first, it is {height} x {width} px")
    return {
        "psnr": psnr(sr, hr, border=scale).mean().item(),
        "ssim": ssim(sr, hr, border=scale).mean().item(),
    }


def _to_8_bit(image: Tensor) -> Tensor:
    # float64 from here on, and on the CPU because not every accelerator has it.
    return (255 * image.detach().cpu().double().clamp(0, 1)).round()


def _check_pair(a: Tensor, b: Tensor) -> None:
    check_image(a, "first image")
    check_image(b, "second image")
    if a.shape != b.shape:
        raise ValueError(f"the images' shapes differ: {tuple(a.shape)} and {tuple(b.shape)}")


def _prepare(a: Tensor, b: Tensor, border: int, channel: str) -> tuple[Tensor, Tensor]:
    """Check both images; give what is to be compared, (N, 1 or 3, h, w) in 0..255, without the border."""
    _check_pair(a, b)
    if border < 0 or 2 * border >= min(a.shape[-2:]):
        raise ValueError(f"a border of {border} px leaves nothing of {a.shape[-2]} x {a.shape[-1]} px")
    if channel not in get_args(Channel):
        raise ValueError(f"unknown channel {channel!r}; choose 'y' or 'rgb'")
    inside = slice(border, -border or None)
    convert = to_y if channel == "y" else _to_8_bit
    return convert(a)[..., inside, inside], convert(b)[..., inside, inside]


def _blur(x: Tensor) -> Tensor:
    """Weighted means under the Gaussian window, (N, C, H, W) -> (N, C, H - 10, W - 10)."""
    offset = torch.arange(_WINDOW_SIZE, dtype=x.dtype) - _WINDOW_SIZE // 2
    window = torch.exp(-(offset**2) / (2 * _WINDOW_SIGMA**2))
    window = window / window.sum()
    planes = x.flatten(0, 1).unsqueeze(1)  # one convolution channel, whatever N and C
    planes = F.conv2d(F.conv2d(planes, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))
    return planes.view(*x.shape[:2], *planes.shape[-2:])
