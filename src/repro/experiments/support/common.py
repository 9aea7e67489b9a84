"""What the experiments share: scales, what a result holds, where it comes from, and its files."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ...atomic_files import atomic_path
from ...devices import device
from ...images import center_crop
from ...loss_network import LossNetwork
from ...metrics import find_alexnet, lpips_network
from ...pretrained import digest
from ...sample_photos import PHOTOS, photo
from ...training.recipe import SCALES as RECIPE_SCALES

SCALES = tuple(RECIPE_SCALES)  # smoke: seconds; book: minutes; paper: the paper's, where it gives any


@dataclass
class Result:
    """What an experiment found, just now or as it was stored.

    Attributes:
        data: numbers and names that JSON can hold.
        pictures: images (1, 3, H, W) in [0, 1] by name, for :func:`plot`; they are not stored.
        made_with: seeds, loss network, photos and networks with their hashes.
        provenance: of a stored result, the rest of its file: command, scale, device, seconds, versions.
    """

    data: dict[str, Any]
    pictures: dict[str, Tensor] = field(default_factory=dict)
    made_with: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def loss_network(self) -> dict[str, Any] | None:
        """Name, layers and weights of the loss network; None where none took part."""
        return self.made_with.get("loss_network") or self.made_with.get("network", {}).get("loss_network")

    @property
    def origin(self) -> str:
        """How a stored result was made, in one line with the command; empty for one measured just now."""
        if not self.provenance:
            return ""
        device = self.provenance["device"].replace(" 1 threads", " 1 thread")  # as early results have it
        parts = [f"scale {self.provenance['scale']}", device]
        if self.loss_network:
            layers = ", ".join(f"`{layer}`" for layer in self.loss_network["layers"])
            parts.append(f"loss network `{self.loss_network['name']}` at {layers}")
        parts.append(f"{self.provenance['seconds']:.0f} s")
        measured = self.data.get("rows") or self.data.get("sizes", [])
        if kept := sum(row.get("baselines_kept", 0) for row in measured):
            parts.append(f"{kept} curves of the baseline kept from an earlier run")
        return f"`{self.provenance['command']}` ({'; '.join(parts)})"


def settings(table: Mapping[str, Mapping[str, Any]], scale: str) -> dict[str, Any]:
    """Return the settings of a scale.

    Raises:
        ValueError: unknown scale; the message lists the known ones.
    """
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}; known: {', '.join(SCALES)}")
    return dict(table[scale])


def squares(names: Sequence[str], size: int) -> dict[str, Tensor]:
    """Return the center squares of photos that come with scikit-image, each (1, 3, size, size), by name.

    Example:
        >>> squares(["coffee"], 32)["coffee"].shape
        torch.Size([1, 3, 32, 32])
    """
    return {name: center_crop(photo(name), size).to(device()) for name in names}


def load_loss_network(name: str, layers: Sequence[str] | None = None) -> LossNetwork:
    """Return a loss network with those of ``layers`` that its weights reach (default: all).

    Raises:
        ValueError: unknown name, or it has none of the layers.
    """
    network = LossNetwork(name)
    if layers is not None:
        kept = [layer for layer in layers if layer in network.layers]
        if not kept:
            raise ValueError(f"loss network {network.name!r} has none of {', '.join(layers)}")
        network = LossNetwork(network.name, kept)
    return network.to(device())


def describe(network: LossNetwork) -> dict[str, Any]:
    """Return what a result says of its loss network."""
    return {"name": network.name, "layers": list(network.layers), "weights": network.source}


def describe_lpips() -> dict[str, Any]:
    """Return what a result says of LPIPS, as "lpips": nothing where AlexNet's weights are missing."""
    if find_alexnet() is None:
        return {}
    return {"lpips": {"network": "alex", "version": "0.1", "weights": digest(lpips_network().state_dict())}}


def describe_pictures(pictures: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the names of pictures and a SHA-256 over them all."""
    credit = [PHOTOS[name] for name in pictures if name in PHOTOS]
    return {"names": list(pictures), "sha256": digest(pictures), "credit": credit}


def seconds(work: Callable[[], Any], repeats: int) -> list[float]:
    """Return how long ``work`` takes, ``repeats`` times, after once to warm up; a GPU is waited for."""
    times = []
    for _ in range(repeats + 1):
        _wait()
        started = time.perf_counter()
        work()
        _wait()
        times.append(time.perf_counter() - started)
    return times[1:]


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return the median, the lowest and the highest of some values, and how many there are.

    Example:
        >>> spread([3.0, 1.0, 2.0])
        {'median': 2.0, 'lowest': 1.0, 'highest': 3.0, 'repeats': 3}
    """
    return {
        "median": rounded(statistics.median(values)),
        "lowest": rounded(min(values)),
        "highest": rounded(max(values)),
        "repeats": len(values),
    }


def rounded(value: float) -> float:
    """Return a value with six significant digits.

    Example:
        >>> rounded(2 / 3)
        0.666667
    """
    return float(f"{value:.6g}")


def result_files(name: str, scale: str, folder: Path) -> tuple[Path, Path]:
    """Return the paths of a result: JSON and PNG."""
    return folder / f"{name}.{scale}.json", folder / f"{name}.{scale}.png"


def write(content: Mapping[str, Any], figure: Figure, files: tuple[Path, Path]) -> None:
    """Write a result, each file whole or not at all; the picture first, so that JSON without one is rare.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(content, indent=1, allow_nan=False)
    with atomic_path(files[1]) as temporary:
        figure.savefig(temporary, dpi=120, metadata={"Software": None})
    with atomic_path(files[0]) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
