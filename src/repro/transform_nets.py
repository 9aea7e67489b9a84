"""Image transformation networks: one forward pass does what the optimisation does in tens of iterations.

By default ``StyleTransferNet`` and ``SuperResolutionNet`` are the networks of the paper's supplement, row by
row (Tables 1 and 2; ``layer_shapes`` lists the rows), with the released code's output and initialisation.
Options cover the paper's output, the released code and later practice.

At the boundary an image is float32 (N, 3, H, W), RGB, in [0, 1]. Inside, both networks see what the released
code feeds them, 0..255 minus VGG's mean pixel (in RGB order; its BGR order is the same network with the input
and output filters permuted). ``output`` says how the last convolution's value becomes an image:

- ``"tanh"``: mean pixel + 150 tanh, as the released code. May leave [0, 1] a little: red [-0.10, 1.07],
  green [-0.13, 1.05], blue [-0.18, 1.00].
- ``"tanh255"``: 127.5 (tanh + 1), the paper's scaled tanh as ports read it; always within [0, 1].
- ``"linear"``: mean pixel + the value itself; unbounded.
- ``"residual"`` (super-resolution only): bicubic upsampling + the value itself; unbounded.

The networks never clamp, because a clamped pixel has no gradient; whoever shows or saves the image does.
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import (
    ConvLayer,
    InstanceNorm,
    Norm,
    Padding,
    ReflectionPad,
    ResidualBlock,
    Upsample,
    UpsampleLayer,
    check_option,
)
from .images import check_image
from .pretrained import HubMixin, find_file, not_found, shipped

MEAN_PIXEL = (123.68, 116.779, 103.939)  # RGB, 0..255
TANH_SCALE = 150.0  # the released code's tanh_constant

Output = Literal["tanh", "tanh255", "linear", "residual"]
Init = Literal["reference", "pytorch"]
Blocks = Literal["residual", "plain"]


def _check_size(width: float, num_blocks: int) -> None:
    if width <= 0 or num_blocks < 0:
        raise ValueError(f"need width > 0 and num_blocks >= 0, got width={width}, num_blocks={num_blocks}")


class TransformNet(HubMixin):
    """What both networks share: scale in, ``layers``, crop to ``factor`` times the input size, scale out.

    They are saved, published and loaded by the methods of :class:`repro.pretrained.HubMixin`.
    """

    mean_pixel: Tensor

    def __init__(
        self,
        layers: list[tuple[str, nn.Module]],
        *,
        factor: int,
        output: Output,
        init: Init,
        options: dict[str, Any],
    ):
        super().__init__()
        self.options = options
        check_option("output", output, get_args(Output))
        check_option("init", init, get_args(Init))
        self.factor, self.output = factor, output
        self.layers = nn.Sequential(OrderedDict(layers))
        self.register_buffer("mean_pixel", torch.tensor(MEAN_PIXEL).view(3, 1, 1), persistent=False)
        if init == "reference":
            self.apply(_init_as_torch7)

    def forward(self, image: Tensor) -> Tensor:
        """Transform (N, 3, H, W), RGB in [0, 1], to (N, 3, factor H, factor W); for its range see the module.

        Raises:
            TypeError: ``image`` is not floating point.
            ValueError: ``image`` is empty or not of shape (N, 3, H, W).
        """
        check_image(image)
        return self.decode(self.layers(self.encode(image)), image)

    def encode(self, image: Tensor) -> Tensor:
        """Turn an image into what ``layers`` take: 0..255 minus the mean pixel, in the weights' type."""
        return 255 * image.to(self.mean_pixel.dtype) - self.mean_pixel

    def decode(self, y: Tensor, image: Tensor) -> Tensor:
        """Turn the value ``y`` of the last layer into an image, ``factor`` times the size of ``image``."""
        height, width = (self.factor * side for side in image.shape[-2:])
        # Under bfloat16 autocast y has 8 significant bits: too few to add a mean pixel to.
        y = y[..., :height, :width].to(torch.promote_types(y.dtype, torch.float32))
        if self.output == "tanh":
            return (self.mean_pixel + TANH_SCALE * y.tanh()) / 255
        if self.output == "tanh255":
            return (y.tanh() + 1) / 2
        if self.output == "linear":
            return (self.mean_pixel + y) / 255
        return F.interpolate(image.to(y.dtype), (height, width), mode="bicubic", antialias=True) + y / 255


