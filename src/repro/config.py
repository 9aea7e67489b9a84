"""Every number of the method in one place, under three presets, each with its source.

``PAPER`` follows the paper and its supplement, ``REFERENCE`` the defaults of the authors' released code
(jcjohnson/fast-neural-style), ``MODERN`` what has proved better since. Where the paper gives no number the
source says so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any


def _source(**sources: str) -> Any:
    return field(metadata=sources)


STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")


@dataclass(frozen=True)
class LossConfig:
    """Terms and weights of the objective (Eq. 5)."""

    content_layers: Mapping[str, float] = _source(
        paper="camera-ready, section 4.1: relu3_3 (arXiv v1: relu2_2); the weight is not given",
        reference="train.lua: layer 16, which is relu3_3, weight 1",
        modern="as the released code",
    )
    style_layers: Mapping[str, float] = _source(
        paper="section 4.1: these four; the weight is not given, ours brings the sum of the terms to the "
        "order of the released code's",
        reference="train.lua: layers 4, 9, 16, 23, weight 5 each",
        modern="as the released code",
    )
    tv_weight: float = _source(
        paper="section 4.1: between 1e-6 and 1e-4, chosen per style",
        reference="train.lua: 1e-6",
        modern="as the released code",
    )
    style_reduction: str = _source(
        paper="Eq. 4: squared Frobenius norm, a sum",
        reference="StyleLoss.lua: mean squared error over C x C",
        modern="as the released code",
    )
    tv_reduction: str = _source(
        paper="no formula is given; the sum of squared differences",
        reference="TotalVariation.lua: the gradient of half that sum, over the batch too",
        modern="sum over an image, mean over the batch",
    )

    def restrict(self, available: Collection[str]) -> LossConfig:
        """Return the same without the style layers that a loss network does not have."""
        kept = {layer: weight for layer, weight in self.style_layers.items() if layer in available}
        return replace(self, style_layers=MappingProxyType(kept))

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of :class:`repro.PerceptualLoss`."""
        return {
            "content_layers": dict(self.content_layers),
            "style_layers": dict(self.style_layers),
            "tv_weight": self.tv_weight,
            "style_reduction": self.style_reduction,
            "tv_reduction": self.tv_reduction,
        }


@dataclass(frozen=True)
class NetworkConfig:
    """Options of the image transformation networks that the presets differ in."""

    norm: str = _source(
        paper="supplement, Tables 1 and 2: spatial batch normalisation",
        reference="train.lua: use_instance_norm 1",
        modern="instance normalisation (Ulyanov et al. 2016)",
    )
    upsample: str = _source(
        paper="supplement: convolutions of stride 1/2",
        reference="train.lua: u64, u32, transposed convolutions",
        modern="nearest neighbour, then a convolution (Odena et al. 2016)",
    )
    padding: str = _source(
        paper="supplement, later edition: reflection padding of 40 px at the start",
        reference="train.lua: reflect-start",
        modern="reflection before every convolution",
    )
    output: str = _source(
        paper="supplement: scaled tanh, to [0, 255]",
        reference="train.lua: 150 tanh, on mean-subtracted pixels",
        modern="as the released code",
    )

    def arguments(self) -> dict[str, str]:
        """Return the keyword arguments of :class:`repro.StyleTransferNet`."""
        return {name: getattr(self, name) for name in ("norm", "upsample", "padding", "output")}


@dataclass(frozen=True)
class Preset:
    """A consistent set of choices."""

    name: str
    loss: LossConfig
    network: NetworkConfig


def _weights(layers: Collection[str], weight: float) -> Mapping[str, float]:
    return MappingProxyType(dict.fromkeys(layers, weight))


_REFERENCE_LOSS = LossConfig(
    content_layers=_weights(["relu3_3"], 1.0),
    style_layers=_weights(STYLE_LAYERS, 5.0),
    tv_weight=1e-6,
    style_reduction="mean",
    tv_reduction="half_sum",
)

PAPER = Preset(
    "paper",
    LossConfig(
        content_layers=_weights(["relu3_3"], 1.0),
        style_layers=_weights(STYLE_LAYERS, 5e-4),
        tv_weight=1e-6,
        style_reduction="sum",
        tv_reduction="sum",
    ),
    NetworkConfig(norm="batch", upsample="transposed", padding="reflect-start", output="tanh255"),
)
REFERENCE = Preset(
    "reference",
    _REFERENCE_LOSS,
    NetworkConfig(norm="instance", upsample="transposed", padding="reflect-start", output="tanh"),
)
MODERN = Preset(
    "modern",
    replace(_REFERENCE_LOSS, tv_reduction="sum"),
    NetworkConfig(norm="instance", upsample="resize", padding="reflect", output="tanh"),
)
PRESETS = MappingProxyType({preset.name: preset for preset in (PAPER, REFERENCE, MODERN)})
