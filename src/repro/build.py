"""From a recipe to the objects that it describes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from . import assets, patterns
from .config import LossConfig, TrainingConfig
from .degradations import low_resolution
from .images import load_image
from .loss_network import LAYERS, LossNetwork
from .losses import PerceptualLoss
from .muon import Muon
from .recipe import Recipe, StyleConfig
from .transform_nets import StyleTransferNet, SuperResolutionNet


def build_network(recipe: Recipe) -> StyleTransferNet | SuperResolutionNet:
    """Return the untrained network of a recipe."""
    if recipe.task == "style":
        return StyleTransferNet(**recipe.network)
    return SuperResolutionNet(recipe.super_resolution.factor, **recipe.network)


def save_network(network: StyleTransferNet | SuperResolutionNet, recipe: Recipe, path: Path) -> None:
    """Write a network's weights as safetensors, with the recipe in the metadata."""
    assets.save_weights(network.state_dict(), path, {"recipe": json.dumps(recipe.to_dict())})


def load_style(style: StyleConfig) -> Tensor:
    """Return the style picture of a recipe, (1, 3, H, W): a file, a painting or a drawn pattern.

    Raises:
        ValueError: it is none of these; the message lists the known names.
    """
    if style.picture in patterns.PATTERNS:
        return patterns.draw(style.picture, style.size)
    if style.picture in assets.PAINTINGS:
        return assets.painting(style.picture, style.size)
    if Path(style.picture).is_file():
        return load_image(style.picture, style.size)
    known = ", ".join([*assets.PAINTINGS, *patterns.PATTERNS])
    raise ValueError(f"style.picture {style.picture!r} is no file and no picture of: {known}")


def prepare_input(recipe: Recipe, image: Tensor) -> Tensor:
    """Return what the network is given for a photo: the photo itself, or a low-resolution version of it."""
    if recipe.task == "style":
        return image
    with torch.autocast(image.device.type, enabled=False):  # pixels are not rounded to half precision
        return low_resolution(image, recipe.super_resolution.factor, recipe.super_resolution.blur)


def learning_rate_factor(training: TrainingConfig) -> Callable[[int], float]:
    """Return what the learning rate is multiplied by at each step, counted from 0.

    "constant" is 1; the others rise over the first 100 steps (at most a tenth of all), then "cosine" falls
    to 0, and "trapezoid" stays at 1 and falls to 0 in a straight line over the last quarter.
    """
    if training.schedule == "constant":
        return lambda step: 1.0
    steps, warm_up = training.steps, max(1, min(100, training.steps // 10))
    if training.schedule == "trapezoid":
        return lambda step: min(1.0, (step + 1) / warm_up, (steps - step) / (steps / 4))
    return lambda step: min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * step / steps))


def build_optimizer(training: TrainingConfig, network: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer of a recipe for a network's parameters."""
    if training.optimizer == "muon":
        return Muon(network, training.learning_rate)
    return torch.optim.Adam(network.parameters(), lr=training.learning_rate)


def build_loss(config: LossConfig, loss_network: LossNetwork, processes: int) -> PerceptualLoss:
    """Return the loss of a recipe; ``processes`` is the number that share a batch."""
    # Gradients are averaged over the processes: right for means over a batch, but this is a sum.
    if config.tv_reduction == "half_sum":
        config = replace(config, tv_weight=config.tv_weight * processes)
    return PerceptualLoss(loss_network, **config.arguments())


def restrict(recipe: Recipe, loss_network: LossNetwork, say: Callable[[str], None]) -> Recipe:
    """Return the recipe without the style layers that the loss network's weights do not reach, and say so.

    Raises:
        ValueError: none is left, or the content layer is not there, or there is no layer of that name.
    """
    for layer in (*recipe.loss.content_layers, *recipe.loss.style_layers):
        if layer not in LAYERS:
            raise ValueError(f"unknown layer {layer!r} in the recipe; known: {', '.join(LAYERS)}")
    loss = recipe.loss.restrict(loss_network.layers)
    missing = sorted(set(recipe.loss.style_layers) - set(loss.style_layers))
    if missing:
        say(f"style layers without {', '.join(missing)}, which {loss_network.name} does not have here")
    if recipe.task == "style" and not loss.style_layers:
        raise ValueError(f"loss network {loss_network.name!r} has none of the style layers of the recipe")
    for layer in loss.content_layers:
        if layer not in loss_network.layers:
            raise ValueError(
                f"loss network {loss_network.name!r} has no {layer}; it has {', '.join(loss_network.layers)}"
            )
    return replace(recipe, loss=loss)
