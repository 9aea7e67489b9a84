"""Every number of the method in one place, under three presets, each with its source.

``PAPER`` follows the paper and its supplement, ``REFERENCE`` the defaults of the authors' released code
(jcjohnson/fast-neural-style), ``MODERN`` what has proved better since. Where the paper gives no number the
source says so. Each preset has a loss, a network and a training for both tasks.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Literal, get_args


def _source(**sources: str) -> Any:
    return field(metadata=sources)


def check_fields(
    config: Any,
    positive: Sequence[str] = (),
    not_negative: Sequence[str] = (),
    choices: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> None:
    """Check fields of a dataclass; those that are mappings, value by value.

    Raises:
        ValueError: one is out of its range, not finite, or none of its choices; the message names it.
    """
    for name in (*positive, *not_negative):
        value = getattr(config, name)
        for key, one in value.items() if isinstance(value, Mapping) else [("", value)]:
            if not 0 <= one < math.inf or (one == 0 and name in positive):
                wanted = "positive" if name in positive else "at least 0"
                raise ValueError(f"{name}{key and f'.{key}'} must be {wanted}, got {one}")
    for name, known in choices.items():
        if getattr(config, name) not in known:
            raise ValueError(f"{name} is {getattr(config, name)!r}; use {' or '.join(known)}")


StyleReduction = Literal["sum", "mean", "relative"]
PixelError = Literal["squared", "absolute"]
TVReduction = Literal["sum", "half_sum"]
STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")


@dataclass(frozen=True)
class LossConfig:
    """Terms and weights of the objective (Eq. 5)."""

    content_layers: Mapping[str, float] = _source(
        paper="style: camera-ready, section 4.1, relu3_3 (arXiv v1: relu2_2); super-resolution: section 4.2, "
        "relu2_2; the weight is not given",
        reference="train.lua: layer 16, which is relu3_3, weight 1; super-resolution as a user ran it: "
        "layer 9, which is relu2_2",
        modern="as the released code",
    )
    style_layers: Mapping[str, float] = _source(
        paper="section 4.1: these four; the weight is not given, ours brings the sum of the terms at "
        "photos to about half of the released code's; none for super-resolution",
        reference="train.lua: layers 4, 9, 16, 23, weight 5 each; none for super-resolution",
        modern="as the released code",
    )
    pixel_weight: float = _source(
        paper="section 4.2: the per-pixel loss is the control experiment of super-resolution, alone",
        reference="train.lua: 0",
        modern="as the released code",
    )
    tv_weight: float = _source(
        paper="style: section 4.1, between 1e-6 and 1e-4, chosen per style; ours is the lowest of these; "
        "super-resolution: not mentioned",
        reference="train.lua: 1e-6, for both tasks",
        modern="as the released code; none for super-resolution",
    )
    style_reduction: str = _source(
        paper="Eq. 4: squared Frobenius norm, a sum",
        reference="StyleLoss.lua: mean squared error over C x C",
        modern="as the released code; a recipe may choose relative, the squared distance over the style "
        "picture's own squared norm",
    )
    pixel_error: str = _source(
        paper="section 3.3: squared",
        reference="train.lua: pixel_loss_type L2, squared",
        modern="as the paper; recipes whose aim is PSNR take the absolute error (Zhao et al. 2017)",
    )
    tv_reduction: str = _source(
        paper="no formula is given; the sum of squared differences",
        reference="TotalVariation.lua: the gradient of half that sum, over the batch too",
        modern="sum over an image, mean over the batch",
    )

    def __post_init__(self) -> None:
        check_fields(
            self,
            not_negative=("content_layers", "style_layers", "pixel_weight", "tv_weight"),
            choices={
                "style_reduction": get_args(StyleReduction),
                "pixel_error": get_args(PixelError),
                "tv_reduction": get_args(TVReduction),
            },
        )

    def restrict(self, available: Collection[str]) -> LossConfig:
        """Return the same without the style layers that a loss network does not have."""
        kept = {layer: weight for layer, weight in self.style_layers.items() if layer in available}
        return replace(self, style_layers=MappingProxyType(kept))

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of :class:`repro.PerceptualLoss`."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}


@dataclass(frozen=True)
class NetworkConfig:
    """Options of the image transformation networks."""

    norm: str = _source(
        paper="supplement, Tables 1 and 2: spatial batch normalisation",
        reference="train.lua: use_instance_norm 1; super-resolution as a user ran it: batch",
        modern="instance normalisation (Ulyanov et al. 2016); none for super-resolution (Lim et al. 2017)",
    )
    upsample: str = _source(
        paper="supplement: convolutions of stride 1/2",
        reference="train.lua: u64, u32, transposed convolutions",
        modern="nearest neighbour, then a convolution (Odena et al. 2016)",
    )
    padding: str = _source(
        paper="supplement, later edition: reflection padding of 40 px at the start; zeros for "
        "super-resolution, whose sizes do not shrink",
        reference="train.lua: reflect-start; zeros for super-resolution",
        modern="reflection before every convolution",
    )
    output: str = _source(
        paper="section 3.1: tanh, scaled to [0, 255]; how is not given, ours is 127.5 (tanh + 1)",
        reference="train.lua: 150 tanh, on mean-subtracted pixels",
        modern="as the released code; for super-resolution what bicubic upsampling lacks (Kim et al. 2016)",
    )
    width: float = _source(
        paper="supplement, Tables 1 and 2: all of 32, 64 and 128 filters; 64 for super-resolution",
        reference="train.lua: c9s1-32, d64, d128; super-resolution as a user ran it: c9s1-64",
        modern="as the paper",
    )
    num_blocks: int = _source(
        paper="supplement, Tables 1 and 2: five residual blocks; four for super-resolution",
        reference="train.lua: R128 five times; super-resolution as a user ran it: R64 four times",
        modern="as the paper",
    )
    blocks: str = _source(
        paper="supplement: residual blocks; plain ones are its control experiment",
        reference="train.lua: R128, residual blocks",
        modern="as the paper",
    )

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of the networks of :mod:`repro.transform_nets`."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained: on square pieces of photos, without weight decay."""

    steps: int = _source(
        paper="sections 4.1 and 4.2: 40,000; 200,000 for super-resolution",
        reference="train.lua: 40,000; super-resolution as a user ran it: 200,000",
        modern="as the paper",
    )
    batch_size: int = _source(
        paper="sections 4.1 and 4.2: 4",
        reference="train.lua: 4",
        modern="as the paper",
    )
    size: int = _source(
        paper="sections 4.1 and 4.2: 256 px; 288 px for super-resolution",
        reference="make_style_dataset.py: 256 px; super-resolution as a user ran it: 288 px",
        modern="as the paper",
    )
    optimizer: str = _source(
        paper="section 4.1: Adam",
        reference="train.lua: Adam",
        modern="Adam; a recipe may choose Muon (Jordan et al. 2024)",
    )
    learning_rate: float = _source(
        paper="section 4.1: 1e-3",
        reference="train.lua: 1e-3",
        modern="as the paper",
    )
    schedule: str = _source(
        paper="no schedule is mentioned: constant",
        reference="train.lua: lr_decay_every -1, which is off",
        modern="a short linear warm-up, then a cosine to zero (Loshchilov and Hutter 2017); a recipe may "
        "choose trapezoid, which falls in its last quarter only (Hägele et al. 2024)",
    )
    crop: str = _source(
        paper="section 4.1: photos resized to 256 x 256, ours without keeping the aspect ratio, which is not "
        "stated; section 4.2: patches of 288 x 288",
        reference="make_style_dataset.py: resized without keeping the aspect ratio",
        modern="random squares of 60 to 100 % of the shorter side, resized; patches for super-resolution; a "
        "recipe may choose zoom, where half of the squares are small ones enlarged",
    )
    mirror: bool = _source(
        paper="not mentioned",
        reference="make_style_dataset.py: no augmentation",
        modern="half of the photos, left to right",
    )

    def __post_init__(self) -> None:
        check_fields(
            self,
            positive=("steps", "batch_size", "size", "learning_rate"),
            choices={
                "optimizer": ("adam", "muon"),
                "schedule": ("constant", "cosine", "trapezoid"),
                "crop": ("random", "zoom", "patch", "whole"),
            },
        )


