"""Photographs to train on, and the distortions that loss networks are compared on."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from .files import sha256
from .images import SUFFIXES, from_array, load_image, resize, to_array


def list_photos(folder: str | Path) -> list[Path]:
    """Return the picture files under a folder, in the order of their names.

    Raises:
        FileNotFoundError: no such folder, or no picture in it.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise FileNotFoundError(f"{folder}: no picture in this folder (looked for {', '.join(SUFFIXES)})")
    return paths


def data_hash(paths: Sequence[Path]) -> str:
    """Return a SHA-256 over the names and contents of files: the identity of a data set."""
    total = hashlib.sha256()
    for path in sorted(paths, key=lambda path: path.name):
        total.update(f"{path.name} {sha256(path)}\n".encode())
    return total.hexdigest()


def split(paths: Sequence[Path], held_out: int, seed: int = 0) -> tuple[list[Path], list[Path]]:
    """Divide files into (training, held out), the same way each time whatever their order."""
    if not 0 < held_out < len(paths):
        raise ValueError(f"cannot hold out {held_out} of {len(paths)} photos")
    paths = sorted(paths, key=lambda path: path.name)
    order = torch.randperm(len(paths), generator=torch.Generator().manual_seed(seed)).tolist()
    shuffled = [paths[i] for i in order]
    return shuffled[held_out:], shuffled[:held_out]


class RandomCrops(Dataset):
    """Random square crops of photos, half of them mirrored: item i is the same for the same seed.

    Args:
        paths: picture files; one that cannot be read is named in a warning and another taken instead.
        size: side of the crops in pixels.
        length: how many items there are.
        seed: of the choice of photos, crops and mirrorings.
        scale: the crop's side as a share of the photo's shorter side, lowest and highest. A crop is never
            enlarged while the photo has enough pixels.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        size: int,
        length: int,
        seed: int = 0,
        scale: tuple[float, float] = (0.35, 1.0),
    ) -> None:
        self.paths, self.size, self.length, self.seed, self.scale = list(paths), size, length, seed, scale

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Tensor:
        """Return a crop, (3, size, size), float32, RGB, in [0, 1]."""
        if not 0 <= index < self.length:
            raise IndexError(index)
        rng = np.random.default_rng((self.seed, index))
        for _ in range(20):
            path = self.paths[rng.integers(len(self.paths))]
            try:
                image = load_image(path)
            except (OSError, ValueError) as error:
                warnings.warn(f"skipped {error}", stacklevel=2)
                continue
            return self._crop(image, rng)[0]
        raise RuntimeError("20 photos in a row could not be read")

    def _crop(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        shortest = min(image.shape[-2:])
        side = min(shortest, max(self.size, round(shortest * rng.uniform(*self.scale))))
        top = rng.integers(image.shape[-2] - side + 1)
        left = rng.integers(image.shape[-1] - side + 1)
        crop = image[..., top : top + side, left : left + side]
        return resize(crop.flip(-1) if rng.random() < 0.5 else crop, (self.size, self.size))


DISTORTIONS = ("blur", "noise", "jpeg", "shift", "colour", "rescale")


def distort(image: Tensor, kind: str, strength: float, rng: np.random.Generator) -> Tensor:
    """Damage an image in one of the ways that :data:`DISTORTIONS` names.

    Args:
        image: (1, 3, H, W) in [0, 1].
        kind: "blur" (Gaussian), "noise" (Gaussian, independent per value), "jpeg", "shift" (by whole
            pixels), "colour" (gain and offset of each channel) or "rescale" (down and up again).
        strength: from 0, barely visible, to 1, plain to see.
        rng: source of the random choices.

    Returns:
        (1, 3, H, W) in [0, 1].
    """
    height, width = image.shape[-2:]
    if kind == "blur":
        return _blur(image, 0.5 + 2.5 * strength)
    if kind == "noise":
        noise = torch.from_numpy(rng.standard_normal(image.shape, dtype=np.float32))
        return (image + (0.01 + 0.14 * strength) * noise).clamp(0, 1)
    if kind == "jpeg":
        buffer = io.BytesIO()
        Image.fromarray(to_array(image)).save(buffer, "JPEG", quality=round(70 - 62 * strength))
        return from_array(np.array(Image.open(buffer)))
    if kind == "shift":
        distance, angle = 1 + 7 * strength, rng.uniform(0, 2 * np.pi)
        dy, dx = round(distance * np.sin(angle)), round(distance * np.cos(angle))
        padded = F.pad(image, (8, 8, 8, 8), mode="reflect")
        return padded[..., 8 + dy : 8 + dy + height, 8 + dx : 8 + dx + width]
    if kind == "colour":
        amount = 0.03 + 0.27 * strength
        gain = torch.from_numpy(1 + amount * rng.uniform(-1, 1, (1, 3, 1, 1))).float()
        offset = torch.from_numpy(0.5 * amount * rng.uniform(-1, 1, (1, 3, 1, 1))).float()
        return (image * gain + offset).clamp(0, 1)
    if kind == "rescale":
        factor = 1.3 + 4.7 * strength
        return resize(
            resize(image, (max(1, round(height / factor)), max(1, round(width / factor)))), (height, width)
        )
    raise ValueError(f"unknown distortion {kind!r}; known: {', '.join(DISTORTIONS)}")


def _blur(image: Tensor, sigma: float) -> Tensor:
    radius = max(1, round(3 * sigma))
    positions = torch.arange(-radius, radius + 1, dtype=image.dtype)
    kernel = torch.exp(-(positions**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    image = F.pad(image, (radius,) * 4, mode="reflect")
    image = F.conv2d(image, kernel, groups=3)
    return F.conv2d(image, kernel.transpose(2, 3), groups=3)
