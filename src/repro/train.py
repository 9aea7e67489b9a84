"""Training of image transformation networks, for style transfer and for super-resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .recipe import Recipe, from_dict
from .run_folder import RunFolder, read_history
from .trainer import Trainer
from .transform_nets import StyleTransferNet, SuperResolutionNet


@dataclass(frozen=True)
class Trained:
    """What training gives: the network in evaluation mode on the CPU, its history and its folder."""

    network: StyleTransferNet | SuperResolutionNet
    history: list[dict[str, Any]]
    folder: Path


def train(
    recipe: Recipe,
    photos: str | Path | Sequence[Path],
    folder: str | Path,
    resume: bool = False,
    precision: str = "auto",
    progress: bool = True,
) -> Trained:
    """Train a network as a recipe says.

    Args:
        recipe: see :func:`repro.recipe.load_recipe`.
        photos: a folder of photos, or picture files.
        folder: where the run is kept; see :class:`repro.run_folder.RunFolder`.
        resume: go on from the folder's checkpoint. On a CPU the result is the same to the last bit as
            without an interruption.
        precision: "no" (float32), "bf16", "fp16", or "auto": bf16 where the processor has instructions for
            it. Grams and losses are computed in float32 in any case.
        progress: show a bar with steps a second, the terms and the time left (on stderr).

    Raises:
        FloatingPointError: a term is NaN or infinite; the message names it, the step and the photos.
        repro.trainer.TrainingStopped: SIGINT or SIGTERM came; the run was saved.
        FileExistsError: the folder holds a run and ``resume`` is not set, or another process trains there.
        ValueError: photos and recipe do not fit, or the photos are not those that the run began with.
    """
    with RunFolder(folder) as run_folder:
        trainer = Trainer(recipe, photos, run_folder, resume, precision, progress)
        trainer.fit()
        return Trained(trainer.finish(), read_history(folder), run_folder.path)


def resume(folder: str | Path, progress: bool = True) -> Trained:
    """Go on with the run in a folder, with the recipe, the photos and the precision that it began with."""
    description = RunFolder(folder).description()
    photos = description["photos"]["folder"]
    if photos is None:
        raise ValueError(f"{folder}: it was begun with a list of files; call train(..., resume=True)")
    recipe = from_dict(description["recipe"], f"{folder}/run.json")
    return train(recipe, photos, folder, True, description["precision"], progress)
