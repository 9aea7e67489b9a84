"""Choices of the method one at a time: two networks that differ in one of them, trained alike."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from ..devices import device
from ..figures import Table, panels
from ..images import center_crop, to_array
from ..loss_network import LossNetwork
from ..losses import PerceptualLoss, feature_reconstruction_loss
from ..picture_files import load_image
from ..sample_photos import photo, photo_files
from ..style_pictures import load_style
from ..training import train
from ..training.data import data_hash, list_photos, split
from ..training.recipe import Recipe, load_recipe
from .support.common import Result, describe, load_loss_network, rounded, settings

STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_3")
# What differs from the base, which is the preset "modern", and the words for (base, variant).
ABLATIONS: dict[str, tuple[dict[str, Any], tuple[str, str]]] = {
    "normalisation": ({"network.norm": "batch"}, ("instance", "batch")),
    "upsampling": ({"network.upsample": "transposed"}, ("resize, convolve", "transposed")),
    "padding": ({"network.padding": "zero"}, ("reflection", "zeros")),
    "blocks": ({"network.blocks": "plain"}, ("residual", "plain")),
    "content layer": ({"loss.content_layers": {"relu2_2": 1.0}}, ("relu3_3", "relu2_2")),
}
CONTENT_LAYERS = ("relu2_2", "relu3_3")
SETTINGS: dict[str, dict[str, Any]] = {
    "smoke": {"steps": 2, "size": 32, "width": 0.1, "seeds": [0], "evaluations": 2, "style_size": 32}
    | {"style_weight": 0.2, "tv_weight": 5e-4, "learning_rate": 1e-3},
    # So short that a lower style weight and a higher learning rate are needed to see the content.
    "book": {"steps": 150, "size": 64, "width": 0.25, "seeds": [0, 1, 2, 3, 4], "evaluations": 10}
    | {"style_size": 128, "style_weight": 0.2, "tv_weight": 5e-4, "learning_rate": 2e-3},
    "paper": {"steps": 40_000, "size": 256, "width": 1.0, "seeds": [0, 1, 2], "evaluations": 40}
    | {"style_size": 384, "style_weight": 1.0, "tv_weight": 5e-5, "learning_rate": 1e-3},
}


def run(scale: str = "book", loss_network: str = "auto", data: str | Path | None = None) -> Result:
    """Train the base and, for each ablation, a network in which one thing is another.

    Args:
        data: a folder of photos to train on; default the five that come with scikit-image. Some are held out.

    Returns:
        ``data["curves"]``, the objective on held-out photos of ``base`` and of each ablation after each of
        ``data["steps"]``, for each seed. ``data["ends"]``, for the same networks at the end, means over
        photos and seeds: ``objective`` (that of the base for all of them), ``style`` (its style terms), and
        the feature reconstruction loss against the photo at relu2_2 and relu3_3. Pictures: what each
        network makes of a photo.

    Raises:
        ValueError: unknown scale or loss network, or a held-out photo that cannot be read.
        FileNotFoundError: no picture in ``data``.
        FloatingPointError: a network did not train.
    """
    chosen = settings(SETTINGS, scale)
    vgg = load_loss_network(loss_network, list(dict.fromkeys([*CONTENT_LAYERS, *STYLE_LAYERS])))
    photos = photo_files() if data is None else list_photos(data)
    content = center_crop(photo("chelsea"), 2 * chosen["size"]).to(device())
    base = _recipe(chosen, 0, vgg.name, {}, len(photos))
    held_out = {seed: _held_out(photos, base, seed) for seed in chosen["seeds"]}
    loss = PerceptualLoss(vgg, **base.loss.arguments())
    loss.set_targets(style=load_style(base.style.picture, base.style.size).to(device()))
    curves: dict[str, list[list[float]]] = {}
    ends: dict[str, list[dict[str, float]]] = {}
    pictures, steps = {}, []
    for name, changes in [("base", {}), *((key, value[0]) for key, value in ABLATIONS.items())]:
        for seed in chosen["seeds"]:
            recipe = _recipe(chosen, seed, vgg.name, changes, len(photos))
            with tempfile.TemporaryDirectory() as folder:
                trained = train(recipe, photos, Path(folder) / "run", precision="no", progress=False)
            network = trained.network.to(device())
            rows = [row for row in trained.history if "evaluation" in row]
            steps = [row["step"] for row in rows]
            curves.setdefault(name, []).append([rounded(row["evaluation"]["objective"]) for row in rows])
            ends.setdefault(name, []).extend(_ends(network, held_out[seed], loss, vgg))
            if seed == chosen["seeds"][0]:
                with torch.no_grad():
                    pictures[name] = network(content).clamp(0, 1).cpu()
    means = {
        name: {key: rounded(statistics.fmean(row[key] for row in rows)) for key in rows[0]}
        for name, rows in ends.items()
    }
    made_with = {
        "loss_network": describe(vgg),
        "seeds": chosen["seeds"],
        "precision": "no",
        "recipe": base.to_dict(),
        "photos": {"number": len(photos), "sha256": data_hash(photos)},
    }
    return Result({"settings": chosen, "steps": steps, "curves": curves, "ends": means}, pictures, made_with)


def _recipe(
    chosen: Mapping[str, Any], seed: int, loss_network: str, changes: Mapping[str, Any], photos: int
) -> Recipe:
    return load_recipe(
        "style",
        overrides={
            "name": "ablation",
            "seed": seed,
            "loss_network": loss_network,
            "style.size": chosen["style_size"],
            "network.width": chosen["width"],
            "training.steps": chosen["steps"],
            "training.size": chosen["size"],
            "run.held_out": 1 if photos < 20 else 8,
            "run.evaluate_every": max(1, chosen["steps"] // chosen["evaluations"]),
            "run.workers": 0 if photos < 20 else 1,
            "style.picture": "brush_strokes",
            "loss.style_layers": dict.fromkeys(STYLE_LAYERS, chosen["style_weight"]),
            "loss.tv_weight": chosen["tv_weight"],
            "training.learning_rate": chosen["learning_rate"],
            **changes,
        },
    )


def _held_out(photos: Sequence[Path], recipe: Recipe, seed: int) -> list[Tensor]:
    """Return the photos that a run with this seed does not see, as they are evaluated on."""
    paths = split(photos, recipe.run.held_out, seed)[1]
    return [center_crop(load_image(path), recipe.training.size).to(device()) for path in paths]


@torch.no_grad()
def _ends(
    network: nn.Module, held_out: Sequence[Tensor], loss: PerceptualLoss, vgg: LossNetwork
) -> list[dict[str, float]]:
    """Measure a network on held-out photos: the base's objective, whatever the network was trained with."""
    rows = []
    for content in held_out:
        result = network(content)
        terms = {name: value.item() for name, value in loss(result, content=content).items()}
        own, known = vgg(result, list(CONTENT_LAYERS)), vgg(content, list(CONTENT_LAYERS))
        distances = {
            layer: feature_reconstruction_loss(own[layer], known[layer]).item() for layer in CONTENT_LAYERS
        }
        style = sum(value for name, value in terms.items() if name.startswith("style/"))
        rows.append({"objective": sum(terms.values()), "style": style, **distances})
    return rows


