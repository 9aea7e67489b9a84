"""Give a finished run away: its best weights in a file, a card that says how they were made, a thumbnail."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..atomic_files import atomic_path
from ..images import center_crop
from ..picture_files import save_image
from ..pretrained import digest, save_weights, without_paths
from ..sample_photos import PHOTOS, photo
from ..style_pictures import style_picture
from ..transform_nets import StyleTransferNet, SuperResolutionNet, load_network
from .recipe import Recipe, from_dict, prepare_input
from .run_folder import RunFolder, best_evaluation, of_last_stage, read_history

THUMBNAIL = "astronaut"
HISTORY_ROWS = 200  # of the last stage's training curves, at most so many are kept in a card
OF_STAGES = ("steps", "batch_size", "size", "optimizer", "learning_rate", "schedule")


def publish(run: str | Path, target: str | Path, license: str | None = None, overwrite: bool = False) -> Path:
    """Write a finished run's best weights, as float16, its card and a thumbnail; return the weights' path.

    In the folder ``target``: NAME.safetensors, NAME.json and NAME.jpg, what the network makes of a photo.

    Nothing of the machine's folders gets into the card or the file: of paths only the last part.

    Args:
        run: the run's folder.
        target: the folder to write to.
        license: what the card says of the use of the weights; they are yours to license.
        overwrite: replace files of these names.

    Raises:
        FileNotFoundError: the folder holds no run, or one that has not finished.
        ValueError: the run's history was lost.
        FileExistsError: one of the three files is there already and ``overwrite`` is not set.
    """
    description, history = RunFolder(run).description(), read_history(run)
    if not RunFolder(run).finished:
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
            raise FileExistsError(f"{there} exists; give another folder or overwrite=True")
    content = {**_card(recipe, description, history, tensors), "license": license}
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


def _card(
    recipe: Recipe,
    description: Mapping[str, Any],
    history: list[dict[str, Any]],
    tensors: Mapping[str, torch.Tensor],
) -> dict[str, Any]:
    photos = description["photos"]
    evaluations = of_last_stage([row for row in history if "evaluation" in row])
    best, training = best_evaluation(history), of_last_stage([row for row in history if "train" in row])
    kept = training[:: -(-len(training) // HISTORY_ROWS)]
    made_with = ("loss_network", "precision", "repro", "git_commit", "python", "torch", "device")
    return {
        "name": recipe.name,
        "task": recipe.task,
        "parameters": sum(value.numel() for value in tensors.values()),
        "weights_digest": digest(tensors),
        "recipe": recipe.to_dict(),
        "started_from": description["started_from"],
        "style_fingerprint": description["style_fingerprint"],
        "style": style_picture(recipe.style.picture).credit if recipe.task == "style" else None,
        "photos": {
            "training": photos["training"],
            "held_out": len(photos["held_out"]),
            "sha256": photos["sha256"],
        },
        "stages": _stages(recipe, history),
        "steps": best["step"],
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


def _stages(recipe: Recipe, history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what a card says of each stage; ``seconds`` are those that it took."""
    stages, before = [], 0.0
    for number, part in enumerate(recipe.parts, 1):
        end = max(row["seconds"] for row in history if row["stage"] == number)
        stage = {key: getattr(part.training, key) for key in OF_STAGES}
        stages.append({**stage, "seconds": round(end - before, 2)})
        before = end
    return stages


def _round(value: float) -> float:
    return float(f"{value:.5g}")


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: _round(value) for name, value in values.items()}
