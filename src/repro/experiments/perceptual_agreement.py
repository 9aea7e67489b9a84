"""Which of two distorted pictures is closer to the original: pixels and loss networks as judges (section 1).

The paper's reason for perceptual losses is that distances of pixels do not follow what people see. People
are asked here by way of LPIPS, which was fitted to their answers, where its weights are on this machine.
Without it this measures two things that need no people: how often judges agree with each other, and how often
each finds the weaker of two distortions of one kind to be the closer picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from ..degradations import DISTORTIONS, distort
from ..devices import device
from ..figures import Table
from ..loss_network import LossNetwork
from ..losses import feature_reconstruction_loss, pixel_loss
from ..metrics import find_alexnet, lpips
from ..sample_photos import PHOTOS
from ..vgg_weights import find_loss_weights
from .support import common
from .support.common import Result, load_loss_network, rounded, settings, squares

SEED = 0
NETWORKS = ("vgg16", "pocket")
LPIPS = "lpips"
LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_1")
SETTINGS: dict[str, dict[str, Any]] = {
    "smoke": {"size": 48, "pairs": 12},
    "book": {"size": 128, "pairs": 400},
    "paper": {"size": 160, "pairs": 2000},
}


def run(scale: str = "book", loss_network: str = "auto") -> Result:
    """Let pixels, the loss network, and what is here of vgg16, pocket and LPIPS judge pairs of pictures.

    Half of the pairs have two kinds of distortion, half have one kind at two strengths.

    Returns:
        ``data["judges"]``, "pixels", "lpips", and names as "pocket/relu3_3"; ``data["reference"]``, the judge
        that the others are held to: LPIPS, or without it the deepest layer that all the networks have;
        ``data["agreement"]``, for each judge its share of the pairs of different kinds on which it agrees
        with the reference, with the standard error; ``data["matrix"]``, the same between all judges;
        ``data["weaker_is_closer"]``, for each judge the share of the pairs of one kind on which it finds the
        weaker distortion closer.

    Raises:
        ValueError: unknown scale or loss network.
        repro.errors.AssetError: the loss network's weights cannot be had.
    """
    chosen = settings(SETTINGS, scale)
    main = load_loss_network(loss_network, LAYERS)
    networks = {main.name: main}
    for name in NETWORKS:
        if name not in networks and find_loss_weights(name):
            networks[name] = load_loss_network(name, LAYERS)
    photos = squares(list(PHOTOS), chosen["size"])
    rng = np.random.default_rng(SEED)
    verdicts: dict[str, list[bool]] = {}
    monotone: dict[str, list[bool]] = {}
    originals = list(photos.values())
    for i in range(chosen["pairs"]):
        original = originals[i % len(originals)]
        same_kind = i % 2 == 1
        kinds = [str(rng.choice(DISTORTIONS))] * 2 if same_kind else list(rng.choice(DISTORTIONS, 2, False))
        strengths = sorted(rng.uniform(size=2)) if same_kind else rng.uniform(size=2)
        versions = [
            distort(original.cpu(), str(kind), strength, rng).to(device())
            for kind, strength in zip(kinds, strengths, strict=True)
        ]
        for judge, (first, second) in _distances(original, versions, networks).items():
            (monotone if same_kind else verdicts).setdefault(judge, []).append(first < second)
    judges = list(verdicts)
    shared = set.intersection(*({*network.layers} for network in networks.values()))
    reference = LPIPS if LPIPS in judges else f"{main.name}/{max(shared)}"
    shares = {a: {b: _share(np.equal(verdicts[a], verdicts[b])) for b in judges} for a in judges}
    data = {
        "settings": chosen,
        "judges": judges,
        "reference": reference,
        "agreement": {judge: shares[judge][reference] for judge in judges},
        "matrix": [[shares[a][b]["share"] for b in judges] for a in judges],
        "weaker_is_closer": {judge: _share(monotone[judge]) for judge in judges},
    }
    made_with = {
        "seed": SEED,
        "loss_network": common.describe(main),
        "loss_networks": [common.describe(network) for network in networks.values()],
        "photos": common.describe_pictures(photos),
        **common.describe_lpips(),
    }
    return Result(data, {}, made_with)


@torch.no_grad()
def _distances(
    original: Tensor, versions: list[Tensor], networks: dict[str, LossNetwork]
) -> dict[str, list[float]]:
    """Return how far each judge finds each version from the original."""
    distances = {"pixels": [pixel_loss(version, original).item() for version in versions]}
    if find_alexnet():
        distances[LPIPS] = [lpips(version, original).item() for version in versions]
    for name, network in networks.items():
        features = network(torch.cat([original, *versions]))
        for layer, values in features.items():
            distances[f"{name}/{layer}"] = [
                feature_reconstruction_loss(values[i : i + 1], values[:1]).item() for i in (1, 2)
            ]
    return distances


def _share(answers: Sequence[bool] | np.ndarray) -> dict[str, float]:
    share = float(np.mean(answers))
    error = (share * (1 - share) / len(answers)) ** 0.5
    return {"share": rounded(share), "standard_error": rounded(error)}


def table(result: Result) -> Table:
    """Return how often each judge agrees with the reference, and finds the weaker distortion closer."""
    keys = ("agreement", "weaker_is_closer")
    rows = [
        [judge, *(f"{100 * of['share']:.1f} ± {100 * of['standard_error']:.1f} %" for of in shares)]
        for judge in result.data["judges"]
        for shares in [[result.data[key][judge] for key in keys]]
    ]
    titles = ["judge", f"agrees with {result.data['reference']}", "finds the weaker distortion closer"]
    return Table(titles, rows, caption=result.origin)


def plot(result: Result) -> Figure:
    """Draw how often each pair of judges agrees."""
    judges, matrix = result.data["judges"], np.array(result.data["matrix"])
    side = 1.6 + 0.5 * len(judges)
    figure, axis = plt.subplots(figsize=(side + 0.6, side), layout="constrained")
    axis.imshow(matrix, vmin=0.5, vmax=1, cmap="viridis")
    for (row, column), value in np.ndenumerate(matrix):
        color = "white" if value < 0.8 else "black"
        axis.text(column, row, f"{100 * value:.0f}", ha="center", va="center", color=color, fontsize=8)
    axis.set_xticks(range(len(judges)), judges, rotation=60, ha="right", fontsize=8)
    axis.set_yticks(range(len(judges)), judges, fontsize=8)
    axis.set_title("agreement in percent", fontsize=10)
    return figure