def table(result: Result) -> Table:
    """Return how each variant ends, beside the base.

    "Ends higher" counts the seeds with which the variant's objective ends above the base's; it is empty where
    the two minimise different sums. The other columns are the variant's values over the base's.
    """
    base, curves, rows = result.data["ends"]["base"], result.data["curves"], []
    for name, (changes, _) in ABLATIONS.items():
        higher = sum(run[-1] > of[-1] for run, of in zip(curves[name], curves["base"], strict=True))
        comparable = not any(key.startswith("loss.") for key in changes)
        ratios = [f"{result.data['ends'][name][key] / base[key]:.2f}" for key in ("style", *CONTENT_LAYERS)]
        rows.append([name, f"{higher} of {len(curves[name])}" if comparable else None, *ratios])
    titles = ["", "ends higher", "style", *(f"content at {layer}" for layer in CONTENT_LAYERS)]
    return Table(titles, rows, caption=result.origin)


def plot(result: Result) -> Figure:
    """Draw a row for each ablation: the objectives, then the photo in the base's and in the variant's style.

    Where the two are trained for different objectives, bars compare what they can be compared in.
    """
    size, ratios = (9.0, 2.5 * len(ABLATIONS)), {"width_ratios": [1.5, 1, 1]}
    figure, axes = panels(3, size, nrows=len(ABLATIONS), gridspec_kw=ratios)
    curves, ends = result.data["curves"], result.data["ends"]
    for (axis, left, right), (name, (changes, labels)) in zip(axes, ABLATIONS.items(), strict=True):
        if any(key.startswith("loss.") for key in changes):
            keys = ["style", *CONTENT_LAYERS]
            axis.bar(range(len(keys)), [ends[name][key] / ends["base"][key] for key in keys], color="C1")
            axis.axhline(1, color="C0")
            axis.set_xticks(
                range(len(keys)), ["style", *(f"content at\n{layer}" for layer in CONTENT_LAYERS)]
            )
            axis.set_ylabel(f"{labels[1]} / {labels[0]}")
        else:
            for key, color, label in (("base", "C0", labels[0]), (name, "C1", labels[1])):
                for i, values in enumerate(curves[key]):
                    axis.plot(result.data["steps"], values, color=color, label=label if i == 0 else None)
            axis.set(ylabel="objective", yscale="log")
            # Beside the title: inside the axes it would lie over some panel's lines.
            above = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": 2, "borderpad": 0}
            axis.legend(**above, handlelength=1, columnspacing=1, frameon=False, fontsize=9)
        axis.set_title(name, fontsize=10, loc="left")
        for panel, key, label in ((left, "base", labels[0]), (right, name, labels[1])):
            panel.imshow(to_array(result.pictures[key]), interpolation="lanczos")
            panel.set_title(label, fontsize=10)
            panel.axis("off")
    axes[-2][0].set_xlabel("step")
    return figure
