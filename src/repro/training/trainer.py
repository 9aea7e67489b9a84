"""The loop that trains image transformation networks: one for style transfer and for super-resolution.

Where it runs (CPU, GPU, several of them, several machines), in which precision, and how gradients are shared
is left to Accelerate. A batch is divided among the processes, so that the same recipe gives the same network
on one process and on many.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..errors import TrainingStopped
from ..loss_network import LossNetwork, auto_note
from ..picture_files import save_image
from ..pretrained import is_shipped, load_weights
from ..style_pictures import PictureFile, load_style, style_picture
from ..transform_nets import StyleTransferNet, SuperResolutionNet
from .data import data_hash, list_photos, split, training_loader
from .evaluator import Evaluator
from .optimizers import build_optimizer, learning_rate_factor
from .provenance import provenance
from .recipe import Recipe, build_loss, build_network, from_dict, prepare_input, restrict, save_network
from .run_folder import RunFolder, RunStatistics, fingerprint, read_history
from .runtime import (
    any_process,
    caught_signals,
    from_all_processes,
    from_main_process,
    make_accelerator,
)
from .starting_weights import origin, start_from, widened


def _inside(path: str | Path, folder: str | Path) -> bool:
    return Path(path).expanduser().resolve().is_relative_to(Path(folder).expanduser().resolve())


def _from_anywhere(recipe: Recipe) -> Recipe:
    """Return the recipe with whole paths, so that the run can go on from another working directory."""

    def whole(picture: str) -> str:
        found = style_picture(picture)
        return (
            str(Path(found.path).resolve()) if isinstance(found, PictureFile) and found.is_here else picture
        )

    stages = tuple(
        {**stage, "style": {**style, "picture": whole(style["picture"])}}
        if "picture" in (style := stage.get("style", {}))
        else stage
        for stage in recipe.stages
    )
    start = Path(recipe.start_from)
    if recipe.start_from and not is_shipped(recipe.start_from) and start.exists():
        recipe = replace(recipe, start_from=str(start.resolve()))
    style = replace(recipe.style, picture=whole(recipe.style.picture))
    return replace(recipe, style=style, stages=stages)


class Trainer:
    """A run while it goes; arguments as for :func:`train`; ``run`` is closed by its maker."""

    def __init__(
        self,
        recipe: Recipe,
        photos: str | Path | Sequence[Path],
        run: RunFolder,
        resume: bool,
        precision: str,
        progress: bool,
    ) -> None:
        self.accelerator = make_accelerator(precision)
        self.is_main = self.accelerator.is_main_process
        self.progress = progress and self.is_main
        paths = list_photos(photos) if isinstance(photos, (str, Path)) else [Path(path) for path in photos]
        self.train_paths, self.held_out = split(paths, recipe.run.held_out, recipe.seed)
        self.run = run
        if isinstance(photos, (str, Path)) and _inside(run.path, photos):
            raise ValueError(f"{run.path} lies among the photos of {photos}; give another folder for the run")
        # What it was when the run began; weights may have come since. Other machines need not see the folder.
        if resume and recipe.loss_network == "auto" and self.run.begun:
            recipe = replace(recipe, loss_network=self.run.description()["loss_network"]["name"])
        loss_network = LossNetwork(recipe.loss_network)
        used = f"loss network: {loss_network.name}{auto_note(recipe.loss_network, loss_network.name)}"
        recipe = replace(_from_anywhere(recipe), loss_network=loss_network.name)
        self.recipe = restrict(recipe, loss_network)
        self.parts = self.recipe.parts
        self.ends = [0, *accumulate(part.training.steps for part in self.parts)]  # of stages, in steps
        wanted = recipe.parts[-1].loss.style_layers
        if unreached := sorted(wanted.keys() - self.parts[-1].loss.style_layers.keys()):
            self.say(
                f"style layers without {', '.join(unreached)}, which {loss_network.name} does not have here"
            )
        # The convolutions are faster with channels last, but on CPUs instance normalisation in bfloat16 is so
        # much slower there that the network as a whole is slower; see benchmarks/train_step.py.
        half_on_cpu = self.accelerator.device.type == "cpu" and self.accelerator.mixed_precision != "no"
        self.layout = torch.contiguous_format if half_on_cpu else torch.channels_last
        self.loss_network = loss_network.to(self.accelerator.device).to(memory_format=torch.channels_last)
        scaler = self.accelerator.scaler
        self._fresh_scaler = scaler.state_dict() if scaler is not None else {}

        self.step, self.statistics = 0, RunStatistics(None)
        if not resume:  # what cannot be done is found before there is a run
            self._check_stages()
            self._enter(0)
        if self.is_main:
            self._begin(paths, photos, resume)
        self.say(used)
        self.accelerator.wait_for_everyone()  # other machines need not see the folder
        if resume:
            state = from_main_process(self.run.load() if self.is_main else None)
            self.statistics = RunStatistics(state)
            self._go_on(state)

    def _go_on(self, state: Mapping[str, Any] | None) -> None:
        """Enter the stage that a checkpoint is in; one at the end of a stage is the beginning of the next."""
        if state is None:
            return self._enter(0)
        self.step = state["step"]
        stage = next(i for i, end in enumerate(self.ends[1:]) if self.step < end or end == self.recipe.steps)
        if self.step == self.ends[stage]:
            return self._enter(stage, state["network"])
        return self._enter(stage, state=state)

    def _check_stages(self) -> None:
        """Raise ValueError if a later stage could not follow the one before it."""
        for number, (before, after) in enumerate(pairwise(map(build_network, self.parts)), 2):
            load_weights(after, widened(before.state_dict(), after), f"stage {number}")
        for part in self.parts[1:]:
            if part.task == "style":
                load_style(part.style.picture, part.style.size)
            training_loader(self.train_paths, part.training, part.seed, 0, 0, self.accelerator.num_processes)

    def _enter(
        self,
        stage: int,
        weights: Mapping[str, Tensor] | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        """Make all that a stage has of its own: loss, network, optimizer, schedule, order of photos.

        Args:
            stage: which one, from 0.
            weights: the last ones of the stage before; by default the recipe's first ones.
            state: a checkpoint within the stage, to go on from.
        """
        self.stage, self.part = stage, self.parts[stage]
        part, accelerator = self.part, self.accelerator
        device, processes = accelerator.device, accelerator.num_processes
        accelerator.free_memory()
        self.loss = build_loss(part.loss, self.loss_network, processes)
        objective = build_loss(part.loss, self.loss_network, processes=1)
        if part.task == "style":
            style = load_style(part.style.picture, part.style.size)
            with accelerator.autocast():
                self.loss.set_targets(style=style.to(device))
            objective.style_targets = self.loss.style_targets
        self.evaluator = Evaluator(part, self.held_out, objective, self.loss_network, device)
        self.skip(self.evaluator.skipped)

        torch.manual_seed(part.seed)
        network = build_network(part).to(memory_format=self.layout)
        optimizer = build_optimizer(part.training, network)
        if state is not None:
            network.load_state_dict(state["network"])
            optimizer.load_state_dict(state["optimizer"])
        elif weights is not None:
            load_weights(network, widened(weights, network), f"stage {stage + 1}")
        elif part.start_from:
            for line in start_from(network, part.start_from):
                self.say(line)
        alone = processes > 1 and device.type != "cuda"  # where statistics are of a process's own share
        if alone and any(isinstance(layer, torch.nn.BatchNorm2d) for layer in network.modules()):
            raise ValueError("batch normalisation over several processes needs GPUs; use one process")
        if device.type == "cuda" and processes > 1:
            network = torch.nn.SyncBatchNorm.convert_sync_batchnorm(network)
        loader = training_loader(
            self.train_paths, part.training, part.seed, self.step_of_stage, part.run.workers, processes
        )
        self.network, self.optimizer, self.loader = accelerator.prepare(network, optimizer, loader)
        if accelerator.scaler is not None:
            accelerator.scaler.load_state_dict(state["scaler"] if state else self._fresh_scaler)
        if state is not None:
            torch.set_rng_state(state["rng"])
        else:
            self.statistics.best = math.inf  # objectives of different stages do not compare
        self.factor = learning_rate_factor(part.training)
        self.network.train()

    @property
    def step_of_stage(self) -> int:
        """How many steps of the present stage are done."""
        return self.step - self.ends[self.stage]

    def say(self, line: str) -> None:
        """Print a line on stderr, above the progress bar."""
        if self.progress:
            tqdm.write(line, file=sys.stderr)

    def skip(self, reasons: Sequence[str]) -> None:
        """Count photos that were skipped, and say so the first time."""
        for reason in self.statistics.skip(reasons):
            self.say(f"skipped {reason}")

    def fit(self) -> None:
        """Make the steps that are left."""
        steps = self.ends[-1]
        hidden = None if self.progress else True  # None: hidden where stderr is no terminal
        bar = tqdm(total=steps, initial=self.step, unit="step", disable=hidden)
        with bar, caught_signals() as asked:
            while (
                self.step < steps
            ):  # Accelerate, up to some version, gives None where a loader is at its end
                if self.step == self.ends[self.stage + 1]:
                    self._enter(self.stage + 1, self.accelerator.unwrap_model(self.network).state_dict())
                for image, names, skipped in self.loader:
                    self.skip(skipped)
                    self.statistics.add(self.update(image, names))
                    self.step += 1
                    bar.update()
                    stop = any_process(self.accelerator, bool(asked))
                    row = self.keep(stop)
                    if row:
                        shown = (f"{name} {value:.3g}" for name, value in row["train"].items())
                        bar.set_postfix_str(", ".join(shown), refresh=False)
                    if stop and self.step < steps:
                        self.accelerator.wait_for_everyone()  # a launcher ends the others when one leaves
                        raise TrainingStopped(
                            f"stopped at step {self.step} of {steps}; go on with: "
                            f"repro train --resume {self.run.path}"
                        )

    def update(self, image: Tensor, names: Sequence[str]) -> dict[str, float]:
        """Make one step on a batch (N, 3, H, W); return the terms and their sum ``total``."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.part.training.learning_rate * self.factor(self.step_of_stage)
        image = image.contiguous(memory_format=self.layout)
        output = self.network(prepare_input(self.part, image))
        with self.accelerator.autocast():
            terms = self.loss(output, content=image)
        total = sum(terms.values())
        names_of_terms = [*terms, "total"]
        share = torch.stack([*terms.values(), total]).detach()
        values = self.accelerator.reduce(share, "mean").tolist()  # of the whole batch
        bad = [name for name, value in zip(names_of_terms, values, strict=True) if not math.isfinite(value)]
        if bad:
            raise FloatingPointError(
                f"step {self.step + 1}: not finite: {', '.join(bad)}; photos: "
                f"{', '.join(from_all_processes(names))}; the last checkpoint stays"
            )
        self.optimizer.zero_grad()
        self.accelerator.backward(total)
        self.optimizer.step()
        return dict(zip(names_of_terms, values, strict=True))

    def keep(self, stop: bool) -> dict[str, Any] | None:
        """Log, evaluate and save where this step is due for it; return the row that was logged."""
        every, last, row = self.recipe.run, self.step == self.ends[self.stage + 1], None
        if self.step % every.log_every == 0 or last:
            row = {"stage": self.stage + 1, **self.statistics.flush(self.step)}
            if self.is_main:
                self.run.log(row | {"lr": self.optimizer.param_groups[0]["lr"]})
        if self.is_main and (self.step % every.evaluate_every == 0 or last):
            self.evaluate()
        if self.is_main and (self.step % every.save_every == 0 or last or stop):
            self.save()
        return row

    def evaluate(self) -> None:
        """Evaluate the network on held-out photos, keep a sample picture, and the weights if the best so far.

        Raises:
            FloatingPointError: the objective is NaN or infinite.
        """
        network = self.accelerator.unwrap_model(self.network).eval()
        with self.accelerator.autocast():
            values, sample = self.evaluator(network)
        if not math.isfinite(values["objective"]):
            bad = [name for name, value in values.items() if not math.isfinite(value)]
            raise FloatingPointError(
                f"step {self.step}: not finite on held-out photos: {', '.join(bad)}; "
                "the last checkpoint stays"
            )
        row = {"stage": self.stage + 1, "step": self.step, "seconds": self.statistics.seconds()}
        self.run.log({**row, "evaluation": values})
        save_image(sample, self.run.path / "samples" / f"step_{self.step:06d}.jpg")
        if values["objective"] < self.statistics.best:
            self.statistics.best = values["objective"]
            self._write_weights(network, "best.safetensors")
        network.train()
        self.say(f"step {self.step}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()))

    def save(self) -> None:
        """Write the checkpoint.

        Raises:
            FloatingPointError: a weight is NaN or infinite; the checkpoint before stays.
        """
        state = self.accelerator.unwrap_model(self.network).state_dict()
        if not all(bool(value.isfinite().all()) for value in state.values()):
            raise FloatingPointError(f"step {self.step}: a weight is not finite; the last checkpoint stays")
        scaler = self.accelerator.scaler
        self.run.save(
            {
                "step": self.step,
                "network": state,
                "optimizer": self.optimizer.state_dict(),
                "scaler": scaler.state_dict() if scaler is not None else {},
                "rng": torch.get_rng_state(),
                **self.statistics.state(),
            }
        )

    def finish(self) -> StyleTransferNet | SuperResolutionNet:
        """Write the final weights; return the network in evaluation mode, on the CPU."""
        network = self.accelerator.unwrap_model(self.network, keep_fp32_wrapper=False).cpu().eval()
        if self.is_main:
            self._write_weights(network, "model.safetensors")
        self.accelerator.wait_for_everyone()
        return network

    def _write_weights(self, network: StyleTransferNet | SuperResolutionNet, name: str) -> None:
        """Write the weights with the recipe, whose network is that of the present stage."""
        save_network(network, replace(self.recipe, network=self.part.network), self.run.path / name)

    def _begin(self, paths: Sequence[Path], photos: str | Path | Sequence[Path], resume: bool) -> None:
        """Write ``run.json``, or on resuming check that all is as it was when the run began."""
        last = self.parts[-1]
        style = load_style(last.style.picture, last.style.size) if last.task == "style" else None
        facts = {
            "recipe": self.recipe.to_dict(),
            "photos": {
                "folder": str(Path(photos).expanduser().resolve())
                if isinstance(photos, (str, Path))
                else None,
                "training": len(self.train_paths),
                "held_out": [path.name for path in self.held_out],
                "sha256": data_hash(paths),
            },
            "started_from": origin(start) if (start := self.recipe.start_from) and not resume else None,
            "style_fingerprint": fingerprint(style) if style is not None else None,
            "loss_network": {"name": self.loss_network.name, "source": self.loss_network.source},
            "precision": self.accelerator.mixed_precision,
        }
        if not resume:
            machine = provenance(self.accelerator.device)
            self.run.lock()
            self.run.create({**facts, "processes": self.accelerator.num_processes, **machine})
            return
        before = self.run.description()
        facts["started_from"] = before["started_from"]  # is in the checkpoint, and may be gone
        before["photos"]["folder"] = facts["photos"]["folder"]  # may have been moved
        began, steps = from_dict(before["recipe"], f"{self.run.path}/run.json"), last.training.steps
        further = self.run.finished and began.further(steps) == self.recipe
        if further:
            before["recipe"] = facts["recipe"]
        self.run.require_same(before, facts)
        self.run.lock()
        if further:
            self.run.extend(before)


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
        recipe: see :func:`repro.training.recipe.load_recipe`.
        photos: a folder of photos, or picture files.
        folder: where the run is kept; see :class:`repro.training.run_folder.RunFolder`.
        resume: go on from the folder's checkpoint. On a CPU the result is the same to the last bit as
            without an interruption.
        precision: "no" (float32), "bf16", "fp16", or "auto": bf16 where the processor has instructions for
            it. Grams and losses are computed in float32 in any case.
        progress: show a bar with steps a second, the terms and the time left (on stderr).

    Raises:
        FloatingPointError: a term is NaN or infinite; the message names it, the step and the photos.
        repro.errors.TrainingStopped: SIGINT or SIGTERM came; the run was saved.
        FileExistsError: the folder holds a run and ``resume`` is not set, or another process trains there.
        ValueError: photos and recipe do not fit, or the photos are not those that the run began with.
    """
    with RunFolder(folder) as run_folder:
        trainer = Trainer(recipe, photos, run_folder, resume, precision, progress)
        trainer.fit()
        return Trained(trainer.finish(), read_history(folder), run_folder.path)


def resume(folder: str | Path, progress: bool = True, further_steps: int | None = None) -> Trained:
    """Go on with the run in a folder, with the recipe, the photos and the precision that it began with.

    Args:
        folder: of the run.
        progress: as for :func:`train`.
        further_steps: give a finished run one more stage, as the last one but of so many steps. Its schedule
            and its optimizer begin anew, so the objective may rise at first; ``best.safetensors`` is then the
            best of the new stage.

    Raises:
        ValueError: the run was begun with a list of files, or is to go further before it has finished.
    """
    description = RunFolder(folder).description()
    photos = description["photos"]["folder"]
    if photos is None:
        raise ValueError(f"{folder}: it was begun with a list of files; call train(..., resume=True)")
    recipe = from_dict(description["recipe"], f"{folder}/run.json")
    if further_steps is not None:
        if not RunFolder(folder).finished:
            raise ValueError(f"{folder}: has not finished its {recipe.steps:,} steps; resume it without more")
        recipe = recipe.further(further_steps)
    return train(recipe, photos, folder, True, description["precision"], progress)
