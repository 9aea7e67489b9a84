"""Trained networks: from a run to a file with a card, and back to a network.

A file is safetensors with the recipe in its metadata, so that it says by itself what network it is. The card
beside it (JSON) says how it was made and how good it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .assets import PAINTINGS, PHOTOS, photo
from .build import prepare_input
from .files import atomic_path
from .hub import card, describe, find_file, missing, shipped, without_paths
from .images import center_crop, save_image
from .patterns import PATTERNS
from .recipe import Recipe, from_dict
from .run_folder import RunFolder, read_history
from .transform_nets import StyleTransferNet, SuperResolutionNet
from .weight_files import AssetError, digest, load_weights, read_weights, save_weights
from .widen import widened

__all__ = ["card", "load_network", "publish", "shipped"]

THUMBNAIL = "astronaut"
HISTORY_ROWS = 200  # of the training curves, at most so many are kept in a card


def load_network(source: str | Path) -> StyleTransferNet | SuperResolutionNet:
    """Return a trained network of either kind in evaluation mode, float32, on the CPU.

    Args:
        source: the name of a network that comes with the package, a safetensors file, or a run's folder,
            whose best weights are taken.

    Raises:
        ValueError: it is none of these; the message lists the names.
        repro.assets.AssetError: the file is damaged or holds no trained network.
    """
    path = find_file(source)
    if path is None:
        raise ValueError(missing(source))
    name, _, _ = describe(read_weights(path)[1], path)
    for network in (StyleTransferNet, SuperResolutionNet):
        if name == network.__name__:
            return network.from_file(path)
    raise AssetError(f"{path}: holds a network of an unknown kind, {name!r}")


def start_from(network: nn.Module, source: str | Path) -> list[str]:
    """Copy the weights of a trained network into one that may be wider or have more layers.

    Returns:
        A line for what begins anew: layers that only ``network`` has, and filters that it has more.

    Raises:
        AssetError: one of its weights does not fit.
        ValueError: no such network.
    """
    known, own = load_network(source).state_dict(), network.state_dict()
    new = sorted({key.rpartition(".")[0] for key in own.keys() - known.keys()})
    load_weights(network, widened(known, network), source)
    lines = [f"{source} has no {', '.join(new)}: they begin anew"] if new else []
    if any(known[key].shape != own[key].shape for key in known):
        lines.append(f"{source} has fewer filters: the others begin anew")
    return lines


def origin(source: str | Path) -> dict[str, Any]:
    """Return what a run that starts from a trained network says of it: name, digest, steps so far.

    The steps are all that led to its weights, also those of networks that it started from itself; None for
    a file that does not say how it was made, and for a run that lost its history.

    Raises:
        ValueError, repro.assets.AssetError: as for :func:`load_network`.
    """
    steps = None
    if str(source) in shipped():
        made = card(str(source))
        steps = made["steps"] + ((made.get("started_from") or {}).get("steps") or 0)
    elif (Path(source) / "run.json").is_file():
        before = RunFolder(source).description().get("started_from") or {}
        history = read_history(source)
        if any("evaluation" in row for row in history):  # else it was lost
            steps = _best(history)["step"] + (before.get("steps") or 0)
    weights = digest(load_network(source).state_dict())
    return {"network": Path(source).name, "weights": weights, "steps": steps}


def publish(run: str | Path, target: str | Path, licence: str | None = None, overwrite: bool = False) -> Path:
    """Write a finished run's best weights, as float16, its card and a thumbnail; return the weights' path.

    In the folder ``target``: NAME.safetensors, NAME.json and NAME.jpg, what the network makes of a photo.

    Nothing of the machine's folders gets into the card or the file: of paths only the last part.

    Args:
        run: the run's folder.
        target: the folder to write to.
        licence: what the card says of the use of the weights; they are yours to license.
        overwrite: replace files of these names.

    Raises:
        FileNotFoundError: the folder holds no run, or one that has not finished.
        ValueError: the run's history was lost.
        FileExistsError: one of the three files is there already and ``overwrite`` is not set.
    """
    description, history = RunFolder(run).description(), read_history(run)
    if not (Path(run) / "model.safetensors").is_file():
        raise FileNotFoundError(f"{run}: the run has not finished (no model.safetensors)")
    if not any("evaluation" in row for row in history):
        raise ValueError(f"{run}: its history.jsonl has no evaluation, which the card needs")
    recipe = from_dict(without_paths(description["recipe"]), f"{run}/run.json")
    network = load_network(run)
    tensors = {
        key: value.half() if value.is_floating_point() else value
        for key, value in network.state_dict().items()
    }
    path = Path(target) / f"{recipe.name}.safetensors"
    for there in (path, path.with_suffix(".json"), path.with_suffix(".jpg")):
        if there.exists() and not overwrite:
            raise FileExistsError(f"{there} exists; give another folder or --overwrite")
    content = {**_card(recipe, description, history, tensors), "licence": licence}
    thumbnail = _thumbnail(recipe, network)
    save_weights(tensors, path, {"recipe": json.dumps(recipe.to_dict())})
    with atomic_path(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    save_image(thumbnail, path.with_suffix(".jpg"), quality=90)
    return path


def _thumbnail(recipe: Recipe, network: StyleTransferNet | SuperResolutionNet) -> torch.Tensor:
    """Return what a network makes of a photo that comes with scikit-image, (1, 3, 256, 256)."""
    with torch.no_grad():
        return network(prepare_input(recipe, center_crop(photo(THUMBNAIL), 256)))


def _style(picture: str) -> dict[str, str]:
    """Return what a card says of a style picture."""
    if picture in PAINTINGS:
        painting = PAINTINGS[picture]
        names = ("title", "author", "year", "licence")
        return {name: getattr(painting, name) for name in names}
    if picture in PATTERNS:
        return {"title": PATTERNS[picture].title, "author": "drawn by this project", "licence": "MIT"}
    return {"title": Path(picture).name}


def _card(
    recipe: Recipe,
    description: Mapping[str, Any],
    history: list[dict[str, Any]],
    tensors: Mapping[str, torch.Tensor],
) -> dict[str, Any]:
    photos = description["photos"]
    evaluations, best = [row for row in history if "evaluation" in row], _best(history)
    training = [row for row in history if "train" in row]
    kept = training[:: -(-len(training) // HISTORY_ROWS)]
    made_with = ("loss_network", "precision", "repro", "git_commit", "python", "torch", "device")
    return {
        "name": recipe.name,
        "task": recipe.task,
        "parameters": sum(value.numel() for value in tensors.values()),
        "weights_digest": digest(tensors),
        "recipe": recipe.to_dict(),
        "started_from": description.get("started_from"),
        "style_fingerprint": description.get("style_fingerprint"),
        "style": _style(recipe.style.picture) if recipe.task == "style" else None,
        "photos": {
            "training": photos["training"],
            "held_out": len(photos["held_out"]),
            "sha256": photos["sha256"],
        },
        "steps": best["step"],
        "seconds": history[-1]["seconds"],
        **{key: description[key] for key in made_with},
        "evaluation": _rounded(best["evaluation"]),
        "history": {
            "step": [row["step"] for row in kept],
            **{name: [_round(row["train"][name]) for row in kept] for name in kept[0]["train"]},
        },
        "evaluations": {
            "step": [row["step"] for row in evaluations],
            "objective": [_round(row["evaluation"]["objective"]) for row in evaluations],
        },
        "thumbnail": PHOTOS[THUMBNAIL],  # NAME.jpg shows this photo
    }


def _best(history: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the row of the evaluation whose weights are in ``best.safetensors``."""
    return min(
        (row for row in history if "evaluation" in row), key=lambda row: row["evaluation"]["objective"]
    )


def _round(value: float) -> float:
    return float(f"{value:.5g}")


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: _round(value) for name, value in values.items()}
