"""Begin a training with the weights of a trained network, as wide as the new one or narrower.

A wider network computes the same at first and can learn more. In the aim of Net2Net (Chen et al. 2016), which
splits filters in two; here the added filters begin as any new ones do and nothing listens to them yet, so
they are different from the start.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..pretrained import card, digest, is_shipped, load_weights
from ..transform_nets import load_network
from .run_folder import RunFolder, best_evaluation, read_history


def start_from(network: nn.Module, source: str | Path) -> list[str]:
    """Copy the weights of a trained network into one that may be wider or have more layers.

    Returns:
        A line for what begins anew: layers that only ``network`` has, and filters that it has more.

    Raises:
        AssetError: one of its weights does not fit.
        ValueError: no such network.
    """
    known, own = load_network(source).state_dict(), network.state_dict()
    new = sorted({key.rpartition(".")[0] for key in own.keys() - known.keys()})
    load_weights(network, widened(known, network), source)
    lines = [f"{source} has no {', '.join(new)}: they begin anew"] if new else []
    if any(known[key].shape != own[key].shape for key in known):
        lines.append(f"{source} has fewer filters: the others begin anew")
    return lines


def origin(source: str | Path) -> dict[str, Any]:
    """Return what a run that starts from a trained network says of it: name, digest, steps so far.

    The steps are all that led to its weights, also those of networks that it started from itself; None for
    a file that does not say how it was made, and for a run that lost its history.

    Raises:
        ValueError, repro.errors.AssetError: as for :func:`repro.transform_nets.load_network`.
    """
    steps = None
    if is_shipped(source):
        made = card(str(source))
        steps = made["steps"] + _steps_before(made)
    elif (Path(source) / "run.json").is_file():
        description = RunFolder(source).description()
        history = read_history(source)
        if any("evaluation" in row for row in history):  # else it was lost
            steps = best_evaluation(history)["step"] + _steps_before(description)
    weights = digest(load_network(source).state_dict())
    return {"network": Path(source).name, "weights": weights, "steps": steps}


def _steps_before(made: Mapping[str, Any]) -> int:
    """Return the steps behind the weights that a run began with, from its card or description."""
    start = made["started_from"]
    return (start and start["steps"]) or 0


def widened(narrow: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return weights with which ``network`` computes what a narrower one computes with ``narrow``.

    Layers and weights that only ``network`` has, and the additional filters keep its own values; the
    weights from added filters to those of the narrow network are 0. ``network`` itself is not changed.

    Args:
        narrow: the state of a network of the same kind; tensors of other names are handed on as they are, and
            so are those that do not fit in, for :func:`repro.pretrained.load_weights` to complain about.
        network: with as many filters or more in every layer.
    """
    state = {key: value.clone() for key, value in network.state_dict().items()}
    transposed = {name for name, module in network.named_modules() if isinstance(module, nn.ConvTranspose2d)}
    for key, value in narrow.items():
        wide = state.get(key)
        if wide is None or not _fits(value, wide):
            state[key] = value
            continue
        if value.ndim == 4:  # (filters, channels, height, width), in a transposed convolution the reverse
            filters, channels = value.shape[:2]
            if key.rpartition(".")[0] in transposed:
                wide[filters:, :channels] = 0
            else:
                wide[:filters, channels:] = 0
        wide[tuple(slice(side) for side in value.shape)] = value
    return state


def _fits(value: Tensor, wide: Tensor) -> bool:
    """Say whether a tensor is the same or has fewer filters or channels, with kernels of the same size."""
    if value.ndim != wide.ndim or value.shape[2:] != wide.shape[2:]:
        return False
    return all(small <= large for small, large in zip(value.shape, wide.shape, strict=True))
