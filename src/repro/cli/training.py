"""Commands that train networks and pass them on: ``train``, ``publish`` and ``export``."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from .common import Device, Overwrite, app, check_folder, check_output, say


@app.command(
    epilog="Examples: **repro train --style painting.jpg --photos photos/ -o runs/mine**; "
    "**repro train recipes/x4.toml --photos coco2014 --set training.steps=20000**; "
    "**repro train --resume runs/mine**. "
    "Several GPUs or machines: **accelerate launch -m repro train ...**"
)
def train(
    recipe: Annotated[
        Path | None,
        typer.Argument(help="A TOML file; default the preset's, with --style or --super-resolution."),
    ] = None,
    photos: Annotated[
        str | None, typer.Option(help="A folder of photos, or a data set that **repro data get** has got.")
    ] = None,
    run_folder: Annotated[
        Path | None, typer.Option("--output", "-o", help="The run's folder; default runs/ and its name.")
    ] = None,
    style: Annotated[
        str | None, typer.Option(help="The style picture: a file, or the name of a painting or pattern.")
    ] = None,
    super_resolution: Annotated[
        int | None, typer.Option(metavar="FACTOR", help="Train super-resolution by this factor, 4 or 8.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="paper, reference or modern; default the recipe's, else modern.")
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(help="smoke (seconds), book (a minute) or paper; default the recipe's numbers."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="In place of the recipe's number, divided among its stages; with --resume, as many more "
            "for a finished run, in a stage whose schedule begins anew.",
        ),
    ] = None,
    loss_network: Annotated[
        str | None,
        typer.Option(help="auto, vgg16, vgg16-torchvision or pocket; default the recipe's, else auto."),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any value of the recipe, as KEY=VALUE; may be repeated."),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto (the default), no (float32), bf16 or fp16.")
    ] = None,
    device: Device = "auto",
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in this folder.")] = None,
) -> None:
    """Train a network for style transfer or super-resolution; Ctrl-C saves the run and leaves."""
    from .. import datasets, devices
    from ..training import train as run
    from ..training.recipe import load_recipe
    from ..training.trainer import resume as resume_run

    os.environ["REPRO_DEVICE"] = str(devices.device(device))
    if resume is not None:
        given = (recipe, photos, run_folder, style, super_resolution, preset, scale, loss_network, change)
        if any((*given, precision)):
            raise ValueError("--resume takes all but --steps from the run's folder; give nothing else")
        _trained(lambda: resume_run(resume, further_steps=steps))
        return
    if photos is None or (recipe or style or super_resolution) is None:
        raise ValueError(
            "give RECIPE.toml, --style PICTURE or --super-resolution FACTOR, and --photos FOLDER; "
            "or --resume FOLDER"
        )
    if super_resolution is not None and (recipe or style):
        raise ValueError("--super-resolution takes neither a recipe nor --style")
    if recipe is not None and not recipe.is_file():
        raise ValueError(
            f"{recipe}: no such recipe; give RECIPE.toml, --style PICTURE or --super-resolution FACTOR"
        )
    overrides = dict(_assignment(item) for item in change or ())
    for key, value in (
        ("style.picture", style),
        ("super_resolution.factor", super_resolution),
        ("preset", preset),
        ("training.steps", steps),
        ("loss_network", loss_network),
    ):
        if value is not None:
            overrides[key] = value
    if recipe is None and run_folder is not None:  # a preset has no name of its own
        overrides.setdefault("name", run_folder.resolve().name)
    task = "style" if super_resolution is None else "super-resolution"
    chosen = load_recipe(recipe or task, scale, overrides)
    folder = datasets.path(photos) if photos in datasets.DATASETS else Path(photos)
    output = run_folder or Path("runs") / chosen.name
    check_folder(output)
    _trained(lambda: run(chosen, folder, output, precision=precision or "auto"))


@app.command(epilog="Example: **repro publish runs/mine -o networks/ --license CC-BY-4.0**")
def publish(
    run: Annotated[Path, typer.Argument(help="The folder of a finished run.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write to.")],
    license: Annotated[
        str | None, typer.Option(help="What the card says of the use of the weights, such as MIT.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files of these names.")] = False,
) -> None:
    """Write a run's best weights (float16), a card that says how they were made, and a thumbnail."""
    from ..training.publish import publish as write

    path = write(run, output, license, overwrite)
    say(f"Wrote {path}, {path.with_suffix('.json').name} and {path.with_suffix('.jpg').name}.")


@app.command(
    epilog="Examples: **repro export great_wave -o great_wave.onnx**; **repro export runs/mine -o mine.onnx**"
)
def export(
    network: Annotated[
        str, typer.Argument(help="The name of one that comes with it, a run's folder, or a safetensors file.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write, with suffix .onnx.")],
    overwrite: Overwrite = False,
) -> None:
    """Write a network as ONNX, for programs without PyTorch."""
    from ..export import export_onnx
    from ..transform_nets import load_network

    check_output(output, overwrite, (".onnx",))
    export_onnx(load_network(network), output)
    say(f"Wrote {output}.")


def _assignment(item: str) -> tuple[str, object]:
    """Read KEY=VALUE; the value is TOML, and what is not is text."""
    key, equals, value = item.partition("=")
    if not equals or not key.strip():
        raise ValueError(f"--set {item}: expected KEY=VALUE, such as training.steps=500")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def _trained(run: Callable[[], Any]) -> None:
    from ..errors import TrainingStopped
    from ..training.runtime import is_main_process

    try:
        result = run()
    except TrainingStopped as error:
        if is_main_process():
            say(f"repro: {error}")
        raise typer.Exit(130) from None
    if not is_main_process():
        return
    evaluated = [row for row in result.history if "evaluation" in row]
    found = ""
    if evaluated:  # none where the history was lost
        objective = evaluated[-1]["evaluation"]["objective"]
        found = f"{evaluated[-1]['step']} steps; objective on held-out photos {objective:.4g}. "
    say(f"{found}The run is in {result.folder}.")
