"""The loss network: VGG-16 by layer name, with the preprocessing its weights want."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from .images import check_image
from .pretrained import digest
from .vgg_weights import LAYERS, find_loss_weights, load_loss_weights

Pooling = Literal["max", "average"]


@dataclass(frozen=True)
class Preprocessing:
    """How an image in [0, 1] becomes the input of a network: ``(image[order] * scale - mean) / std``."""

    bgr: bool
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __call__(self, image: Tensor) -> Tensor:
        """Map (N, 3, H, W) in [0, 1], RGB, to what the first convolution expects."""
        mean = image.new_tensor(self.mean).view(3, 1, 1)
        std = image.new_tensor(self.std).view(3, 1, 1)
        return ((image.flip(1) if self.bgr else image) * self.scale - mean) / std


CAFFE = Preprocessing(bgr=True, scale=255.0, mean=(103.939, 116.779, 123.68))
TORCHVISION = Preprocessing(bgr=False, scale=1.0, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Variant:
    """A set of weights and what belongs to it; they cannot be had apart.

    Attributes:
        preprocessing: what the first convolution expects.
        feature_scale: factor on all features. A network of convolutions and ReLUs whose input is multiplied
            by s and its biases too gives features times s, so this puts a network with another input range
            on the Caffe scale, where the published loss weights hold.
    """

    preprocessing: Preprocessing
    feature_scale: float = 1.0


VARIANTS = {
    "vgg16": Variant(CAFFE),
    # The mean square of relu3_3 is then that of the original weights (207,000), over 200 photos at 256 px.
    "vgg16-torchvision": Variant(TORCHVISION, feature_scale=134.2),
    "pocket": Variant(CAFFE),
}


class LossNetwork(nn.Module):
    """VGG-16, fixed, from image to features by layer name (the loss network of section 3.2).

    Frozen and always in evaluation mode. Gradients flow through it to the image, not to its weights.

    Args:
        name: "vgg16" (the network of the paper), "vgg16-torchvision" (torchvision's own training),
            "pocket" (embedded, distilled by this project), or "auto": "vgg16" if its weights are on this
            machine, else "pocket".
        layers: the layers that will be asked for; what lies deeper is not built. Default: all there are.
        pooling: "max" as VGG-16 was trained, or "average" as Gatys et al. (2015) use.
        tensors: weights to use in place of the file that belongs to ``name``.

    Attributes:
        name: the weights in use, never "auto".
        layers: the names of the layers that can be asked for, in order of depth.
        source: where the weights come from, with their SHA-256.

    Raises:
        ValueError: unknown name or layer, or a layer that these weights do not have.
        repro.AssetError: the weights are not here and cannot be downloaded, or are damaged.
    """

    def __init__(
        self,
        name: str = "auto",
        layers: Sequence[str] | None = None,
        pooling: Pooling = "max",
        tensors: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        if name == "auto":
            name = resolve_auto()
        if name not in VARIANTS:
            raise ValueError(f"unknown loss network {name!r}; known: auto, {', '.join(VARIANTS)}")
        if pooling not in ("max", "average"):
            raise ValueError(f"pooling: expected 'max' or 'average', got {pooling!r}")
        if tensors is None:
            tensors, self.source = load_loss_weights(name)
        else:
            self.source = f"given, digest {digest(tensors)}"
        self.name, self.pooling = name, pooling
        self.variant = VARIANTS[name]
        self.layers = self._check(layers, available_layers(tensors))
        convs, heads = {}, {}
        for layer in LAYERS[: LAYERS.index(self.layers[-1]) + 1]:
            key = layer.replace("relu", "conv")
            convs[key] = _conv(tensors, key)
            if f"head{layer[4:]}.weight" in tensors and layer in self.layers:
                heads[f"head{layer[4:]}"] = _conv(tensors, f"head{layer[4:]}")
        self.convs, self.heads = nn.ModuleDict(convs), nn.ModuleDict(heads)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> LossNetwork:
        """Stay in evaluation mode, whatever a training loop asks for."""
        return super().train(False)

    def _check(self, layers: Sequence[str] | None, available: tuple[str, ...]) -> tuple[str, ...]:
        if layers is None:
            return available
        if isinstance(layers, str):
            raise TypeError(f"layers: expected a list of names, got the string {layers!r}")
        unknown = [layer for layer in layers if layer not in LAYERS]
        if unknown:
            raise ValueError(f"unknown layer {', '.join(unknown)}; known: {', '.join(LAYERS)}")
        missing = [layer for layer in layers if layer not in available]
        if missing:
            raise ValueError(
                f"loss network {self.name!r} as it is here has no {', '.join(missing)}; "
                f"it has {', '.join(available)}"
            )
        if not layers:
            raise ValueError("layers: give at least one layer")
        return tuple(layer for layer in available if layer in layers)

    def forward(self, image: Tensor, layers: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Return the features at ``layers`` (default: all of this object's), in order of depth.

        The pass stops at the deepest layer asked for.

        Args:
            image: (N, 3, H, W), RGB, in [0, 1], of any floating-point type; taken in that of the weights. At
                block b the features have H // 2^(b-1) rows.
            layers: names such as "relu3_3".

        Returns:
            Features (N, C, h, w) by layer name, C as in VGG-16, after the ReLU, not negative.

        Raises:
            ValueError: wrong shape, a layer this object does not have, or an image too small for one.
        """
        check_image(image)
        wanted = self._check(layers, self.layers)
        smallest = 2 ** (int(wanted[-1][4]) - 1)
        if min(image.shape[-2:]) < smallest:
            raise ValueError(
                f"an image of {image.shape[-1]} x {image.shape[-2]} px is too small for {wanted[-1]}, "
                f"which needs {smallest} x {smallest}"
            )
        pool = F.max_pool2d if self.pooling == "max" else F.avg_pool2d
        x = self.variant.preprocessing(image.to(next(self.parameters()).dtype))
        features = {}
        for key, conv in self.convs.items():
            layer = key.replace("conv", "relu")
            if layer.endswith("_1") and layer != "relu1_1":
                x = pool(x, 2)
            x = F.relu(conv(x))
            if layer in wanted:
                head = f"head{layer[4:]}"
                out = F.relu(self.heads[head](x)) if head in self.heads else x
                features[layer] = out if self.variant.feature_scale == 1 else out * self.variant.feature_scale
            if layer == wanted[-1]:
                break
        return features

    def extra_repr(self) -> str:
        return f"name={self.name!r}, layers={self.layers[0]}..{self.layers[-1]}, pooling={self.pooling!r}"


def resolve_auto() -> str:
    """Return what "auto" stands for on this machine: "vgg16" if its weights are here, else "pocket"."""
    return "vgg16" if find_loss_weights("vgg16") else "pocket"


def auto_note(asked: str, taken: str) -> str:
    """Return what to add to a line that names the loss network: how to get VGG-16 where "auto" did not."""
    if asked != "auto" or taken != "pocket":
        return ""
    return "; VGG-16 itself is called vgg16, and downloaded once"


def available_layers(tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return the layers that a file of weights gives: those with a head if it has heads, else all it reaches.

    A file may stop at any layer but must have no hole before it.
    """
    reached = []
    for layer in LAYERS:
        if f"conv{layer[4:]}.weight" not in tensors:
            break
        reached.append(layer)
    headed = [layer for layer in reached if f"head{layer[4:]}.weight" in tensors]
    return tuple(headed or reached)


def _conv(tensors: Mapping[str, Tensor], key: str) -> nn.Conv2d:
    weight, bias = tensors[f"{key}.weight"].float(), tensors[f"{key}.bias"].float()
    size = weight.shape[2]
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], size, padding=size // 2, device="meta")
    conv.weight, conv.bias = nn.Parameter(weight), nn.Parameter(bias)
    return conv