@dataclass(frozen=True)
class Task:
    """What is minimised, by which network, and how."""

    loss: LossConfig
    network: NetworkConfig
    training: TrainingConfig


@dataclass(frozen=True)
class Preset:
    """A consistent set of choices for both tasks."""

    name: str
    style: Task
    super_resolution: Task


def _weights(layers: Collection[str], weight: float) -> Mapping[str, float]:
    return MappingProxyType(dict.fromkeys(layers, weight))


_REFERENCE_LOSS = LossConfig(
    content_layers=_weights(["relu3_3"], 1.0),
    style_layers=_weights(STYLE_LAYERS, 5.0),
    pixel_weight=0.0,
    pixel_error="squared",
    tv_weight=1e-6,
    style_reduction="mean",
    tv_reduction="half_sum",
)
_REFERENCE_SR_LOSS = replace(
    _REFERENCE_LOSS, content_layers=_weights(["relu2_2"], 1.0), style_layers=_weights([], 0.0)
)
_PAPER_LOSS = LossConfig(
    content_layers=_weights(["relu3_3"], 1.0),
    style_layers=_weights(STYLE_LAYERS, 1e-4),
    pixel_weight=0.0,
    pixel_error="squared",
    tv_weight=1e-6,
    style_reduction="sum",
    tv_reduction="sum",
)
_PAPER_NETWORK = NetworkConfig(
    norm="batch",
    upsample="transposed",
    padding="reflect-start",
    output="tanh255",
    width=1.0,
    num_blocks=5,
    blocks="residual",
)
_PAPER_SR_NETWORK = replace(_PAPER_NETWORK, padding="zero", num_blocks=4)
_STYLE_TRAINING = TrainingConfig(
    steps=40_000,
    batch_size=4,
    size=256,
    optimizer="adam",
    learning_rate=1e-3,
    schedule="constant",
    crop="whole",
    mirror=False,
)
_SR_TRAINING = replace(_STYLE_TRAINING, steps=200_000, size=288, crop="patch")

