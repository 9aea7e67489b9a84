"""Recipes: everything that is needed to train a network again, as a TOML file.

A recipe names a task and a preset of :mod:`repro.presets` and changes what differs. The smallest one::

    task = "style"
    style.picture = "great_wave"

and with everything that can be said::

    name = "x4"
    task = "super-resolution"  # or "style"
    preset = "modern"          # or "paper", "reference"
    loss_network = "vgg16"
    seed = 0
    start_from = ""            # a network, as wide or narrower: name, file or run

    [style]                    # of the task "style"
    picture = "great_wave"     # a file, or the name of a painting or pattern
    size = 384                 # its longest side in pixels

    [super_resolution]         # of the task "super-resolution"
    factor = 4
    blur = 1.0                 # sigma in pixels, before the bicubic reduction

    [loss]                     # the fields of repro.presets.LossConfig
    [network]                  # those of NetworkConfig, and width, num_blocks, blocks
    [training]                 # those of TrainingConfig
    [run]                      # those of RunConfig below
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ..degradations import low_resolution
from ..loss_network import LossNetwork
from ..losses import PerceptualLoss, PixelError, StyleReduction, TVReduction
from ..presets import PRESETS, LossConfig, TrainingConfig
from ..pretrained import save_weights
from ..transform_nets import StyleTransferNet, SuperResolutionNet
from ..vgg_weights import LAYERS

TASKS = ("style", "super-resolution")


@dataclass(frozen=True)
class StyleConfig:
    """The style picture: a file, or the name of a painting or pattern, and its longest side in pixels."""

    picture: str = ""
    size: int = 256  # train.lua: style_image_size


@dataclass(frozen=True)
class SuperResolutionConfig:
    """The factor, and the sigma of the Gaussian blur before the bicubic reduction (section 4.2)."""

    factor: int = 4
    blur: float = 1.0


@dataclass(frozen=True)
class RunConfig:
    """What a run keeps and how often, in steps; none of it changes the network."""

    held_out: int = 16  # photos that are only evaluated on
    log_every: int = 10
    save_every: int = 250
    evaluate_every: int = 500
    workers: int = 1  # processes that read photos, for each process that trains


@dataclass(frozen=True)
class Recipe:
    """A run of training, complete; see the module."""

    name: str
    task: Literal["style", "super-resolution"]
    preset: str
    loss_network: str
    seed: int
    start_from: str
    style: StyleConfig
    super_resolution: SuperResolutionConfig
    loss: LossConfig
    network: Mapping[str, Any]
    training: TrainingConfig
    run: RunConfig

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain tables, which :func:`from_dict` reads."""
        tables = {f.name: getattr(self, f.name) for f in fields(self)}
        tables["loss"] = {
            key: dict(value) if isinstance(value, Mapping) else value
            for key, value in ((f.name, getattr(self.loss, f.name)) for f in fields(self.loss))
        }
        tables["network"] = dict(self.network)
        for key in ("style", "super_resolution", "training", "run"):
            tables[key] = asdict(tables[key])
        del tables["super_resolution" if self.task == "style" else "style"]
        return tables


# What the three scales of an experiment change; "paper" takes the numbers of the preset.
SCALES: dict[str, dict[str, dict[str, Any]]] = {
    "smoke": {
        "training": {"steps": 4, "batch_size": 2, "size": 64},
        "run": {"held_out": 2, "log_every": 1, "save_every": 2, "evaluate_every": 2, "workers": 0},
    },
    "book": {
        "training": {"steps": 100, "batch_size": 4, "size": 96},
        "run": {"held_out": 2, "log_every": 5, "save_every": 50, "evaluate_every": 50, "workers": 0},
    },
    "paper": {},
}


def load_recipe(
    source: str | Path,
    scale: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Recipe:
    """Read a recipe.

    Args:
        source: a TOML file, or "style" or "super-resolution" for the preset's own numbers.
        scale: "smoke" or "book", which replace numbers of steps and sizes, or "paper", for which all of
            ``[training]`` and ``[run]`` is the preset's; default as it says.
        overrides: values by dotted key, such as ``{"training.steps": 500}``; they come last.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not TOML, or a key or a value is not known; the message names it.
    """
    if str(source) in TASKS:
        tables: dict[str, Any] = {"task": str(source), "name": str(source)}
    else:
        path = Path(source)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such recipe; give a TOML file, or {' or '.join(TASKS)}")
        try:
            tables = {"name": path.stem, **tomllib.loads(path.read_text(encoding="utf-8"))}
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not a TOML file ({error})") from None
    if scale is not None and scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}; known: {', '.join(SCALES)}")
    overrides = dict(overrides or {})
    for key in ("task", "preset"):
        tables[key] = overrides.pop(key, tables.get(key, "modern" if key == "preset" else None))
    if scale == "paper":
        tables = {key: value for key, value in tables.items() if key not in ("training", "run")}
    for table, values in SCALES.get(scale or "", {}).items():
        tables[table] = _table(tables, table, str(source)) | values
    recipe = from_dict(tables, str(source))
    if not overrides:
        return recipe
    tables = recipe.to_dict()
    for key, value in overrides.items():
        *parents, last = key.split(".")
        table = tables
        for parent in parents:
            table[parent] = _table(table, parent, str(source))
            table = table[parent]
        table[last] = value
    return from_dict(tables, str(source))


