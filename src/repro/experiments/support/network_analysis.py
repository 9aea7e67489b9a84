"""Networks of equal depth with and without downsampling, and what is counted on them (section 3.1)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ...blocks import ConvLayer, ResidualBlock
from ...transform_nets import StyleTransferNet

# Without normalization, by which every pixel would see the whole image.
OPTIONS: dict[str, Any] = {"norm": "none", "padding": "zero"}


def small_inside(width: float = 1.0, num_blocks: int = 5) -> StyleTransferNet:
    """Return the style network: at a quarter of the size between its strided layers; in evaluation mode."""
    return StyleTransferNet(width=width, num_blocks=num_blocks, **OPTIONS).eval()


def full_size(channels: int = 32, num_blocks: int = 5, body: int | None = None) -> nn.Sequential:
    """Return a network with the style network's number of layers and kernel sizes, all of stride 1.

    (N, 3, H, W) -> (N, 3, H, W).

    Args:
        channels: of the first and last layers.
        num_blocks: residual blocks between them.
        body: channels of the residual blocks; default the same.
    """
    body = body or channels
    middle = channels * 2 if body != channels else channels
    return nn.Sequential(
        ConvLayer(3, channels, 9, **OPTIONS),
        ConvLayer(channels, middle, 3, **OPTIONS),
        ConvLayer(middle, body, 3, **OPTIONS),
        *(ResidualBlock(body, **OPTIONS) for _ in range(num_blocks)),
        ConvLayer(body, middle, 3, **OPTIONS),
        ConvLayer(middle, channels, 3, **OPTIONS),
        ConvLayer(channels, 3, 9, relu=False, **OPTIONS),
    ).eval()


def multiplications(module: nn.Module, shape: Sequence[int]) -> int:
    """Count the multiplications of convolutions for one input of ``shape`` (C, H, W); nothing is computed."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        copy.deepcopy(module).to("meta")(torch.empty(1, *shape))
    return counter.get_total_flops() // 2  # it counts a multiplication and an addition as two


def influence(network: nn.Module, size: int, positions: Sequence[int], seed: int = 0) -> dict[int, Tensor]:
    """Return how much each input pixel changes the output pixels at (p, p), for each p of ``positions``.

    Returns:
        By position (size, size), the gradient's absolute value summed over channels, at noise around grey.
    """
    noise = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(seed))
    image = (0.4 + 0.2 * noise).requires_grad_()
    output = network(image)
    maps = {}
    for position in positions:
        value = output[0, :, position, position].abs().sum()
        (gradient,) = torch.autograd.grad(value, image, retain_graph=True)
        maps[position] = gradient.abs().sum(dim=(0, 1))
    return maps


def field_side(seen: Tensor) -> int:
    """Return the side of the smallest square around all pixels with influence, in pixels."""
    rows, columns = (seen > 0).any(dim=1).nonzero(), (seen > 0).any(dim=0).nonzero()
    return int(max(rows[-1] - rows[0], columns[-1] - columns[0])) + 1


def effective_side(seen: Tensor, position: int, share: float = 0.9) -> int:
    """Return the side of the square around a pixel that holds a share of all influence (Luo et al. 2016)."""
    seen = seen.double()
    total = seen.sum().item() * (1 - 1e-12)  # the order of adding up makes no difference
    for reach in range(max(seen.shape)):
        low, high = max(0, position - reach), position + reach + 1
        if seen[low:high, low:high].sum().item() >= share * total:
            return 2 * reach + 1
    return max(seen.shape)
