"""Commands that use trained networks: ``stylize``, ``upscale`` and ``styles``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from .common import Device, Overwrite, app, check_output, say
from .pictures import process

Photos = Annotated[
    list[Path], typer.Argument(help="One or more picture files.", show_default=False, readable=False)
]
Target = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="A file for one photo, or a folder; default beside the photo."),
]
TileSize = Annotated[
    int, typer.Option("--tile", min=64, help="Larger results are made in tiles of this side, in pixels.")
]

NARROWEST = 32  # px: a picture on a sheet, with its name above it


@app.command(
    epilog="Examples: **repro stylize photo.jpg --style great_wave**; "
    "**repro stylize holiday/*.jpg --style runs/mine -o stylized/ --preserve-color**"
)
def stylize(
    photos: Photos,
    style: Annotated[
        str, typer.Option(help="A name that **repro styles** lists, a run's folder, or a safetensors file.")
    ],
    output: Target = None,
    preserve_color: Annotated[
        bool, typer.Option("--preserve-color", help="Keep the photo's colors; take the luminance only.")
    ] = False,
    strength: Annotated[float, typer.Option(min=0, max=1, help="From 0, the photo as it is, to 1.")] = 1.0,
    size: Annotated[
        int | None, typer.Option(min=1, help="Longest side of the result in pixels; default as the photo's.")
    ] = None,
    tile: TileSize = 1024,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Give photos a style by one pass through a trained network."""
    from ..images import resize_longest
    from ..inference import stylize as run

    network, name = _style(style, device)

    def work(photo: Any) -> Any:
        photo = photo if size is None else resize_longest(photo, size)
        return run(photo, network, strength, preserve_color, tile, len(photos) == 1)

    process(photos, output, name, work, device, overwrite)


@app.command(epilog="Example: **repro upscale small.jpg --network x4 -o large.png**")
def upscale(
    photos: Photos,
    output: Target = None,
    network: Annotated[
        str,
        typer.Option(
            help="x4 or x8 (detail that looks right), x4_pixel or x8_pixel (the smallest error), another "
            "name, a run's folder, or a safetensors file."
        ),
    ] = "x4",
    histogram_matching: Annotated[
        bool | None,
        typer.Option(
            help="Give the result the photo's distribution of colors; default for a loss of features alone."
        ),
    ] = None,
    tile: TileSize = 1024,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Enlarge photos by one pass through a trained network."""
    from ..devices import device as find_device
    from ..inference import upscale as run
    from ..transform_nets import load_network

    chosen = load_network(network, "super-resolution").to(find_device(device))

    def work(photo: Any) -> Any:
        return run(photo, chosen, histogram_matching, tile, progress=len(photos) == 1)

    process(photos, output, f"x{chosen.factor}", work, device, overwrite)


@app.command(
    epilog="Examples: **repro styles**; **repro styles --sheet photo.jpg -o sheet.png**; "
    "**repro styles great_wave runs/mine --sheet photo.jpg -o sheet.png**"
)
def styles(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names, run folders or files; default all that come with it.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Show all of them on this photo, in one picture with labels.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file for the sheet.")] = None,
    size: Annotated[int, typer.Option(min=16, help="Longest side of each picture on the sheet.")] = 384,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """List the styles, or show them on a photo."""
    from ..pretrained import shipped

    names = names or shipped("style")
    if sheet is None:
        if output is not None:
            raise ValueError("--output is the file for the sheet: give --sheet PHOTO as well")
        for name in names:
            print(f"{name:<{max(map(len, names))}}  {_description(_style(name)[0].recipe)}")
        if not names:
            say("No styles come with this version; make one with: repro train --style PICTURE")
        return
    if output is None:
        raise ValueError("give the sheet a file: -o FILE")
    check_output(output, overwrite, originals=[sheet])
    if not names:
        raise ValueError("no styles come with this version; name a run's folder or a file")
    _write_sheet(sheet, [_style(name, device) for name in names], output, size, device)
    say(f"Wrote {output}.")


def _style(source: str, device: str = "cpu") -> tuple[Any, str]:
    """Return a style network and what to call it."""
    from ..devices import device as find_device
    from ..transform_nets import load_network

    network = load_network(source, "style").to(find_device(device))
    return network, Path((network.recipe or {}).get("name") or Path(source).stem).name


def _description(recipe: dict[str, Any] | None) -> str:
    from ..style_pictures import style_picture

    return style_picture(recipe["style"]["picture"]).summary if recipe else "no recipe is kept with it"


def _write_sheet(photo: Path, networks: list[tuple[Any, str]], output: Path, size: int, device: str) -> None:
    import numpy as np
    from matplotlib import pyplot as plt
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from ..devices import device as find_device
    from ..figures import show
    from ..images import from_array
    from ..inference import stylize as run
    from ..picture_files import load_image, save_image

    image = load_image(photo, size)
    if image.shape[-1] < NARROWEST:
        raise ValueError(
            f"{photo} would be {image.shape[-1]} px wide on the sheet, too narrow for a name; "
            "give a larger --size"
        )
    pictures = [image, *(run(image.to(find_device(device)), network).cpu() for network, _ in networks)]
    columns = math.ceil(math.sqrt(len(pictures)))
    figure = show(pictures, ["photo", *(name for _, name in networks)], columns)
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(columns * image.shape[-1] / figure.get_figwidth())
    canvas.draw()
    save_image(from_array(np.array(canvas.buffer_rgba())[..., :3]), output)
    plt.close(figure)
