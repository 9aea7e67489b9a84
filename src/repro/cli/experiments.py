"""The command that recomputes the paper's figures and tables: ``reproduce``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from .common import Device, app, one_line, say


@app.command(
    epilog="Examples: **repro reproduce all --scale smoke**; "
    "**repro reproduce super_resolution --scale paper --data testsets/**. "
    "Names: feature_reconstruction, style_reconstruction, receptive_field, cost, super_resolution, "
    "ablations, perceptual_agreement, objective_curve, style_objectives, speed, style_gallery."
)
def reproduce(
    names: Annotated[list[str], typer.Argument(help="Experiments, or all.")],
    scale: Annotated[
        str,
        typer.Option(help="smoke (seconds), book (minutes) or paper (the paper's settings, if it has any)."),
    ] = "book",
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for the results.")] = Path(
        "results"
    ),
    loss_network: Annotated[str, typer.Option(help="auto, vgg16, vgg16-torchvision or pocket.")] = "auto",
    data: Annotated[
        Path | None,
        typer.Option(help="A folder of test pictures (super_resolution) or photos (the others)."),
    ] = None,
    style: Annotated[
        list[str] | None,
        typer.Option(help="A style network: a name, a run's folder or a file; may be repeated."),
    ] = None,
    network: Annotated[
        list[str] | None, typer.Option(help="The same for super-resolution. Default: all that come with it.")
    ] = None,
    device: Device = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results of an earlier run.")
    ] = False,
) -> None:
    """Recompute figures and tables of the paper: writes NAME.SCALE.json and NAME.SCALE.png.

    The baseline's curves, which take longest, are kept in the cache folder: an interrupted run goes on.
    """
    import matplotlib

    from .. import devices, experiments
    from ..loss_network import auto_note

    matplotlib.use("Agg")
    os.environ["REPRO_DEVICE"] = str(devices.device(device))
    chosen = experiments.choose(names)
    given = {"data": data, "styles": style, "networks": network}
    options = {key: value for key, value in given.items() if value}
    experiments.check(chosen, scale, output, overwrite, options)
    failed = []
    for name in chosen:
        taken = {key: value for key, value in options.items() if key in experiments.options_of(name)}
        try:
            path = experiments.reproduce(name, scale, loss_network, output, overwrite, **taken)
        except Exception as error:
            line = one_line(error)
            if line is None or len(chosen) == 1:
                raise
            say(f"{name}: {line}")
            failed.append(name)
        else:
            say(f"Wrote {path} and {path.with_suffix('.png').name}.")
            if used := json.loads(path.read_text(encoding="utf-8"))["made_with"].get("loss_network"):
                say(f"Loss network: {used['name']}{auto_note(loss_network, used['name'])}.")
    if failed:
        raise ValueError(f"{len(failed)} of {len(chosen)} could not be done: {', '.join(failed)}")


@app.command(epilog="Example: **repro scorecard results/**")
def scorecard(
    results: Annotated[Path, typer.Argument(help="The folder with the results.")] = Path("results"),
) -> None:
    """Print the paper's numbers beside those of stored results, in Markdown."""
    from ..experiments import scorecard as made

    if not results.is_dir():
        raise FileNotFoundError(f"{results}: no such folder; give the one with the results")
    print(made.scorecard(results))
