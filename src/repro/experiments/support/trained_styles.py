"""Trained style networks with what they were trained for: their style picture and their objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...devices import device
from ...loss_network import LossNetwork
from ...losses import PerceptualLoss
from ...presets import LossConfig
from ...pretrained import digest, shipped
from ...style_pictures import load_style, style_picture
from ...training.recipe import from_dict, restrict
from ...transform_nets import StyleTransferNet, load_network
from .common import describe, load_loss_network

# Where one network stands for all: it does best against its baseline, and its picture is drawn: always here.
FIRST = "stained_glass"


@dataclass
class TrainedStyle:
    """A style network and its task.

    Attributes:
        name: of its recipe.
        network: on :func:`repro.devices.device`.
        picture: (1, 3, H, W), the style picture at the size that it was trained with.
        loss_network: with the layers of the objective that its weights reach.
        loss: layers and weights of the objective, the network's own as far as the loss network has them.
        trained_at: side in pixels of the pieces that it was trained on.
    """

    name: str
    network: StyleTransferNet
    picture: Tensor
    loss_network: LossNetwork
    loss: LossConfig
    trained_at: int

    def loss_for(self, content: Tensor) -> LossConfig:
        """Return layers and weights of the objective for a content image of this size.

        The total variation is a sum over pixels, all other terms are means. So that the terms weigh against
        each other at every size as they did in training, its weight falls as the number of pixels rises. What
        the paper did, which compares sizes in Fig. 5, is not stated.
        """
        height, width = content.shape[-2:]
        return replace(self.loss, tv_weight=self.loss.tv_weight * self.trained_at**2 / (height * width))

    def objective(self, content: Tensor) -> PerceptualLoss:
        """Return the objective (Eq. 5) for a content image, the same as that of the baseline."""
        objective = PerceptualLoss(self.loss_network, **self.loss_for(content).arguments())
        objective.set_targets(content=content, style=self.picture)
        return objective

    @torch.no_grad()
    def result(self, content: Tensor) -> Tensor:
        """Return the network's result for (1, 3, H, W), clipped to [0, 1] as it would be shown."""
        return self.network(content).clamp(0, 1)

    @torch.no_grad()
    def value(self, objective: PerceptualLoss, image: Tensor) -> float:
        """Return the sum of an objective's terms at an image."""
        return sum(term.item() for term in objective(image).values())

    def describe(self) -> dict[str, Any]:
        """Return what a result says of it."""
        assert self.network.recipe is not None
        return {
            "name": self.name,
            "weights": digest(self.network.state_dict()),
            "options": dict(self.network.recipe["network"]),
            "style": Path(self.network.recipe["style"]["picture"]).name,
            "style_sha256": digest({"style": self.picture}),
            "content_layers": dict(self.loss.content_layers),
            "style_layers": dict(self.loss.style_layers),
            "tv_weight": self.loss.tv_weight,
            "trained_at": self.trained_at,
            "loss_network": describe(self.loss_network),
        }


def trained_style(source: str | Path, loss_network: str = "auto") -> TrainedStyle:
    """Return a trained style network with its task.

    Args:
        source: the name of a network that comes with the package, a file, or a run's folder.
        loss_network: its name; the objective keeps the style layers that it has.

    Raises:
        ValueError: no such network, or none for style transfer, or no recipe is kept with it, or the loss
            network lacks the content layer.
        repro.errors.AssetError: weights or the style picture cannot be had.
    """
    network = load_network(source)
    if not isinstance(network, StyleTransferNet):
        raise ValueError(f"{source} is no network for style transfer")
    if network.recipe is None:
        raise ValueError(f"{source}: no recipe is kept with it, so its style and its objective are not known")
    recipe = from_dict(network.recipe, str(source)).parts[-1]
    layers = [*recipe.loss.content_layers, *recipe.loss.style_layers]
    reached = load_loss_network(loss_network, layers)
    recipe = restrict(recipe, reached)
    picture = load_style(recipe.style.picture, recipe.style.size)
    return TrainedStyle(
        recipe.name,
        network.to(device()),
        picture.to(device()),
        reached,
        recipe.loss,
        recipe.training.size,
    )


def style_networks(names: Sequence[str] | None = None) -> list[str]:
    """Return the names given, else those of the package whose style picture is on this machine.

    Raises:
        ValueError: there is none, and the message says how to make one; or two of them have the same name,
            under which a result could keep only one.
    """
    names = list(names or filter(_picture_is_here, shipped("style")))
    if not names:
        raise ValueError(
            "of no style that comes with this version the style picture is on this machine; train a network "
            "(repro train --style PICTURE) and name its folder with --style"
        )
    called: dict[str, str] = {}
    for source in names:
        name = (load_network(source).recipe or {}).get("name", source)
        if name in called:
            raise ValueError(f"{called[name]} and {source} are both called {name!r}; give one of them")
        called[name] = source
    return names


def first_style(names: Sequence[str] | None = None) -> str:
    """Return the first style network given whose style picture is on this machine, else the first one given.

    Without names it is :data:`FIRST`, or where that does not come with the package the first that does.
    """
    if not names and FIRST in shipped("style"):
        return FIRST
    names = style_networks(names)
    return next((name for name in names if _picture_is_here(name)), names[0])


def _picture_is_here(source: str) -> bool:
    style = (load_network(source).recipe or {}).get("style")  # a network for super-resolution has none
    return style is not None and style_picture(style["picture"]).is_here