def _init_as_torch7(module: nn.Module) -> None:
    """Initialise weights and biases uniform in +-1/sqrt(fan in), norm scales uniform in [0, 1], shifts 0.

    PyTorch's own default differs twice: its norm scales start at 1, and the fan in of its transposed
    convolution counts output channels instead of input channels.
    """
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        bound = 1 / math.sqrt(module.in_channels * math.prod(module.kernel_size))
        nn.init.uniform_(module.weight, -bound, bound)
        if module.bias is not None:
            nn.init.uniform_(module.bias, -bound, bound)
    elif isinstance(module, (nn.BatchNorm2d, InstanceNorm)):
        nn.init.uniform_(module.weight, 0, 1)
        nn.init.zeros_(module.bias)


class StyleTransferNet(TransformNet):
    """Style transfer (supplement, Table 1): two strided convolutions, residual blocks, two upsampling layers.

    (N, 3, H, W) -> (N, 3, H, W) for every H and W, since a side that is no multiple of 4 is extended inside
    and cropped at the end. 1,679,235 learnable parameters by default.

    Args:
        norm: ``"batch"`` (the paper), ``"instance"`` (the released code's default) or ``"none"``.
        upsample: ``"transposed"`` (the paper), ``"resize"`` or ``"pixelshuffle"``; see ``UpsampleLayer``.
        padding: ``"reflect-start"`` (the supplement) mirrors 8 px per residual block around the image, 40 in
            all, leaves the blocks' convolutions unpadded and zero-pads the others. ``"reflect"`` mirrors
            before every convolution except transposed ones. ``"zero"`` pads all with zeros.
        output: ``"tanh"``, ``"tanh255"`` or ``"linear"``; see the module.
        width: multiplies the numbers of filters (0.5 in the authors' published instance-norm models).
        num_blocks: residual blocks.
        blocks: ``"residual"`` (the paper) or ``"plain"``, the same convolutions without the identity.
        init: ``"reference"`` (Torch7's, as in the released code) or ``"pytorch"``.

    Raises:
        ValueError: an option has a value that is not listed.
    """

    def __init__(
        self,
        *,
        norm: Norm = "batch",
        upsample: Upsample = "transposed",
        padding: Padding = "reflect-start",
        output: Output = "tanh",
        width: float = 1.0,
        num_blocks: int = 5,
        blocks: Blocks = "residual",
        init: Init = "reference",
    ):
        options = dict(
            norm=norm,
            upsample=upsample,
            padding=padding,
            output=output,
            width=width,
            num_blocks=num_blocks,
            blocks=blocks,
            init=init,
        )
        _check_size(width, num_blocks)
        check_option("padding", padding, get_args(Padding))
        check_option("output", output, ("tanh", "tanh255", "linear"))
        a, b, c = (max(1, round(width * filters)) for filters in (32, 64, 128))
        check_option("blocks", blocks, get_args(Blocks))
        identity = blocks == "residual"
        block_padding = "none" if padding == "reflect-start" else padding
        common: dict[str, Any] = {"norm": norm, "padding": padding}
        layers: list[tuple[str, nn.Module]] = []
        if padding == "reflect-start":
            layers.append(("pad", ReflectionPad(8 * num_blocks, multiple=4)))
        elif padding == "reflect":  # 8 px are 2 after the strided layers, the fewest that can be mirrored
            layers.append(("pad", ReflectionPad(multiple=4, minimum=8)))
        layers += [
            ("conv", ConvLayer(3, a, 9, **common)),
            ("down1", ConvLayer(a, b, 3, stride=2, **common)),
            ("down2", ConvLayer(b, c, 3, stride=2, **common)),
            *(
                (f"block{i + 1}", ResidualBlock(c, norm=norm, padding=block_padding, identity=identity))
                for i in range(num_blocks)
            ),
            ("up1", UpsampleLayer(c, b, upsample=upsample, **common)),
            ("up2", UpsampleLayer(b, a, upsample=upsample, **common)),
            ("output", ConvLayer(a, 3, 9, norm="none", padding=padding, relu=False)),
        ]
        super().__init__(layers, factor=1, output=output, init=init, options=options)


