"""The loop that trains image transformation networks: one for style transfer and for super-resolution.

Where it runs (CPU, GPU, several of them, several machines), in which precision, and how gradients are shared
is left to Accelerate. A batch is divided among the processes, so that the same recipe gives the same network
on one process and on many.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from torch import Tensor
from tqdm import tqdm

from .assets import PAINTINGS
from .build import (
    build_loss,
    build_network,
    build_optimizer,
    learning_rate_factor,
    load_style,
    prepare_input,
    restrict,
    save_network,
)
from .data import data_hash, list_photos, split, training_loader
from .evaluation import Judge
from .images import fingerprint, save_image
from .loss_network import LossNetwork, auto_note
from .patterns import PATTERNS
from .pretrained import origin, shipped, start_from
from .provenance import provenance
from .recipe import Recipe, from_dict
from .run_folder import Meter, RunFolder
from .runtime import any_process, caught_signals, make_accelerator
from .transform_nets import StyleTransferNet, SuperResolutionNet


class TrainingStopped(Exception):
    """A signal asked the run to stop; it was saved and can go on."""


def _inside(path: str | Path, folder: str | Path) -> bool:
    return Path(path).expanduser().resolve().is_relative_to(Path(folder).expanduser().resolve())


def _from_anywhere(recipe: Recipe) -> Recipe:
    """Return the recipe with whole paths, so that the run can go on from another working directory."""
    picture, start = Path(recipe.style.picture), Path(recipe.start_from)
    if recipe.style.picture not in {"", *PAINTINGS, *PATTERNS} and picture.is_file():
        recipe = replace(recipe, style=replace(recipe.style, picture=str(picture.resolve())))
    if recipe.start_from not in {"", *shipped()} and start.exists():
        recipe = replace(recipe, start_from=str(start.resolve()))
    return recipe


class Trainer:
    """A run while it goes; arguments as for :func:`repro.train.train`; ``run`` is closed by its maker."""

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
        train_paths, held_out = split(paths, recipe.run.held_out, recipe.seed)
        self.run = run
        if isinstance(photos, (str, Path)) and _inside(run.path, photos):
            raise ValueError(f"{run.path} lies among the photos of {photos}; give another folder for the run")
        # What it was when the run began; weights may have come since. Other machines need not see the folder.
        if resume and recipe.loss_network == "auto" and self.run.begun:
            recipe = replace(recipe, loss_network=self.run.description()["loss_network"]["name"])
        loss_network = LossNetwork(recipe.loss_network)
        used = f"loss network: {loss_network.name}{auto_note(recipe.loss_network, loss_network.name)}"
        recipe = replace(_from_anywhere(recipe), loss_network=loss_network.name)
        self.recipe = recipe = restrict(recipe, loss_network, self.say)
        style = load_style(recipe.style) if recipe.task == "style" else None

        device, processes = self.accelerator.device, self.accelerator.num_processes
        loss_network.to(device, memory_format=torch.channels_last)
        self.loss = build_loss(recipe.loss, loss_network, processes)
        objective = build_loss(recipe.loss, loss_network, processes=1)
        if style is not None:
            with self.accelerator.autocast():
                self.loss.set_targets(style=style.to(device))
            objective.style_targets = self.loss.style_targets
        self.judge = Judge(recipe, held_out, objective, loss_network, device)

        torch.manual_seed(recipe.seed)
        # The convolutions are faster with channels last, but on CPUs instance normalisation in bfloat16 is so
        # much slower there that the network as a whole is slower; see benchmarks/train_step.py.
        half_on_cpu = device.type == "cpu" and self.accelerator.mixed_precision != "no"
        self.layout = torch.contiguous_format if half_on_cpu else torch.channels_last
        network = build_network(recipe).to(memory_format=self.layout)
        if recipe.start_from and not (resume and self.run.checkpoint.is_file()):
            for line in start_from(network, recipe.start_from):
                self.say(line)
        # Photos, a batch or several processes that will not do are found before there is a run.
        alone = processes > 1 and device.type != "cuda"  # where statistics are of a process's own share
        if alone and any(isinstance(layer, torch.nn.BatchNorm2d) for layer in network.modules()):
            raise ValueError("batch normalisation over several processes needs GPUs; use one process")
        training_loader(train_paths, recipe.training, recipe.seed, 0, 0, processes)
        optimizer = build_optimizer(recipe.training, network)
        if self.is_main:  # everything that the recipe asks for could be made
            self._begin(paths, photos, train_paths, held_out, loss_network, style, resume)
        self.say(used)
        self.accelerator.wait_for_everyone()  # other machines need not see the folder
        (state,) = broadcast_object_list([self.run.load() if resume and self.is_main else None])
        if state:
            network.load_state_dict(state["network"])
            optimizer.load_state_dict(state["optimizer"])
        if device.type == "cuda" and processes > 1:
            network = torch.nn.SyncBatchNorm.convert_sync_batchnorm(network)
        self.step = state["step"] if state else 0
        self.meter = Meter(state)
        self.meter.skip(self.judge.skipped, self.say)
        loader = training_loader(
            train_paths, recipe.training, recipe.seed, self.step, recipe.run.workers, processes
        )
        self.network, self.optimizer, self.loader = self.accelerator.prepare(network, optimizer, loader)
        if state and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        if state:
            torch.set_rng_state(state["rng"])
        self.factor = learning_rate_factor(recipe.training)

    def say(self, line: str) -> None:
        """Print a line on stderr, above the progress bar."""
        if self.progress:
            tqdm.write(line, file=sys.stderr)

    def fit(self) -> None:
        """Make the steps that are left."""
        steps = self.recipe.training.steps
        if self.step == steps:  # Accelerate, up to some version, gives None where a loader is at its end
            return
        hidden = None if self.progress else True  # None: hidden where stderr is no terminal
        bar = tqdm(total=steps, initial=self.step, unit="step", disable=hidden)
        self.network.train()
        with bar, caught_signals() as asked:
            for image, names, skipped in self.loader:
                self.meter.skip(skipped, self.say)
                self.meter.add(self.update(image, names))
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
            group["lr"] = self.recipe.training.learning_rate * self.factor(self.step)
        image = image.contiguous(memory_format=self.layout)
        output = self.network(prepare_input(self.recipe, image))
        with self.accelerator.autocast():
            terms = self.loss(output, content=image)
        total = sum(terms.values())
        names_of_terms = [*terms, "total"]
        values = torch.stack([*terms.values(), total]).detach().tolist()
        bad = [name for name, value in zip(names_of_terms, values, strict=True) if not math.isfinite(value)]
        if bad:
            raise FloatingPointError(
                f"step {self.step + 1}: not finite: {', '.join(bad)}; photos: {', '.join(names)}; "
                "the last checkpoint stays"
            )
        self.optimizer.zero_grad()
        self.accelerator.backward(total)
        self.optimizer.step()
        return dict(zip(names_of_terms, values, strict=True))

    def keep(self, stop: bool) -> dict[str, Any] | None:
        """Log, evaluate and save where this step is due for it; return the row that was logged."""
        every, last, row = self.recipe.run, self.step == self.recipe.training.steps, None
        if self.step % every.log_every == 0 or last:
            row = self.meter.flush(self.step)
            if self.is_main:
                self.run.log(row | {"lr": self.optimizer.param_groups[0]["lr"]})
        if self.is_main and (self.step % every.evaluate_every == 0 or last):
            self.evaluate()
        if self.is_main and (self.step % every.save_every == 0 or last or stop):
            self.save()
        return row

    def evaluate(self) -> None:
        """Judge the network on held-out photos, keep a sample picture, and the weights if the best so far.

        Raises:
            FloatingPointError: the objective is NaN or infinite.
        """
        network = self.accelerator.unwrap_model(self.network).eval()
        with self.accelerator.autocast():
            values, sample = self.judge(network)
        if not math.isfinite(values["objective"]):
            bad = [name for name, value in values.items() if not math.isfinite(value)]
            raise FloatingPointError(
                f"step {self.step}: not finite on held-out photos: {', '.join(bad)}; "
                "the last checkpoint stays"
            )
        self.run.log({"step": self.step, "seconds": self.meter.seconds(), "evaluation": values})
        save_image(sample, self.run.path / "samples" / f"step_{self.step:06d}.jpg")
        if values["objective"] < self.meter.best:
            self.meter.best = values["objective"]
            save_network(network, self.recipe, self.run.path / "best.safetensors")
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
                **self.meter.state(),
            }
        )

    def finish(self) -> StyleTransferNet | SuperResolutionNet:
        """Write the final weights; return the network in evaluation mode, on the CPU."""
        network = self.accelerator.unwrap_model(self.network, keep_fp32_wrapper=False).cpu().eval()
        if self.is_main:
            save_network(network, self.recipe, self.run.path / "model.safetensors")
        self.accelerator.wait_for_everyone()
        return network

    def _begin(
        self,
        paths: Sequence[Path],
        photos: str | Path | Sequence[Path],
        train_paths: Sequence[Path],
        held_out: Sequence[Path],
        loss_network: LossNetwork,
        style: Tensor | None,
        resume: bool,
    ) -> None:
        """Write ``run.json``, or on resuming check that all is as it was when the run began."""
        facts = {
            "recipe": self.recipe.to_dict(),
            "photos": {
                "folder": str(Path(photos).expanduser().resolve())
                if isinstance(photos, (str, Path))
                else None,
                "training": len(train_paths),
                "held_out": [path.name for path in held_out],
                "sha256": data_hash(paths),
            },
            "started_from": origin(start) if (start := self.recipe.start_from) and not resume else None,
            "style_fingerprint": fingerprint(style) if style is not None else None,
            "loss_network": {"name": loss_network.name, "source": loss_network.source},
            "precision": self.accelerator.mixed_precision,
        }
        if not resume:
            machine = provenance(self.accelerator.device)
            self.run.lock()
            self.run.create({**facts, "processes": self.accelerator.num_processes, **machine})
            return
        before = self.run.description()
        facts["started_from"] = before.get("started_from")  # is in the checkpoint, and may be gone
        # Settings that came into recipes since then have their defaults.
        recipe = _from_anywhere(from_dict(before["recipe"], str(self.run.path)))
        if recipe.loss_network == "auto":
            recipe = replace(recipe, loss_network=before["loss_network"]["name"])
        before["recipe"] = recipe.to_dict()
        before["photos"]["folder"] = facts["photos"]["folder"]  # may have been moved
        self.run.require_same(before, facts)
        self.run.lock()
