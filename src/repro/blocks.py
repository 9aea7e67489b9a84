"""The blocks that the image transformation networks are made of (supplement, Tables 1 and 2).

They take and give feature maps, (N, C, H, W). Those that are a row of the tables have its text as ``label``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

Norm = Literal["batch", "instance", "none"]
Upsample = Literal["transposed", "resize", "pixelshuffle"]
# "reflect-start" is a matter of the whole network: its layers pad with zeros.
Padding = Literal["reflect-start", "reflect", "zero"]


def check_option(name: str, value: object, known: Sequence[object]) -> None:
    """Raise a ValueError that lists the known values if ``value`` is none of them."""
    if value not in known:
        raise ValueError(f"unknown {name} {value!r}; choose one of {', '.join(map(repr, known))}")


class InstanceNorm(nn.Module):
    """Normalise each channel of each image by its own mean and (biased) variance, then scale and shift.

    The same in training and evaluation: there are no running statistics. (N, C, H, W) of any precision, with
    the statistics in at least float32. Ulyanov et al. 2016; eps as in the released code.
    """

    def __init__(self, channels: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        dtype = torch.promote_types(x.dtype, torch.float32)
        weight, bias = self.weight.to(dtype), self.bias.to(dtype)
        # One group per channel is instance normalisation, and unlike F.instance_norm it takes the 1x1
        # feature maps of a very small picture. On CPUs it takes half precision with weights in float32 and
        # then keeps its statistics in float32 too, several times faster than by way of a converted copy.
        y = x if x.device.type == "cpu" and weight.dtype == torch.float32 else x.to(dtype)
        if x.device.type == "cpu" and not y.is_contiguous():
            # With channels last PyTorch takes the variance as E[x^2] - E[x]^2, of which nothing is left in
            # float32 where a channel hardly varies. Without its mean the result is the same.
            y = y - y.mean((2, 3), keepdim=True)
        return torch.group_norm(y, len(weight), weight, bias, self.eps).to(x.dtype)


def _norm(norm: Norm, channels: int) -> nn.Module:
    check_option("norm", norm, get_args(Norm))
    if norm == "none":
        return nn.Identity()
    return nn.BatchNorm2d(channels) if norm == "batch" else InstanceNorm(channels)


def _conv(channels: int, filters: int, size: int, stride: int = 1, padding: str = "zero") -> nn.Conv2d:
    mode: Literal["reflect", "zeros"] = "reflect" if padding == "reflect" else "zeros"
    width = 0 if padding == "none" else size // 2
    return nn.Conv2d(channels, filters, size, stride, width, padding_mode=mode)


class ConvLayer(nn.Sequential):
    """Convolution, normalisation, ReLU; the output layer is one with ``norm="none", relu=False``.

    (N, channels, H, W) -> (N, filters, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(
        self,
        channels: int,
        filters: int,
        size: int,
        stride: int = 1,
        *,
        norm: Norm = "batch",
        padding: Padding = "zero",
        relu: bool = True,
    ):
        layers = OrderedDict(conv=_conv(channels, filters, size, stride, padding), norm=_norm(norm, filters))
        if relu:
            layers["relu"] = nn.ReLU(inplace=True)
        super().__init__(layers)
        self.label = f"{filters} x {size} x {size} conv, stride {stride}"


class UpsampleLayer(nn.Sequential):
    """Double height and width, then normalisation and ReLU: (N, channels, H, W) -> (N, filters, 2H, 2W).

    ``"transposed"`` is the paper's 3x3 convolution of stride 1/2. Its output pixels are sums over 1, 2 or 4
    taps in turn, the cause of checkerboard patterns. ``"resize"`` (nearest neighbour, then a 3x3 convolution;
    Odena et al. 2016) treats every pixel alike. ``"pixelshuffle"`` (Shi et al. 2016) computes the four
    sub-pixels as channels.
    """

    def __init__(
        self,
        channels: int,
        filters: int,
        *,
        upsample: Upsample = "transposed",
        norm: Norm = "batch",
        padding: Padding = "zero",
    ):
        check_option("upsample", upsample, get_args(Upsample))
        layers: OrderedDict[str, nn.Module]
        if upsample == "transposed":
            conv = nn.ConvTranspose2d(channels, filters, 3, stride=2, padding=1, output_padding=1)
            layers, label = OrderedDict(conv=conv), f"{filters} x 3 x 3 conv, stride 1/2"
        elif upsample == "resize":
            layers = OrderedDict(resize=nn.Upsample(scale_factor=2, mode="nearest"))
            layers["conv"] = _conv(channels, filters, 3, padding=padding)
            label = f"nearest x2, {filters} x 3 x 3 conv"
        else:
            layers = OrderedDict(conv=_conv(channels, 4 * filters, 3, padding=padding))
            layers["shuffle"] = nn.PixelShuffle(2)
            label = f"{4 * filters} x 3 x 3 conv, pixel shuffle x2"
        super().__init__(layers | OrderedDict(norm=_norm(norm, filters), relu=nn.ReLU(inplace=True)))
        self.label = label


class ResidualBlock(nn.Module):
    """conv 3x3, norm, ReLU, conv 3x3, norm, plus the identity; no ReLU after the addition (Gross and Wilber).

    With ``padding="none"`` the convolutions lose 2 px a side and the identity is cropped alike:
    (N, C, H, W) -> (N, C, H - 4, W - 4). With any other padding the size stays. Paper, supplement.
    ``identity=False`` leaves the addition out, which makes it a plain block of two convolutions.
    """

    def __init__(self, channels: int, *, norm: Norm = "batch", padding: str = "zero", identity: bool = True):
        super().__init__()
        self.conv1 = _conv(channels, channels, 3, padding=padding)
        self.norm1 = _norm(norm, channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _conv(channels, channels, 3, padding=padding)
        self.norm2 = _norm(norm, channels)
        self.crop = 2 if padding == "none" else 0
        self.identity = identity
        self.label = f"{'residual' if identity else 'plain'} block, {channels} filters"

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        if not self.identity:
            return y
        identity = x[..., self.crop : -self.crop, self.crop : -self.crop] if self.crop else x
        return y + identity


class ReflectionPad(nn.Module):
    """Mirror an image at its edges (edge pixels not repeated), again and again where the pad is the larger.

    Each side first grows at its end to ``minimum`` px or more and to a multiple of ``multiple``, so that the
    top left corner stays where it is, then by ``margin`` at both ends.
    """

    def __init__(self, margin: int = 0, *, multiple: int = 1, minimum: int = 1):
        super().__init__()
        self.margin, self.multiple, self.minimum = margin, multiple, minimum
        rule = f"{margin} x {margin}" if margin else f"to multiples of {multiple}, at least {minimum}"
        self.label = f"reflection pad {rule}"

    def _source(self, size: int, device: torch.device) -> Tensor:
        """The pixel of the image that each pixel of the padded side shows."""
        inner = max((size + self.multiple - 1) // self.multiple * self.multiple, self.minimum)
        position = torch.arange(-self.margin, inner + self.margin, device=device)
        # The period is a tensor because the ONNX exporter knows no remainder by a size that varies.
        position = position % torch.full((1,), max(2 * (size - 1), 1), device=device)
        return torch.minimum(position, 2 * (size - 1) - position)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        x = x.index_select(-2, self._source(height, x.device))
        return x.index_select(-1, self._source(width, x.device))
