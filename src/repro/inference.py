"""Trained networks at work on photos of any size: :func:`stylize` and :func:`upscale`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from .images import check_image, match_histograms, rgb_to_ycbcr, ycbcr_to_rgb
from .tiles import TILE, run_in_tiles
from .transform_nets import StyleTransferNet, SuperResolutionNet, load_network

LOSSES = ("feature", "pixel")


def stylize(
    photo: Tensor,
    style: str | Path | StyleTransferNet,
    strength: float = 1.0,
    preserve_color: bool = False,
    tile: int | None = TILE,
    progress: bool = False,
) -> Tensor:
    """Give a photo a style by one pass through a trained network.

    Args:
        photo: (N, 3, H, W), RGB in [0, 1], of any size and on any device.
        style: the name of a style that comes with the package, the folder of a run, a safetensors file, or
            a network on the photo's device.
        strength: from 0, the photo as it is, to 1, the network's result; between them the two are mixed.
        preserve_color: keep the photo's colours: only the luminance (Y of BT.601) is the network's.
        tile: a larger photo is worked on in tiles of this side in pixels, at least 64, which bounds the
            memory that is needed; the result is the same. None: always in one piece.
        progress: show a bar in a terminal while there are tiles.

    Returns:
        (N, 3, H, W), float32, in [0, 1].

    Raises:
        TypeError, ValueError: ``photo`` is no image, another argument is not in its range, or ``style`` is
            not known or is a network for super-resolution.
        repro.errors.AssetError: the network's file is damaged.
    """
    photo = _checked(photo)
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must be between 0 and 1, got {strength}")
    network = _network(style, StyleTransferNet, photo)
    result = run_in_tiles(network, photo, tile, progress)
    for top in range(0, photo.shape[-2], 256):  # in strips, as a large picture would need several copies
        rows = (..., slice(top, top + 256), slice(None))
        if preserve_color:
            luminance, colour = rgb_to_ycbcr(result[rows])[:, :1], rgb_to_ycbcr(photo[rows])[:, 1:]
            result[rows] = ycbcr_to_rgb(torch.cat([luminance, colour], 1)).clamp_(0, 1)
        if strength < 1:
            result[rows] = torch.lerp(photo[rows], result[rows], strength)
    return result


def upscale(
    photo: Tensor,
    scale: Literal[4, 8] | None = None,
    loss: Literal["feature", "pixel"] = "feature",
    match_histogram: bool | None = None,
    network: str | Path | SuperResolutionNet | None = None,
    tile: int | None = TILE,
    progress: bool = False,
) -> Tensor:
    """Enlarge a photo by one pass through a trained network.

    Args:
        photo: (N, 3, H, W), RGB in [0, 1], of any size and on any device.
        scale: 4 or 8; default that of ``network`` if given, else 4.
        loss: what the network was trained on: "feature" for detail that looks right, "pixel" for the
            smallest error (section 4.2). "feature" has a pixel loss beside it against the fine grid that
            features alone lay over even areas; ``network="x4_relu2_2"`` takes the paper's, features alone.
        match_histogram: give each colour channel of the result the photo's distribution of values, the
            paper's post-processing (section 4.2). By default for networks of the feature loss alone, which
            know colours only as far as the loss network does.
        network: another one that comes with the package, by name, the folder of a run, a safetensors file,
            or a network on the photo's device; ``loss`` is then its own.
        tile, progress: as of :func:`stylize`; ``tile`` is in pixels of the result.

    Returns:
        (N, 3, scale H, scale W), float32, in [0, 1].

    Raises:
        TypeError, ValueError: ``photo`` is no image, another argument is not in its range, or there is no
            such network, or it is one for style transfer or for another ``scale``.
        repro.errors.AssetError: the network's file is damaged.
    """
    photo = _checked(photo)
    if network is None:
        network = network_name(scale, loss)
    network = _network(network, SuperResolutionNet, photo)
    check_scale(network, scale)
    if match_histogram is None:
        match_histogram = trained_on_features(network) and not _loss(network).get("pixel_weight")
    result = run_in_tiles(network, photo, tile, progress)
    if match_histogram:
        for i in range(len(photo)):
            result[i : i + 1] = match_histograms(result[i : i + 1], photo[i : i + 1])
    return result


def network_name(scale: int | None, loss: str) -> str:
    """Return the name of the package's network for a scale (default 4) and a loss, as x4 or x8_pixel."""
    scale = 4 if scale is None else scale
    if scale not in (4, 8):
        raise ValueError(f"scale must be 4 or 8, got {scale}")
    if loss not in LOSSES:
        raise ValueError(f"loss must be 'feature' or 'pixel', got {loss!r}")
    return f"x{scale}" if loss == "feature" else f"x{scale}_pixel"


def check_scale(network: SuperResolutionNet, scale: int | None) -> None:
    """Raise ValueError if a scale is asked for that is not the network's."""
    if scale not in (None, network.factor):
        raise ValueError(f"scale {scale} was asked for, and this network enlarges {network.factor} times")


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


def _network(source: Any, kind: type, photo: Tensor) -> Any:
    network = source if isinstance(source, torch.nn.Module) else load_network(source).to(photo.device)
    if not isinstance(network, kind):
        what = "style transfer" if kind is StyleTransferNet else "super-resolution"
        name = type(source).__name__ if network is source else source
        raise ValueError(f"{name} is no network for {what}")
    return network