class SuperResolutionNet(TransformNet):
    """Super-resolution (supplement, Table 2): residual blocks at low resolution, then upsampling layers.

    (N, 3, H, W) -> (N, 3, scale H, scale W) for every H and W. By default 401,859 learnable parameters at
    x4, 438,915 at x8.

    Args:
        scale: 4 or 8.
        padding: ``"zero"`` (the supplement) or ``"reflect"``.
        output: ``"tanh"``, ``"tanh255"``, ``"linear"`` or ``"residual"``; see the module.
        norm, upsample, width, num_blocks, blocks, init: as in ``StyleTransferNet``. Later networks for this
            task leave normalisation out (``"none"``).

    Raises:
        ValueError: an option has a value that is not listed.
    """

    def __init__(
        self,
        scale: Literal[4, 8] = 4,
        *,
        norm: Norm = "batch",
        upsample: Upsample = "transposed",
        padding: Padding = "zero",
        output: Output = "tanh",
        width: float = 1.0,
        num_blocks: int = 4,
        blocks: Blocks = "residual",
        init: Init = "reference",
    ):
        options = dict(
            norm=norm,
            upsample=upsample,
            padding=padding,
            output=output,
            width=width,
            num_blocks=num_blocks,
            blocks=blocks,
            init=init,
        )
        _check_size(width, num_blocks)
        check_option("scale", scale, (4, 8))
        check_option("padding", padding, ("zero", "reflect"))
        check_option("blocks", blocks, get_args(Blocks))
        identity = blocks == "residual"
        filters = max(1, round(width * 64))
        common: dict[str, Any] = {"norm": norm, "padding": padding}
        layers: list[tuple[str, nn.Module]] = []
        if padding == "reflect":  # the 9x9 convolution mirrors 4 px
            layers.append(("pad", ReflectionPad(minimum=5)))
        layers.append(("conv", ConvLayer(3, filters, 9, **common)))
        for i in range(num_blocks):
            layers.append((f"block{i + 1}", ResidualBlock(filters, identity=identity, **common)))
        for i in range(scale.bit_length() - 1):
            layers.append((f"up{i + 1}", UpsampleLayer(filters, filters, upsample=upsample, **common)))
        layers.append(("output", ConvLayer(filters, 3, 9, norm="none", padding=padding, relu=False)))
        super().__init__(layers, factor=scale, output=output, init=init, options={"scale": scale, **options})


def load_network(source: str | Path, task: str | None = None) -> StyleTransferNet | SuperResolutionNet:
    """Return a trained network in evaluation mode, float32, on the CPU.

    Args:
        source: the name of a network that comes with the package, a safetensors file, or a run's folder,
            whose best weights are taken.
        task: "style" or "super-resolution": what it must be for; by default either.

    Raises:
        ValueError: it is none of these, or one for the other task; the message lists the names.
        repro.errors.AssetError: the file is damaged or holds no trained network.

    Example:
        >>> load_network("x4").factor
        4
    """
    path = find_file(source)
    if path is None:
        raise not_found(source, task)
    network = TransformNet.from_file(path)
    assert isinstance(network, StyleTransferNet | SuperResolutionNet)
    if task is not None:
        check_task(network, task, source)
    return network


def check_task(network: nn.Module, task: str, name: str | Path) -> None:
    """Raise a ValueError that says ``name``, and names to choose from, unless a network is for ``task``."""
    kind, what = {
        "style": (StyleTransferNet, "style transfer"),
        "super-resolution": (SuperResolutionNet, "super-resolution"),
    }[task]
    if not isinstance(network, kind):
        raise ValueError(f"{name} is no network for {what}; the package has {', '.join(shipped(task))}")


def layer_shapes(
    net: StyleTransferNet | SuperResolutionNet, image_size: int | tuple[int, int]
) -> list[tuple[str, tuple[int, int, int]]]:
    """List the rows of the supplement's tables: each layer and its output's (channels, height, width).

    ``image_size`` is the side of a square input or (height, width). Only shapes are computed, on a copy: no
    memory is taken for activations, and the network, with its running statistics, stays as it was.
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    rows: list[tuple[str, tuple[int, int, int]]] = [("input", (3, height, width))]
    shadow = copy.deepcopy(net).to("meta").eval()
    for layer in shadow.layers:
        layer.register_forward_hook(lambda layer, _, y: rows.append((layer.label, tuple(y.shape[1:]))))
    with torch.no_grad():
        shadow(torch.empty(1, 3, height, width, device="meta"))
    return rows
