"""A network on a photo of any size in bounded memory: tile by tile, with the result of the whole.

A tile is cut with a margin as wide as the layers see, and the margin is cut off afterwards. At the photo's
own borders there is none: there the layers pad as they do for the whole. So no seam can arise, and all that
is left to do is instance normalisation, whose mean and variance are those of the whole picture. The network
is therefore run in groups (all layers before the residual blocks, each block, all layers after them). A group
goes over the tiles once for each of its norms, to sum up that norm's statistics with those before it known,
and once more for its result. Only the results of groups are kept whole; in style transfer these are a quarter
of the photo's height and width.

Numbers differ from those of the whole picture by rounding only.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby, product
from typing import NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from .blocks import InstanceNorm, ReflectionPad, ResidualBlock
from .images import check_image
from .transform_nets import StyleTransferNet, SuperResolutionNet, layer_shapes

TILE = 1024  # the default side of a tile in pixels of the result
MIN_TILE = 64
ALIGN = 4  # windows begin at multiples of it, so that strided layers take the same pixels as in the whole


def run_in_tiles(
    network: StyleTransferNet | SuperResolutionNet,
    image: Tensor,
    tile: int | None = TILE,
    progress: bool = False,
) -> Tensor:
    """Run a network in evaluation mode on an image of any size.

    Args:
        network: left as it is.
        image: (N, 3, H, W) in [0, 1], on the network's device.
        tile: the side of a tile in pixels of the result, at least 64; memory beyond image, result and two
            reduced feature maps grows with its square. A result of at most ``tile`` x ``tile`` pixels is
            computed in one piece, and with None every result is.
        progress: show a bar in a terminal.

    Returns:
        (N, 3, factor H, factor W), clipped to [0, 1].

    Raises:
        TypeError, ValueError: not an image, or ``tile`` is too small.
    """
    check_image(image)
    if tile is not None and tile < MIN_TILE:
        raise ValueError(f"tile must be at least {MIN_TILE} px, got {tile}")
    network = copy.deepcopy(network).eval()
    height, width = (network.factor * side for side in image.shape[-2:])
    with torch.no_grad():
        if tile is None or height * width <= tile**2:
            return network(image).clamp_(0, 1)
        return _run(network, image, tile, progress)


class _Reached(Exception):
    """A norm has got what it needs of a tile, and the layers after it need not run."""


class _PictureNorm(nn.Module):
    """Instance normalisation of tiles by mean and variance of the whole: first ``collect``, then apply."""

    def __init__(self, norm: InstanceNorm) -> None:
        super().__init__()
        self.norm = norm
        self.zoom = 1.0  # pixels here for one of the group's input
        self.core: tuple[slice, slice] | None = None  # of the tile at hand, without its margin
        self.count, self.mean, self.squares = 0, torch.zeros(()), torch.zeros(())
        self.factor: Tensor | None = None
        self.shift: Tensor | None = None

    def collect(self, x: Tensor) -> None:
        """Add a tile's own pixels to the statistics (Chan et al. 1979).

        They are kept in double precision, and on the CPU because Apple's GPUs have none.
        """
        rows, columns = self.core or (slice(None), slice(None))
        x = x[..., rows, columns]
        count = x.shape[-2] * x.shape[-1]
        if not count:
            return
        variance, mean = torch.var_mean(x.float(), dim=(-2, -1), correction=0, keepdim=True)
        variance, mean = variance.cpu().double(), mean.cpu().double()
        total, delta = self.count + count, mean - self.mean
        self.squares = self.squares + count * variance + delta**2 * (self.count * count / total)
        self.mean = self.mean + delta * (count / total)
        self.count = total

    def finish(self) -> None:
        """Make the normalisation a multiplication and an addition."""
        device = self.norm.weight.device
        weight, bias = (p.cpu().double().view(-1, 1, 1) for p in (self.norm.weight, self.norm.bias))
        factor = weight / (self.squares / self.count + self.norm.eps).sqrt()
        self.factor, self.shift = factor.float().to(device), (bias - self.mean * factor).float().to(device)

    def forward(self, x: Tensor) -> Tensor:
        if self.factor is None or self.shift is None:
            self.collect(x)
            raise _Reached
        return x.float().mul_(self.factor).add_(self.shift).to(x.dtype)


class _Tile(NamedTuple):
    """Where a tile lies in a group's input, along one side: its own part, and with its margin."""

    start: int
    stop: int | None  # None at the end
    window: slice

    def core(self, zoom: float) -> slice:
        """Its own part within the window, at a layer with ``zoom`` pixels for one of the input.

        A layer that mirrors or cuts off the borders shifts its whole map as it shifts that of the window.
        What a last tile has more than its share, because the map grew, belongs to it.
        """
        stop = None if self.stop is None else int(zoom * (self.stop - self.window.start))
        return slice(int(zoom * (self.start - self.window.start)), stop)

    def of_image(self, scale: float) -> slice:
        """The window in pixels of the image, of which the group's input has ``scale`` for one."""
        return slice(int(self.window.start / scale), int(self.window.stop / scale))


