"""Begin a network with the weights of a narrower one, so that it computes the same and can learn more.

In the aim of Net2Net (Chen et al. 2016), which splits filters in two; here the added filters begin as any
new ones do and nothing listens to them yet, so they are different from the start.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


def widened(narrow: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return weights with which ``network`` computes what a narrower one computes with ``narrow``.

    Layers and weights that only ``network`` has, and the filters that it has more, keep its own values; the
    weights from added filters to those of the narrow network are 0. ``network`` itself is not changed.

    Args:
        narrow: the state of a network of the same kind; tensors of other names are handed on as they are, and
            so are those that do not fit in, for :func:`repro.weight_files.load_weights` to complain about.
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
