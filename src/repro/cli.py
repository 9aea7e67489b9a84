"""The ``repro`` command."""

from __future__ import annotations

import platform
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from . import __version__

app = typer.Typer(
    help="Perceptual losses for style transfer and super-resolution (Johnson et al. 2016).",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

Output = Annotated[
    Path, typer.Option("--output", "-o", help="The file to write; the suffix sets the format.")
]
Network = Annotated[str, typer.Option(help="auto, vgg16, vgg16-torchvision or pocket.")]
Seed = Annotated[int, typer.Option(help="Of the white noise at the start.")]
Size = Annotated[int, typer.Option(min=1, help="Longest side of the result in pixels.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output file if it exists.")]


@app.command(epilog="Example: **repro transfer-style photo.jpg painting.jpg -o result.png --size 256**")
def transfer_style(
    content: Annotated[Path, typer.Argument(help="The photo.")],
    style: Annotated[Path, typer.Argument(help="The style picture.")],
    output: Output,
    iterations: Annotated[int, typer.Option(min=1, help="Of L-BFGS.")] = 300,
    size: Size = 512,
    style_size: Annotated[
        int, typer.Option(min=1, help="Longest side of the style picture in pixels.")
    ] = 512,
    style_weight: Annotated[float, typer.Option(min=0, help="Weight of each style layer.")] = 5.0,
    content_weight: Annotated[float, typer.Option(min=0, help="Weight of the content layer.")] = 1.0,
    start: Annotated[str, typer.Option(help="noise, as in the paper, or content.")] = "noise",
    loss_network: Network = "auto",
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Give a photo the style of a picture by optimisation (the method of Gatys et al., the baseline)."""
    from .config import REFERENCE
    from .images import load_image, save_image
    from .optimize_image import transfer_style as run

    _check_output(output, overwrite)
    photo, picture = load_image(content, size), load_image(style, style_size)
    network = _load_network(loss_network)
    loss = REFERENCE.style.loss.restrict(network.layers)
    missing = set(REFERENCE.style.loss.style_layers) - set(loss.style_layers)
    if missing:
        kept = ", ".join(loss.style_layers)
        _say(f"Style layers: {kept}; these weights have no {', '.join(sorted(missing))}.")
    loss = replace(
        loss,
        content_layers=dict.fromkeys(loss.content_layers, content_weight),
        style_layers=dict.fromkeys(loss.style_layers, style_weight),
    )
    result = run(photo, picture, network, loss, iterations, start, seed, progress=True)
    save_image(result.image, output)
    _report(result.history["total"], output)


@app.command(epilog="Example: **repro invert photo.jpg --layer relu3_3 -o inverted.png**")
def invert(
    photo: Annotated[Path, typer.Argument(help="The photo.")],
    output: Output,
    layer: Annotated[str, typer.Option(help="The layer whose features are to be met.")] = "relu3_3",
    iterations: Annotated[int, typer.Option(min=1, help="Of L-BFGS.")] = 200,
    size: Size = 256,
    loss_network: Network = "auto",
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Rebuild a photo from what one layer of the loss network says of it (Fig. 3)."""
    from .images import load_image, save_image
    from .optimize_image import invert_features

    _check_output(output, overwrite)
    image = load_image(photo, size)
    result = invert_features(
        image, layer, _load_network(loss_network, [layer]), iterations, seed=seed, progress=True
    )
    save_image(result.image, output)
    _report(result.history["total"], output)


@app.command()
def info() -> None:
    """Show versions, device, and which weights are on this machine and where."""
    import torch
    import torchvision

    from . import assets
    from .loss_network import VARIANTS, available_layers, resolve_auto

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    rows = {
        "repro": __version__,
        "Python": platform.python_version(),
        "torch": f"{torch.__version__}, torchvision {torchvision.__version__}",
        "device": f"{device}, {torch.get_num_threads()} threads",
        "cache": str(assets.cache_dir()),
    }
    for name in VARIANTS:
        path = assets.find_loss_weights(name)
        if path is None:
            rows[name] = "not on this machine; downloaded when first used"
        else:
            rows[name] = f"{path} ({available_layers(assets.load_loss_weights(name)[0])[-1]} and before)"
    rows["auto"] = f"{resolve_auto()} is taken"
    width = max(map(len, rows))
    for key, value in rows.items():  # one line each however narrow the terminal: a path is there to be copied
        print(f"{key:<{width}}  {value}")


@app.command(epilog="Example: **repro distill recipes/pocket.toml photos/ -o pocket.safetensors**")
def distill(
    recipe: Annotated[Path, typer.Argument(help="A TOML file such as recipes/pocket.toml.")],
    photos: Annotated[Path, typer.Argument(help="A folder of photos.")],
    output: Output,
    run_folder: Annotated[
        Path, typer.Option(help="For checkpoint and log; an interrupted run goes on.")
    ] = Path("runs/distill"),
    steps: Annotated[int | None, typer.Option(min=1, help="In place of the recipe's number.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Distil a loss network into a narrow one, and write its weights with a card beside them."""
    from .distill import run

    _check_output(output, overwrite, (".safetensors",))
    run(recipe, photos, output, run_folder, steps)
    _say(f"Wrote {output} and {output.with_suffix('.json').name}.")


@app.command(
    epilog="Examples: **repro train style --style painting.jpg --photos photos/ -o runs/mine**; "
    "**repro train recipes/x4.toml --photos coco2014 --set training.steps=20000**; "
    "**repro train --resume runs/mine**. "
    "Several GPUs or machines: **accelerate launch -m repro.cli train ...**"
)
def train(
    recipe: Annotated[
        str | None, typer.Argument(help="A TOML file, or style or super-resolution for a preset's numbers.")
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
    preset: Annotated[str | None, typer.Option(help="paper, reference or modern.")] = None,
    scale: Annotated[str | None, typer.Option(help="smoke (seconds), book (a minute) or paper.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="In place of the recipe's number.")] = None,
    loss_network: Annotated[
        str | None, typer.Option(help="auto, vgg16, vgg16-torchvision or pocket.")
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any value of the recipe, as KEY=VALUE; may be repeated."),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto (the default), no (float32), bf16 or fp16.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in this folder.")] = None,
) -> None:
    """Train a network for style transfer or super-resolution; Ctrl-C saves the run and leaves."""
    from . import datasets
    from .recipe import load_recipe
    from .train import resume as go_on
    from .train import train as run

    if resume is not None:
        if any((recipe, photos, run_folder, style, preset, scale, steps, loss_network, change, precision)):
            raise ValueError("--resume takes everything from the run's folder; give nothing else")
        _trained(lambda: go_on(resume))
        return
    if recipe is None or photos is None:
        raise ValueError("give a recipe and --photos FOLDER, or --resume FOLDER")
    overrides = dict(_assignment(item) for item in change or ())
    for key, value in (
        ("style.picture", style),
        ("preset", preset),
        ("training.steps", steps),
        ("loss_network", loss_network),
    ):
        if value is not None:
            overrides[key] = value
    chosen = load_recipe(recipe, scale, overrides)
    folder = datasets.path(photos) if photos in datasets.DATASETS else Path(photos)
    output = run_folder or Path("runs") / chosen.name
    _trained(lambda: run(chosen, folder, output, precision=precision or "auto"))


@app.command(epilog="Example: **repro publish runs/mine -o networks/**")
def publish(
    run: Annotated[Path, typer.Argument(help="The folder of a finished run.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write to.")],
) -> None:
    """Write a run's best weights (float16) and a card that says how they were made."""
    from .pretrained import publish as write

    path = write(run, output)
    _say(f"Wrote {path} and {path.with_suffix('.json').name}.")


data_app = typer.Typer(help="Data sets: which there are, and getting them.", no_args_is_help=True)
app.add_typer(data_app, name="data")


@data_app.command("get", epilog="Example: **repro data get set5 set14**")
def data_get(
    names: Annotated[list[str], typer.Argument(help="From the list of **repro data list**.")],
) -> None:
    """Download data sets into the cache, once; a download that was broken off goes on where it stopped."""
    from . import datasets

    wanted = {name: datasets.lookup(name) for name in names}
    for name, data_set in wanted.items():
        folder = datasets.get(name, progress=True)
        _say(f"{name}: {folder}. Licence: {data_set.licence}. Cite: {data_set.credit}.")


@data_app.command("list", epilog="Example: **repro data list**")
def data_list() -> None:
    """Show the data sets: their size, what they are for, their terms, and whether they are here."""
    from . import datasets

    for name, data_set in datasets.DATASETS.items():
        try:
            place = str(datasets.path(name))
        except datasets.AssetError:
            place = "not on this machine"
        size = f"{data_set.pictures:,} pictures, {data_set.size / 1e6:,.0f} MB"
        print(f"{name}: {data_set.title}; {size}; {place}")
        print(f"    for:     {data_set.purpose}")
        print(f"    licence: {data_set.licence}")
        print(f"    cite:    {data_set.credit}")


def _assignment(item: str) -> tuple[str, object]:
    """Read KEY=VALUE; the value is TOML, and what is not is text."""
    key, equals, value = item.partition("=")
    if not equals or not key.strip():
        raise ValueError(f"--set {item}: expected KEY=VALUE, such as training.steps=500")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def _trained(run) -> None:
    from .runtime import is_main_process
    from .train import TrainingStopped

    try:
        result = run()
    except TrainingStopped as error:
        if is_main_process():
            _say(f"repro: {error}")
        raise typer.Exit(130) from None
    if not is_main_process():
        return
    last = [row["evaluation"] for row in result.history if "evaluation" in row][-1]
    steps = result.history[-1]["step"]
    _say(
        f"{steps} steps; objective on held-out photos {last['objective']:.4g}. The run is in {result.folder}."
    )


def _load_network(name: str, layers: list[str] | None = None):
    from .loss_network import LossNetwork

    network = LossNetwork(name, layers)
    note = ""
    if name == "auto" and network.name == "pocket":
        note = "; VGG-16 itself: --loss-network vgg16 downloads it once"
    _say(f"Loss network: {network.name} ({network.source.split(' ')[0]}){note}.")
    return network


def _check_output(output: Path, overwrite: bool, suffixes: tuple[str, ...] = ()) -> None:
    """Refuse before the work, not after it; without ``suffixes`` the output is a picture."""
    from .images import SUFFIXES

    suffixes = suffixes or SUFFIXES
    if output.suffix.lower() not in suffixes:
        raise ValueError(f"{output}: unknown suffix {output.suffix!r}; use one of {', '.join(suffixes)}")
    if output.exists() and not overwrite:
        raise FileExistsError(f"{output} exists; give another name or --overwrite")


def _report(total: list[float], output: Path) -> None:
    _say(f"Objective {total[0]:.4g} -> {total[-1]:.4g} in {len(total) - 1} iterations. Wrote {output}.")


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def main() -> None:
    """Run the command; a foreseeable error is one line on stderr and exit code 2."""
    from .assets import AssetError

    try:
        app()
    except (OSError, ValueError, FloatingPointError, AssetError, tomllib.TOMLDecodeError) as error:
        if isinstance(error, OSError) and error.filename and error.strerror:
            error = f"{error.filename}: {error.strerror}"
        print(f"repro: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