def _tiles(size: int, tile: int, margin: int) -> Iterator[_Tile]:
    for start in range(0, size, tile):
        stop = start + tile
        window = slice(max(0, start - margin), min(size, stop + margin))
        yield _Tile(start, None if stop >= size else stop, window)


@dataclass
class _Group:
    """Layers that are run together, and the tiles of their input.

    Attributes:
        margin: what the layers see around a pixel of the input.
        zoom: pixels of the output for one of the input.
        scale: pixels of the input for one of the image.
        shape: (C, H, W) of the output, before the network's end crops it.
    """

    layers: nn.Sequential
    norms: list[_PictureNorm]
    margin: int
    zoom: float
    scale: float
    shape: tuple[int, int, int]
    tiles: list[tuple[_Tile, _Tile]]


def _run(network: StyleTransferNet | SuperResolutionNet, image: Tensor, tile: int, progress: bool) -> Tensor:
    groups = _plan(network, image, tile)
    source = image
    passes = sum((len(group.norms) + 1) * len(group.tiles) for group in groups)
    with tqdm(total=passes, unit="tile", disable=None if progress else True) as bar:
        for group in groups:
            first, last = group is groups[0], group is groups[-1]
            for norm in group.norms:
                for down, across in group.tiles:
                    norm.core = (down.core(norm.zoom), across.core(norm.zoom))
                    with suppress(_Reached):
                        x = source[..., down.window, across.window]
                        group.layers(network.encode(x) if first else x)
                    bar.update()
                norm.finish()
            size = [network.factor * side for side in image.shape[-2:]] if last else group.shape[1:]
            dtype = network.mean_pixel.dtype  # in which layers take an image; none in less than float32
            dtype = torch.promote_types(dtype, torch.float32) if last else dtype
            result = source.new_empty((len(image), group.shape[0], *size), dtype=dtype)
            for down, across in group.tiles:
                x = source[..., down.window, across.window]
                y = group.layers(network.encode(x) if first else x)
                if last:
                    rows, columns = (side.of_image(group.scale) for side in (down, across))
                    y = network.decode(y, image[..., rows, columns]).clamp_(0, 1)
                y = y[..., down.core(group.zoom), across.core(group.zoom)]
                top, left = (int(group.zoom * side.start) for side in (down, across))
                result[..., top : top + y.shape[-2], left : left + y.shape[-1]] = y
                bar.update()
            source = result
    return source


def _plan(network: StyleTransferNet | SuperResolutionNet, image: Tensor, tile: int) -> list[_Group]:
    """Divide the layers into groups and the input of each into tiles. Replaces the network's norms."""
    shapes = [shape for _, shape in layer_shapes(network, (image.shape[-2], image.shape[-1]))]
    groups, done, scale = [], 0, 1.0
    for layers in _divide(network):
        margin, zoom = _trace(layers)
        side = max(ALIGN, int(tile * scale / network.factor) // ALIGN * ALIGN)
        down, across = (list(_tiles(size, side, margin)) for size in shapes[done][1:])
        done += len(layers)
        norms = [module for module in layers.modules() if isinstance(module, _PictureNorm)]
        groups.append(_Group(layers, norms, margin, zoom, scale, shapes[done], list(product(down, across))))
        scale *= zoom
    return groups


def _divide(network: StyleTransferNet | SuperResolutionNet) -> list[nn.Sequential]:
    layers = list(network.layers)
    if not any(isinstance(module, InstanceNorm) for module in network.layers.modules()):
        return [nn.Sequential(*layers)]
    for module in list(network.layers.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, InstanceNorm):
                setattr(module, name, _PictureNorm(child))
    kinds = groupby(enumerate(layers), lambda item: isinstance(item[1], ResidualBlock) and item[0])
    return [nn.Sequential(*(layer for _, layer in group)) for _, group in kinds]


def _trace(layers: nn.Sequential) -> tuple[int, float]:
    """Return how many pixels of the input layers see to each side, as a multiple of 4, and their zoom.

    Sets the zoom of the norms on the way.
    """
    margin, zoom = 2.0, 1.0  # 2: what bicubic upsampling of the input sees
    for module in layers.modules():
        if isinstance(module, ReflectionPad):
            margin += module.margin / zoom
        elif isinstance(module, nn.Conv2d):
            size = module.kernel_size[0]
            margin += (size // 2 if module.padding[0] else size - 1) / zoom
            zoom /= module.stride[0]
        elif isinstance(module, nn.ConvTranspose2d):
            margin += 1 / zoom
            zoom *= module.stride[0]
        elif isinstance(module, nn.Upsample):
            zoom *= 2  # nearest neighbour, by which no other factor is upsampled here
        elif isinstance(module, nn.PixelShuffle):
            zoom *= module.upscale_factor
        elif isinstance(module, _PictureNorm):
            module.zoom = zoom
    return -(-int(margin + 1) // ALIGN) * ALIGN, zoom
