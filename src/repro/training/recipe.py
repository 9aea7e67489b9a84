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
    start_from = ""            # a network to begin with, as wide or narrower: name, file or run

    [style]                    # of the task "style"
    picture = "great_wave"     # a file, or the name of a painting or pattern
    size = 384                 # its longest side in pixels

    [super_resolution]         # of the task "super-resolution"
    factor = 4
    blur = 1.0                 # sigma in pixels, before the bicubic reduction

    [loss]                     # the fields of repro.presets.LossConfig
    [network]                  # those of NetworkConfig
    [training]                 # those of TrainingConfig
    [run]                      # those of RunConfig below

    [[stages]]                 # any number; without one there is one stage, [training]
    steps = 2000               # fields of [training]: what differs from the tables above
    size = 128
    loss.tv_weight = 2e-5      # and of loss, network and style

Stages follow each other in one run. Each begins with the last weights of the one before; its schedule, its
optimizer and the order of its photos begin anew, as in a run of its own.
"""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..degradations import low_resolution
from ..loss_network import LossNetwork
from ..losses import PerceptualLoss
from ..presets import PRESETS, LossConfig, NetworkConfig, TrainingConfig, check_fields
from ..pretrained import save_weights
from ..transform_nets import StyleTransferNet, SuperResolutionNet
from ..vgg_weights import LAYERS

TASKS = ("style", "super-resolution")
STAGE_TABLES = ("loss", "network", "style")  # what a stage may change beside [training]


@dataclass(frozen=True)
class StyleConfig:
    """The style picture: a file, or the name of a painting or pattern, and its longest side in pixels."""

    picture: str = ""
    size: int = 256  # train.lua: style_image_size

    def __post_init__(self) -> None:
        check_fields(self, positive=["size"])


@dataclass(frozen=True)
class SuperResolutionConfig:
    """The factor, and the sigma of the Gaussian blur before the bicubic reduction (section 4.2)."""

    factor: Literal[4, 8] = 4
    blur: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self, not_negative=["blur"])
        if self.factor not in (4, 8):
            raise ValueError(f"factor must be 4 or 8, got {self.factor}")


@dataclass(frozen=True)
class RunConfig:
    """What a run keeps and how often, in steps; none of it changes the network."""

    held_out: int = 16  # photos that are only evaluated on
    log_every: int = 10
    save_every: int = 250
    evaluate_every: int = 500
    workers: int = 1  # processes that read photos, for each process that trains

    def __post_init__(self) -> None:
        positive = ("held_out", "log_every", "save_every", "evaluate_every")
        check_fields(self, positive, not_negative=["workers"])


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
    network: NetworkConfig
    training: TrainingConfig
    run: RunConfig
    stages: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        check_fields(self, not_negative=["seed"])
        if not self.name or self.name in (".", "..") or set(self.name) & set("/\\"):
            raise ValueError(f"name is {self.name!r}; it names files, so it must be a plain name")
        if self.stages:  # each is checked as a recipe of its own
            return
        if self.task == "style":
            if not self.loss.style_layers:
                raise ValueError("loss.style_layers must name a layer for the task style")
            return
        factor, size = self.super_resolution.factor, self.training.size
        if size % factor:
            raise ValueError(f"training.size {size} is no multiple of the factor {factor}")
        if round(3 * self.super_resolution.blur) >= size:
            raise ValueError(f"super_resolution.blur is too wide for pieces of {size} px")
        if self.loss.style_layers:
            raise ValueError("loss.style_layers must be empty for super-resolution")

    @property
    def parts(self) -> tuple[Recipe, ...]:
        """A recipe of one stage for each stage, in order."""
        return tuple(self.part(stage, self.name) for stage in self.stages) or (self,)

    @property
    def steps(self) -> int:
        """The steps of all stages."""
        return sum(part.training.steps for part in self.parts)

    def part(self, stage: Mapping[str, Any], source: str) -> Recipe:
        """Return the recipe of a stage alone, from what it changes.

        Raises:
            ValueError: a key or a value is not known; the message names it and ``source``.
        """
        tables: dict[str, Any] = {key: stage[key] for key in STAGE_TABLES if key in stage}
        tables["training"] = {key: value for key, value in stage.items() if key not in tables}
        changed = {key: _changed(getattr(self, key), tables, key, source) for key in tables}
        return _made(source, replace, self, stages=(), **changed)

    def further(self, steps: int) -> Recipe:
        """Return the recipe with one more stage, which is the last one again with so many steps."""
        stages = self.stages or ({},)
        return replace(self, stages=(*stages, {**stages[-1], "steps": steps}))

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain tables, which :func:`from_dict` reads."""
        tables = {f.name: getattr(self, f.name) for f in fields(self)}
        tables |= {"loss": self.loss.arguments(), "stages": copy.deepcopy(list(self.stages))}
        for key in ("style", "super_resolution", "network", "training", "run"):
            tables[key] = asdict(tables[key])
        del tables["super_resolution" if self.task == "style" else "style"]
        return tables


