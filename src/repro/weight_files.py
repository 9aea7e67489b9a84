"""Files of weights: safetensors with a digest of the tensors in the metadata; checked when they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .files import atomic_path

LARGEST = 1e4  # no weight of a network that works comes near it


class AssetError(RuntimeError):
    """An asset is missing and cannot be had, or is damaged. The message says what to do."""


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return a SHA-256 over names, types, shapes and values of tensors, whatever file holds them."""
    total = hashlib.sha256()
    for key in sorted(tensors):
        tensor = tensors[key].detach().cpu().contiguous()
        total.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def save_weights(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write tensors as safetensors, whole or not at all, with their :func:`digest` in the metadata.

    Raises:
        OSError: they could not be written, as on a full disk.
    """
    tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata={**metadata, "digest": digest(tensors)})
        except SafetensorError as error:
            raise OSError(f"{path}: could not be written ({error})") from None


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a safetensors file, whoever wrote it.

    Raises:
        AssetError: it is damaged or no safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return {key: file.get_tensor(key) for key in file.keys()}, metadata  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise AssetError(f"{path}: damaged or not a safetensors file ({error})") from None


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a file that :func:`save_weights` wrote.

    Raises:
        AssetError: it is damaged, no safetensors file, or its tensors are not those of its digest.
    """
    tensors, metadata = read_safetensors(path)
    if metadata.get("digest") != digest(tensors):
        raise AssetError(f"{path}: holds no network of this project, or was changed")
    return tensors, metadata


def load_weights(network: nn.Module, tensors: Mapping[str, Tensor], source: str | Path) -> None:
    """Copy tensors into a network whose state has the same names and shapes.

    Raises:
        AssetError: a name, a shape or a value does not fit; the message names it and ``source``.
    """
    expected = network.state_dict()
    for what, keys in (("no", expected.keys() - tensors.keys()), ("an unknown", tensors.keys() - expected)):
        if keys:
            raise AssetError(f"{source}: has {what} {min(keys)}, so it is not of this network")
    for key, tensor in tensors.items():
        if tensor.shape != expected[key].shape:
            shapes = f"{tuple(tensor.shape)}, expected {tuple(expected[key].shape)}"
            raise AssetError(f"{source}: {key} has shape {shapes}")
        if tensor.is_floating_point() != expected[key].is_floating_point():
            raise AssetError(f"{source}: {key} is {tensor.dtype}, expected {expected[key].dtype}")
        if not bool(tensor.isfinite().all()):
            raise AssetError(f"{source}: {key} holds values that are not finite")
        # Running statistics are of feature maps, which may be large.
        if tensor.numel() and "running_" not in key and tensor.is_floating_point():
            largest = tensor.abs().max().item()
            if largest > LARGEST:
                raise AssetError(f"{source}: {key} holds {largest:.4g}, more than any trained weight")
        if key.endswith("running_var") and bool((tensor < 0).any()):
            raise AssetError(f"{source}: {key} holds a negative variance")
    network.load_state_dict(dict(tensors))