def from_dict(tables: Mapping[str, Any], source: str = "recipe") -> Recipe:
    """Make a recipe from its tables; what they leave out comes from the preset.

    Raises:
        ValueError: a key or a value is not known; the message names it and ``source``.
    """
    task, preset = tables.get("task"), tables.get("preset", "modern")
    if task not in TASKS:
        raise ValueError(f"{source}: task is {task!r}; expected one of {', '.join(TASKS)}")
    if preset not in tuple(PRESETS):
        raise ValueError(f"{source}: preset is {preset!r}; expected one of {', '.join(PRESETS)}")
    config = PRESETS[preset].style if task == "style" else PRESETS[preset].super_resolution
    network = {**config.network.arguments(), "width": 1.0, "num_blocks": 5 if task == "style" else 4}
    network["blocks"] = "residual"
    defaults: dict[str, Any] = {
        "name": str(task),
        "task": task,
        "preset": preset,
        "loss_network": "auto",
        "seed": 0,
        "start_from": "",
        "style": StyleConfig(),
        "super_resolution": SuperResolutionConfig(),
        "loss": config.loss,
        "network": network,
        "training": config.training,
        "run": RunConfig(),
    }
    other = "super_resolution" if task == "style" else "style"
    _check_keys(tables, [key for key in defaults if key != other], source)
    values = dict(defaults)
    for key, value in tables.items():
        default = defaults[key]
        if isinstance(default, (str, int)):
            values[key] = _checked(f"{source}: {key}", value, default)
        else:
            before = default if isinstance(default, dict) else _as_dict(default)
            table = _table(tables, key, source)
            _check_keys(table, before, f"{source}: [{key}]")
            changed = {k: _checked(f"{source}: {key}.{k}", v, before[k]) for k, v in table.items()}
            values[key] = default | changed if isinstance(default, dict) else replace(default, **changed)
    recipe = Recipe(**values)
    _check(recipe, source)
    return recipe


def _as_dict(config: Any) -> dict[str, Any]:
    return {f.name: getattr(config, f.name) for f in fields(config)}


def _table(tables: Mapping[str, Any], key: str, source: str) -> dict[str, Any]:
    """Return a copy of the table ``key``, an empty one if it is not there."""
    table = tables.get(key, {})
    if not isinstance(table, Mapping):
        raise ValueError(f"{source}: {key} is {table!r}; expected a table")
    return dict(table)


def _check_keys(tables: Mapping[str, Any], known: Any, source: str) -> None:
    for key in tables:
        if key not in known:
            raise ValueError(f"{source}: unknown key {key!r}; known: {', '.join(known)}")


def _checked(name: str, value: Any, default: Any) -> Any:
    """Return ``value`` if it is of the kind of ``default``; a whole number will do for a real one."""
    if isinstance(default, Mapping):
        if isinstance(value, Mapping) and all(type(v) in (int, float) for v in value.values()):
            return {layer: float(weight) for layer, weight in value.items()}
        raise ValueError(f"{name}: expected weights by layer, such as {{ relu3_3 = 1.0 }}, got {value!r}")
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(default):
        raise ValueError(f"{name}: expected {type(default).__name__}, such as {default!r}, got {value!r}")
    return value


