"""Trained networks at work on photos of any size: :func:`stylize` and :func:`upscale`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .images import check_image, match_histograms, rgb_to_ycbcr, ycbcr_to_rgb
from .tiles import TILE, run_in_tiles
from .transform_nets import SuperResolutionNet, check_task, load_network


def stylize(
    photo: Tensor,
    style: str | Path | nn.Module,
    strength: float = 1.0,
    preserve_color: bool = False,
    tile: int | None = TILE,
    progress: bool = False,
) -> Tensor:
    """Give a photo a style by one pass through a trained network.

    Args:
        photo: (N, 3, H, W), RGB in [0, 1], of any size and on any device.
        style: the name of a style that comes with the package, the folder of a run, a safetensors file, or
            a network on the photo's device, compiled and in ``DataParallel`` too.
        strength: from 0, the photo as it is, to 1, the network's result; between them the two are mixed.
        preserve_color: keep the photo's colors: only the luminance (Y of BT.601) is the network's.
        tile: a larger photo is worked on in tiles of this side in pixels, at least 64, which bounds the
            memory that is needed; the result is the same. None: always in one piece.
        progress: show a bar in a terminal while there are tiles.

    Returns:
        (N, 3, H, W), float32, in [0, 1].

    Raises:
        TypeError, ValueError: ``photo`` is no image, another argument is not in its range, or ``style`` is
            not known or is a network for super-resolution.
        repro.errors.AssetError: the network's file is damaged.

    Example:
        >>> stylize(torch.rand(1, 3, 48, 64), "stained_glass").shape
        torch.Size([1, 3, 48, 64])
    """
    photo = _checked(photo)
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must be between 0 and 1, got {strength}")
    network = _network(style, "style", photo)
    result = run_in_tiles(network, photo, tile, progress)
    for top in range(0, photo.shape[-2], 256):  # in strips, as a large picture would need several copies
        rows = (..., slice(top, top + 256), slice(None))
        if preserve_color:
            luminance, color = rgb_to_ycbcr(result[rows])[:, :1], rgb_to_ycbcr(photo[rows])[:, 1:]
            result[rows] = ycbcr_to_rgb(torch.cat([luminance, color], 1)).clamp_(0, 1)
        if strength < 1:
            result[rows] = torch.lerp(photo[rows], result[rows], strength)
    return result


def upscale(
    photo: Tensor,
    network: str | Path | nn.Module = "x4",
    match_histogram: bool | None = None,
    tile: int | None = TILE,
    progress: bool = False,
) -> Tensor:
    """Enlarge a photo by one pass through a trained network.

    Args:
        photo: (N, 3, H, W), RGB in [0, 1], of any size and on any device.
        network: the name of one that comes with the package, the folder of a run, a safetensors file, or a
            network on the photo's device, compiled and in ``DataParallel`` too. "x4" and "x8" enlarge four
            and eight times, with detail that looks right; "x4_pixel" and "x8_pixel" make the smallest error.
            "x4_relu2_2" and "x8_relu2_2" are trained on features alone, as in section 4.2; the first two
            have a pixel loss beside it against the fine grid that features alone lay over even areas.
        match_histogram: give each color channel of the result the photo's distribution of values, the
            paper's post-processing (section 4.2). By default for networks of the feature loss alone, which
            know colors only as far as the loss network does.
        tile, progress: as of :func:`stylize`; ``tile`` is in pixels of the result.

    Returns:
        (N, 3, factor H, factor W), float32, in [0, 1].

    Raises:
        TypeError, ValueError: ``photo`` is no image, another argument is not in its range, or ``network`` is
            not known or is one for style transfer; the message lists the names.
        repro.errors.AssetError: the network's file is damaged.

    Example:
        >>> upscale(torch.rand(1, 3, 24, 32), "x4").shape
        torch.Size([1, 3, 96, 128])
    """
    photo = _checked(photo)
    chosen = _network(network, "super-resolution", photo)
    if match_histogram is None:
        match_histogram = trained_on_features(chosen) and not _loss(chosen).get("pixel_weight")
    result = run_in_tiles(chosen, photo, tile, progress)
    if match_histogram:
        for i in range(len(photo)):
            result[i : i + 1] = match_histograms(result[i : i + 1], photo[i : i + 1])
    return result


def trained_on_features(network: SuperResolutionNet) -> bool:
    """Whether a network's recipe has a feature loss; if nothing is known of it, no."""
    return bool(_loss(network).get("content_layers"))


def _loss(network: SuperResolutionNet) -> dict[str, Any]:
    return (network.recipe or {}).get("loss", {})


def _checked(photo: Tensor) -> Tensor:
    check_image(photo, "photo")
    low, high = (value.item() for value in photo.aminmax())
    if not -0.01 <= low <= high <= 1.01:  # false for NaN as well
        raise ValueError(f"photo: expected values in [0, 1], got {low:.4g} to {high:.4g}")
    return photo.detach().float().clamp(0, 1)


def _network(source: str | Path | nn.Module, task: str, photo: Tensor) -> Any:
    if not isinstance(source, nn.Module):
        return load_network(source, task).to(photo.device)
    network = source
    # torch.compile keeps what it wraps as _orig_mod; DataParallel and DistributedDataParallel as module.
    while inner := network._modules.get("_orig_mod") or network._modules.get("module"):
        network = inner
    check_task(network, task, type(network).__name__)
    return network
