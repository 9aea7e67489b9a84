"""What ``pocket`` learns from, and how well a network agrees with its teacher on photos it never saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from repro.degradations import DISTORTIONS, distort
from repro.downloads import cache_dir
from repro.images import center_crop, check_image
from repro.loss_network import LossNetwork
from repro.picture_files import load_image

Teacher = Callable[[Tensor], dict[str, Tensor]]


class CollaborativeVGG19(nn.Module):
    """The compressed VGG-19 of Wang et al. 2020 with its heads, from their published weights.

    Input RGB in [0, 1]; ``conv0`` turns it into mean-subtracted BGR. Reflection padding of 1 before every
    3x3 convolution, max pooling between blocks.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        tensors = load_file(path)
        self.convs = nn.ModuleDict()
        for key in sorted({key.split(".")[0] for key in tensors}):
            weight = tensors[f"{key}.weight"]
            conv = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2])
            conv.load_state_dict({"weight": weight, "bias": tensors[f"{key}.bias"]})
            self.convs[key] = conv
        self.requires_grad_(False).eval()

    def forward(self, image: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Return the features that the heads predict at ``layers``, each a ``reluX_1``."""
        check_image(image)
        x = self.convs["conv0"](image)
        features = {}
        for block, count in (("1", 2), ("2", 2), ("3", 4), ("4", 4), ("5", 1)):
            if block != "1":
                x = F.max_pool2d(x, 2)
            for i in range(1, count + 1):
                x = F.relu(self.convs[f"conv{block}{i}"](F.pad(x, (1, 1, 1, 1), mode="reflect")))
                if f"relu{block}_{i}" in layers:
                    features[f"relu{block}_{i}"] = F.relu(self.convs[f"conv{block}{i}_aux"](x))
        return features


def make_teacher(recipe: Mapping, sample: Tensor) -> Teacher:
    """Return the function image -> features by the *student's* layer names that a recipe describes.

    Args:
        recipe: its ``teacher`` tables. Features of a teacher with ``rms_of`` are multiplied by one factor a
            layer that gives them the root mean square of that layer.
        sample: (N, 3, H, W), the images on which root mean squares are taken.

    Raises:
        repro.errors.AssetError, FileNotFoundError: a teacher's weights are not in the cache.
    """
    parts = []
    for entry in recipe["teacher"]:
        if "network" in entry:
            network = LossNetwork(entry["network"], sorted(set(entry["layers"].values())))
        else:
            path = cache_dir() / entry["file"]
            if not path.is_file():
                raise FileNotFoundError(f"{path}: no such file; put the teacher's weights there")
            network = CollaborativeVGG19(path)
        parts.append((network.to(memory_format=torch.channels_last), entry["layers"]))
    factors: dict[str, float] = {}

    @torch.no_grad()
    def teacher(image: Tensor) -> dict[str, Tensor]:
        features = {}
        for network, layers in parts:
            given = network(image, list(layers.values()))
            features |= {own: given[its].float() * factors.get(own, 1.0) for own, its in layers.items()}
        return features

    rms = feature_rms(teacher, sample)
    for entry in recipe["teacher"]:
        if "rms_of" in entry:
            factors |= {layer: rms[entry["rms_of"]] / rms[layer] for layer in entry["layers"]}
    return teacher


def feature_rms(teacher: Teacher, images: Tensor) -> dict[str, float]:
    """Return the root mean square of a teacher's features on some images, by layer."""
    return {layer: features.square().mean().sqrt().item() for layer, features in teacher(images).items()}


@torch.no_grad()
def evaluate(
    network: LossNetwork, teacher: Teacher, paths: Sequence[Path], pairs: int, seed: int = 1
) -> dict:
    """Compare a distilled network with its teacher on photos that it never saw.

    Two distorted versions of a photo (kinds and strengths drawn independently) are ranked by their distance
    from it: how often do student and teacher agree, and how often do squared pixel differences and teacher?

    Args:
        paths: the held-out photos; each is used in turn, as its centre square of 160 px.
        pairs: number of comparisons.

    Returns:
        For each layer ``explained_variance`` (of the teacher's channels), ``agreement`` and
        ``pixel_agreement`` (shares of the comparisons).
    """
    rng = np.random.default_rng(seed)
    error, energy = dict.fromkeys(network.layers, 0.0), dict.fromkeys(network.layers, 0.0)
    agree, pixel_agree = dict.fromkeys(network.layers, 0), dict.fromkeys(network.layers, 0)
    for i in range(pairs):
        photo = center_crop(load_image(paths[i % len(paths)]), 160)
        kinds = rng.integers(len(DISTORTIONS), size=2)
        versions = [distort(photo, DISTORTIONS[kind], rng.uniform(), rng) for kind in kinds]
        images = torch.cat([photo, *versions])
        known, own = teacher(images), network(images)
        pixels = (images[1:] - images[:1]).square().mean(dim=(1, 2, 3))
        for layer in network.layers:
            expected = known[layer]
            mean = expected[:1].mean(dim=(2, 3), keepdim=True)
            error[layer] += (own[layer][:1] - expected[:1]).square().sum().item()
            energy[layer] += (expected[:1] - mean).square().sum().item()
            first = _first_is_closer(expected)
            agree[layer] += _first_is_closer(own[layer]) == first
            pixel_agree[layer] += bool(pixels[0] < pixels[1]) == first
    return {
        layer: {
            "explained_variance": round(1 - error[layer] / energy[layer], 3),
            "agreement": round(agree[layer] / pairs, 4),
            "pixel_agreement": round(pixel_agree[layer] / pairs, 4),
        }
        for layer in network.layers
    }


def _first_is_closer(features: Tensor) -> bool:
    distances = (features[1:] - features[:1]).square().mean(dim=(1, 2, 3))
    return bool(distances[0] < distances[1])