PAPER = Preset(
    "paper",
    Task(_PAPER_LOSS, _PAPER_NETWORK, _STYLE_TRAINING),
    Task(
        replace(
            _PAPER_LOSS,
            content_layers=_weights(["relu2_2"], 1.0),
            style_layers=_weights([], 0.0),
            tv_weight=0.0,
        ),
        _PAPER_SR_NETWORK,
        _SR_TRAINING,
    ),
)
REFERENCE = Preset(
    "reference",
    Task(
        _REFERENCE_LOSS,
        replace(_PAPER_NETWORK, norm="instance", output="tanh"),
        _STYLE_TRAINING,
    ),
    Task(
        _REFERENCE_SR_LOSS,
        replace(_PAPER_SR_NETWORK, output="tanh"),
        _SR_TRAINING,
    ),
)
MODERN = Preset(
    "modern",
    Task(
        replace(_REFERENCE_LOSS, tv_reduction="sum"),
        replace(_PAPER_NETWORK, norm="instance", upsample="resize", padding="reflect", output="tanh"),
        replace(_STYLE_TRAINING, schedule="cosine", crop="random", mirror=True),
    ),
    Task(
        replace(_REFERENCE_SR_LOSS, tv_weight=0.0, tv_reduction="sum"),
        replace(_PAPER_SR_NETWORK, norm="none", upsample="resize", padding="reflect", output="residual"),
        replace(_SR_TRAINING, schedule="cosine", mirror=True),
    ),
)
PRESETS = MappingProxyType({preset.name: preset for preset in (PAPER, REFERENCE, MODERN)})
