"""Commands about what is on this machine: ``info`` and ``data``."""

from __future__ import annotations

import platform
from typing import Annotated

import typer

from .common import app, say


@app.command()
def info() -> None:
    """Show versions, device, and which weights are on this machine and where."""
    import torch
    import torchvision

    from .. import __version__
    from ..devices import device_name
    from ..downloads import cache_dir
    from ..errors import AssetError
    from ..loss_network import VARIANTS, available_layers, resolve_auto
    from ..metrics import find_alexnet
    from ..vgg_weights import find_loss_weights, load_loss_weights

    rows = {
        "repro": __version__,
        "Python": platform.python_version(),
        "torch": f"{torch.__version__}, torchvision {torchvision.__version__}",
        "device": device_name(),
        "cache": str(cache_dir()),
    }
    for name in VARIANTS:
        path = find_loss_weights(name)
        if path is None:
            rows[name] = "not on this machine; downloaded when first used"
            continue
        try:
            rows[name] = f"{path} ({available_layers(load_loss_weights(name)[0])[-1]} and before)"
        except AssetError as error:
            rows[name] = str(error)
    rows["LPIPS"] = str(find_alexnet() or "not on this machine; downloaded when first used")
    rows["auto"] = f"{resolve_auto()} is taken"
    width = max(map(len, rows))
    for key, value in rows.items():  # one line each however narrow the terminal: a path is there to be copied
        print(f"{key:<{width}}  {value}")


data_app = typer.Typer(help="Data sets: which there are, and getting them.", no_args_is_help=True)
app.add_typer(data_app, name="data")


@data_app.command("get", epilog="Example: **repro data get set5 set14**")
def data_get(
    names: Annotated[list[str], typer.Argument(help="From the list of **repro data list**.")],
) -> None:
    """Download data sets into the cache, once; a download that was broken off goes on where it stopped."""
    from .. import datasets

    wanted = {name: datasets.lookup(name) for name in names}
    for name, data_set in wanted.items():
        folder = datasets.get(name, progress=True)
        say(f"{name}: {folder}. License: {data_set.license}. Cite: {data_set.credit}.")


@data_app.command("list", epilog="Example: **repro data list**")
def data_list() -> None:
    """Show the data sets: their size, what they are for, their terms, and whether they are here."""
    from .. import datasets
    from ..errors import AssetError

    for name, data_set in datasets.DATASETS.items():
        try:
            place = str(datasets.path(name))
        except AssetError:
            place = "not on this machine"
        size = f"{data_set.pictures:,} pictures, {data_set.size / 1e6:,.0f} MB"
        print(f"{name}: {data_set.title}; {size}; {place}")
        print(f"    for:     {data_set.purpose}")
        print(f"    license: {data_set.license}")
        print(f"    cite:    {data_set.credit}")