def _check(recipe: Recipe, source: str) -> None:
    training, run, loss = recipe.training, recipe.run, recipe.loss
    if not recipe.name or recipe.name in (".", "..") or set(recipe.name) & set("/\\"):
        raise ValueError(f"{source}: name is {recipe.name!r}; it names files, so it must be a plain name")
    positive = {
        "training.steps": training.steps,
        "training.batch_size": training.batch_size,
        "training.size": training.size,
        "training.learning_rate": training.learning_rate,
        "run.held_out": run.held_out,
        "run.log_every": run.log_every,
        "run.save_every": run.save_every,
        "run.evaluate_every": run.evaluate_every,
        "style.size": recipe.style.size,
    }
    for key, value in positive.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{source}: {key} must be positive, got {value}")
    not_negative = {
        "seed": recipe.seed,
        "run.workers": run.workers,
        "training.half_size_steps": training.half_size_steps,
        "super_resolution.blur": recipe.super_resolution.blur,
        "loss.pixel_weight": loss.pixel_weight,
        "loss.tv_weight": loss.tv_weight,
    }
    for table in ("content_layers", "style_layers"):
        not_negative |= {f"loss.{table}.{layer}": value for layer, value in getattr(loss, table).items()}
    for key, value in not_negative.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{source}: {key} must be at least 0, got {value}")
    choices = {
        "training.optimizer": (training.optimizer, ("adam", "muon")),
        "training.schedule": (training.schedule, ("constant", "cosine", "trapezoid")),
        "training.crop": (training.crop, ("random", "zoom", "patch", "whole")),
        "loss.style_reduction": (loss.style_reduction, get_args(StyleReduction)),
        "loss.pixel_error": (loss.pixel_error, get_args(PixelError)),
        "loss.tv_reduction": (loss.tv_reduction, get_args(TVReduction)),
    }
    for key, (value, known) in choices.items():
        if value not in known:
            raise ValueError(f"{source}: {key} is {value!r}; use {' or '.join(known)}")
    if recipe.task == "super-resolution":
        factor = recipe.super_resolution.factor
        if factor not in (4, 8):
            raise ValueError(f"{source}: super_resolution.factor must be 4 or 8, got {factor}")
        sizes = [training.size] + [training.size / 2] * bool(training.half_size_steps)
        for size in sizes:
            if size % factor:
                raise ValueError(f"{source}: training.size {size:g} is no multiple of the factor {factor}")
        if round(3 * recipe.super_resolution.blur) >= min(sizes):
            raise ValueError(f"{source}: super_resolution.blur is too wide for pieces of {min(sizes):g} px")
        if loss.style_layers:
            raise ValueError(f"{source}: loss.style_layers must be empty for super-resolution")
    elif not loss.style_layers:
        raise ValueError(f"{source}: loss.style_layers must name a layer for the task style")


def build_network(recipe: Recipe) -> StyleTransferNet | SuperResolutionNet:
    """Return the untrained network of a recipe."""
    if recipe.task == "style":
        return StyleTransferNet(**recipe.network)
    return SuperResolutionNet(recipe.super_resolution.factor, **recipe.network)


def save_network(network: StyleTransferNet | SuperResolutionNet, recipe: Recipe, path: Path) -> None:
    """Write a network's weights as safetensors, with the recipe in the metadata."""
    save_weights(network.state_dict(), path, {"recipe": json.dumps(recipe.to_dict())})


def prepare_input(recipe: Recipe, image: Tensor) -> Tensor:
    """Return what the network is given for a photo: the photo itself, or a low-resolution version of it."""
    if recipe.task == "style":
        return image
    with torch.autocast(image.device.type, enabled=False):  # pixels are not rounded to half precision
        return low_resolution(image, recipe.super_resolution.factor, recipe.super_resolution.blur)


def build_loss(config: LossConfig, loss_network: LossNetwork, processes: int) -> PerceptualLoss:
    """Return the loss of a recipe; ``processes`` is the number that share a batch."""
    # Gradients are averaged over the processes: right for means over a batch, but this is a sum.
    if config.tv_reduction == "half_sum":
        config = replace(config, tv_weight=config.tv_weight * processes)
    return PerceptualLoss(loss_network, **config.arguments())


def restrict(recipe: Recipe, loss_network: LossNetwork) -> Recipe:
    """Return the recipe without the style layers that the loss network's weights do not reach.

    Raises:
        ValueError: none is left, or the content layer is not there, or there is no layer of that name.
    """
    for layer in (*recipe.loss.content_layers, *recipe.loss.style_layers):
        if layer not in LAYERS:
            raise ValueError(f"unknown layer {layer!r} in the recipe; known: {', '.join(LAYERS)}")
    loss = recipe.loss.restrict(loss_network.layers)
    if recipe.task == "style" and not loss.style_layers:
        raise ValueError(f"loss network {loss_network.name!r} has none of the style layers of the recipe")
    for layer in loss.content_layers:
        if layer not in loss_network.layers:
            raise ValueError(
                f"loss network {loss_network.name!r} has no {layer}; it has {', '.join(loss_network.layers)}"
            )
    return replace(recipe, loss=loss)