# What the three scales of an experiment change; "paper" takes the numbers of the preset.
SCALES: dict[str, dict[str, Any]] = {
    "smoke": {
        "training.steps": 4,
        "training.batch_size": 2,
        "training.size": 64,
        "run.held_out": 2,
        "run.log_every": 1,
        "run.save_every": 2,
        "run.evaluate_every": 2,
        "run.workers": 0,
    },
    "book": {
        "training.steps": 100,
        "training.batch_size": 4,
        "training.size": 96,
        "run.held_out": 2,
        "run.log_every": 5,
        "run.save_every": 50,
        "run.evaluate_every": 50,
        "run.workers": 0,
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
            ``[training]`` and ``[run]`` is the preset's and there is one stage; default as it says.
        overrides: values by dotted key, such as ``{"training.steps": 500}``; they come last. They hold for
            every stage, and ``training.steps`` is the sum over the stages, which keep their shares.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not TOML, or a key or a value is not known; the message names it.

    Example:
        >>> load_recipe("style", "smoke", {"style.picture": "kelim"}).steps
        4
    """
    if source in TASKS:
        tables: dict[str, Any] = {"task": str(source), "name": str(source)}
    else:
        path = Path(source)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such recipe; give a TOML file")
        try:
            tables = {"name": path.stem, **tomllib.loads(path.read_text(encoding="utf-8"))}
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not a TOML file ({error})") from None
    if scale is not None and scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}; known: {', '.join(SCALES)}")
    changes = {**SCALES.get(scale or "", {}), **(overrides or {})}
    for key in ("task", "preset"):
        tables[key] = changes.pop(key, tables.get(key, "modern" if key == "preset" else None))
    if scale == "paper":
        tables = {key: value for key, value in tables.items() if key not in ("training", "run", "stages")}
    recipe = from_dict(tables, str(source))
    tables = recipe.to_dict()
    for key, value in changes.items():
        shares: list[int] = []
        if key == "training.steps" and isinstance(value, int):
            shares = _shares(from_dict(tables, str(source)), value)
        _override(tables, key, value, str(source))
        for stage, steps in zip(tables["stages"], shares, strict=bool(shares)):
            stage["steps"] = steps
    return from_dict(tables, str(source))


def _override(tables: dict[str, Any], key: str, value: Any, source: str) -> None:
    """Set a value by its dotted key, and so in each stage that has one of its own."""
    *parents, last = key.split(".")
    table = tables
    for parent in parents:
        table[parent] = _table(table, parent, source)
        table = table[parent]
    table[last] = value
    own = parents[1:] if parents[:1] == ["training"] else parents
    for stage in tables["stages"] if parents else ():
        for parent in own:
            stage = stage.get(parent, {})
        if last in stage or (stage and own[1:]):  # of weights by layer all are the stage's own
            stage[last] = value


def _shares(recipe: Recipe, steps: int) -> list[int]:
    """Divide steps among the stages of a recipe as it divides its own; each has one at least."""
    ends = accumulate((part.training.steps for part in recipe.parts if recipe.stages), initial=0)
    return [max(1, b - a) for a, b in pairwise(round(steps * end / recipe.steps) for end in ends)]


def from_dict(tables: Mapping[str, Any], source: str = "recipe") -> Recipe:
    """Make a recipe from its tables; what they leave out comes from the preset.

    Raises:
        ValueError: a key or a value is not known; the message names it and ``source``.

    Example:
        >>> from_dict({"task": "style", "style": {"picture": "kelim"}}).loss.content_layers
        mappingproxy({'relu3_3': 1.0})
    """
    task, preset = tables.get("task"), tables.get("preset", "modern")
    if task not in TASKS:
        raise ValueError(f"{source}: task is {task!r}; expected one of {', '.join(TASKS)}")
    if preset not in tuple(PRESETS):
        raise ValueError(f"{source}: preset is {preset!r}; expected one of {', '.join(PRESETS)}")
    config = PRESETS[preset].style if task == "style" else PRESETS[preset].super_resolution
    values: dict[str, Any] = {
        "name": str(task),
        "task": task,
        "preset": preset,
        "loss_network": "auto",
        "seed": 0,
        "start_from": "",
        "style": StyleConfig(),
        "super_resolution": SuperResolutionConfig(),
        "loss": config.loss,
        "network": config.network,
        "training": config.training,
        "run": RunConfig(),
        "stages": (),
    }
    other = "super_resolution" if task == "style" else "style"
    _check_keys(tables, [key for key in values if key != other], source)
    stages = tables.get("stages", ())
    if not isinstance(stages, (list, tuple)) or not all(isinstance(stage, Mapping) for stage in stages):
        raise ValueError(f"{source}: stages is {stages!r}; expected tables, each headed [[stages]]")
    for key, value in tables.items():
        if key == "stages":
            values[key] = tuple(value)
        elif is_dataclass(values[key]):
            values[key] = _changed(values[key], tables, key, source)
        else:
            values[key] = _checked(f"{source}: {key}", value, values[key])
    recipe: Recipe = _made(source, Recipe, **values)
    for number, stage in enumerate(stages, 1):
        _check_keys(stage.keys() & {other}, (), f"{source}: stage {number}")
        recipe.part(stage, f"{source}: stage {number}")
    return recipe


def _changed(config: Any, tables: Mapping[str, Any], key: str, source: str) -> Any:
    """Return a dataclass with the values of the table ``key`` in it."""
    table = _table(tables, key, source)
    _check_keys(table, [f.name for f in fields(config)], f"{source}: [{key}]")
    changes = {k: _checked(f"{source}: {key}.{k}", v, getattr(config, k)) for k, v in table.items()}
    return _made(f"{source}: {key}", replace, config, separator=".", **changes)


def _made(source: str, make: Any, *arguments: Any, separator: str = ": ", **options: Any) -> Any:
    """Return what ``make`` gives; the message of a ValueError begins with ``source``."""
    try:
        return make(*arguments, **options)
    except ValueError as error:
        raise ValueError(f"{source}{separator}{error}") from None


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


def build_network(recipe: Recipe) -> StyleTransferNet | SuperResolutionNet:
    """Return the untrained network of a recipe."""
    if recipe.task == "style":
        return StyleTransferNet(**recipe.network.arguments())
    return SuperResolutionNet(recipe.super_resolution.factor, **recipe.network.arguments())


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
    for part in recipe.parts:
        for layer in (*part.loss.content_layers, *part.loss.style_layers):
            if layer not in LAYERS:
                raise ValueError(f"unknown layer {layer!r} in the recipe; known: {', '.join(LAYERS)}")
        if part.task == "style" and not part.loss.restrict(loss_network.layers).style_layers:
            raise ValueError(f"loss network {loss_network.name!r} has none of the style layers of the recipe")
        for layer in part.loss.content_layers:
            if layer not in loss_network.layers:
                raise ValueError(
                    f"loss network {loss_network.name!r} has no {layer}; it has "
                    f"{', '.join(loss_network.layers)}"
                )
    stages = copy.deepcopy(recipe.stages)
    for stage in stages:
        weights = stage.get("loss", {}).get("style_layers", {})
        for layer in weights.keys() - set(loss_network.layers):
            del weights[layer]
    return replace(recipe, loss=recipe.loss.restrict(loss_network.layers), stages=stages)
