"""Commands that optimise an image: ``transfer-style`` and ``invert``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .common import Device, Output, Overwrite, app, check_output, say

Network = Annotated[str, typer.Option(help="auto, vgg16, vgg16-torchvision or pocket.")]
Seed = Annotated[int, typer.Option(help="Of the white noise at the start.")]
Size = Annotated[int, typer.Option(min=1, help="Longest side of the result in pixels.")]


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
    start: Annotated[
        Literal["noise", "content"], typer.Option(help="noise, as in the paper, or content.")
    ] = "noise",
    loss_network: Network = "auto",
    seed: Seed = 0,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Give a photo the style of a picture by optimisation (the method of Gatys et al., the baseline)."""
    from ..optimize_image import transfer_style as run
    from ..picture_files import load_image, save_image
    from ..presets import REFERENCE

    check_output(output, overwrite, originals=[content, style])
    photo, picture = load_image(content, size), load_image(style, style_size)
    network, place = _load_network(loss_network, device)
    loss = REFERENCE.style.loss.restrict(network.layers)
    missing = set(REFERENCE.style.loss.style_layers) - set(loss.style_layers)
    if missing:
        kept = ", ".join(loss.style_layers)
        say(f"Style layers: {kept}; these weights have no {', '.join(sorted(missing))}.")
    loss = replace(
        loss,
        content_layers=dict.fromkeys(loss.content_layers, content_weight),
        style_layers=dict.fromkeys(loss.style_layers, style_weight),
    )
    result = run(photo.to(place), picture.to(place), network, loss, iterations, start, seed, progress=True)
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
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Rebuild a photo from what one layer of the loss network says of it (Fig. 3)."""
    from ..optimize_image import invert_features
    from ..picture_files import load_image, save_image

    check_output(output, overwrite, originals=[photo])
    image = load_image(photo, size)
    network, place = _load_network(loss_network, device, [layer])
    result = invert_features(image.to(place), layer, network, iterations, seed=seed, progress=True)
    save_image(result.image, output)
    _report(result.history["total"], output)


def _load_network(name: str, device: str, layers: list[str] | None = None) -> tuple[Any, Any]:
    """Return a loss network and the device that it is on, and say which one it is."""
    from ..devices import device as find_device
    from ..loss_network import LossNetwork, auto_note

    place = find_device(device)
    network = LossNetwork(name, layers).to(place)
    say(f"Loss network: {network.name} ({network.source.split(' ')[0]}){auto_note(name, network.name)}.")
    return network, place


def _report(total: list[float], output: Path) -> None:
    say(f"Objective {total[0]:.4g} -> {total[-1]:.4g} in {len(total) - 1} iterations. Wrote {output}.")
