"""Trained networks: from a run to a file with a card, and back to a network.

A file is safetensors with the recipe in its metadata, so that it says by itself what network it is. The card
beside it (JSON) says how it was made and how good it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from .assets import AssetError, digest, save_weights
from .build import build_network
from .files import atomic_path
from .recipe import Recipe, from_dict
from .run_folder import RunFolder, read_history
from .transform_nets import StyleTransferNet, SuperResolutionNet

HISTORY_ROWS = 200  # of the training curves, at most so many are kept in a card


def shipped() -> list[str]:
    """Return the names of the trained networks that come with the package."""
    folder = resources.files("repro") / "weights"
    cards = {Path(file.name).stem for file in folder.iterdir() if file.name.endswith(".json")}
    return sorted(name for name in cards if "task" in card(name))


def card(name: str) -> dict[str, Any]:
    """Return the card of something in the package's ``weights`` folder.

    Raises:
        ValueError: there is none of that name.
    """
    file = resources.files("repro") / "weights" / f"{name}.json"
    if not file.is_file():
        raise ValueError(f"no network of the name {name!r} comes with the package")
    return json.loads(file.read_text(encoding="utf-8"))


def load_network(source: str | Path) -> StyleTransferNet | SuperResolutionNet:
    """Return a trained network in evaluation mode, float32, on the CPU.

    Args:
        source: the name of a network that comes with the package, a safetensors file, or a run's folder,
            whose best weights are taken.

    Raises:
        ValueError: it is none of these; the message lists the names.
        repro.assets.AssetError: the file is damaged or holds no trained network.
    """
    path = Path(str(resources.files("repro") / "weights" / f"{source}.safetensors"))
    if str(source) not in shipped():
        path = Path(source)
        if path.is_dir():
            path = next(
                (p for p in (path / "best.safetensors", path / "model.safetensors") if p.is_file()), path
            )
    if not path.is_file():
        names = ", ".join(shipped()) or "none yet"
        raise ValueError(f"{source}: no file, no run, and no network of the package ({names})")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise AssetError(f"{path}: damaged or not a safetensors file ({error})") from None
    if "recipe" not in metadata or metadata.get("digest") != digest(tensors):
        raise AssetError(f"{path}: holds no network of this project, or was changed")
    network = build_network(from_dict(json.loads(metadata["recipe"]), str(path)))
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise AssetError(f"{path}: the weights do not fit their recipe ({error})") from None
    return network.eval()


def publish(run: str | Path, target: str | Path) -> Path:
    """Write a finished run's best weights, as float16, and its card into a folder; return the weights' path.

    Nothing of the machine's folders gets into the card.

    Raises:
        FileNotFoundError: the folder holds no run, or one that has not finished.
    """
    description, history = RunFolder(run).description(), read_history(run)
    if not (Path(run) / "model.safetensors").is_file():
        raise FileNotFoundError(f"{run}: the run has not finished (no model.safetensors)")
    recipe = from_dict(description["recipe"], f"{run}/run.json")
    network = load_network(run)
    tensors = {
        key: value.half() if value.is_floating_point() else value
        for key, value in network.state_dict().items()
    }
    path = Path(target) / f"{recipe.name}.safetensors"
    save_weights(tensors, path, {"recipe": json.dumps(recipe.to_dict())})
    content = _card(recipe, description, history, tensors)
    with atomic_path(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def _card(
    recipe: Recipe,
    description: Mapping[str, Any],
    history: list[dict[str, Any]],
    tensors: Mapping[str, torch.Tensor],
) -> dict[str, Any]:
    photos = description["photos"]
    evaluations = [row for row in history if "evaluation" in row]
    best = min(evaluations, key=lambda row: row["evaluation"]["objective"])
    training = [row for row in history if "train" in row]
    kept = training[:: -(-len(training) // HISTORY_ROWS)]
    made_with = ("loss_network", "precision", "repro", "git_commit", "python", "torch", "device")
    return {
        "name": recipe.name,
        "task": recipe.task,
        "parameters": sum(value.numel() for value in tensors.values()),
        "weights_digest": digest(tensors),
        "recipe": recipe.to_dict(),
        "style_digest": description["style_digest"],
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
        "licence": "MIT",
    }


def _round(value: float) -> float:
    return float(f"{value:.5g}")


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: _round(value) for name, value in values.items()}
