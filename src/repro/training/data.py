"""Photographs to train on: what there is, what is held out, and random pieces of them."""

from __future__ import annotations

import hashlib
import os
import signal
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from ..atomic_files import sha256
from ..images import resize
from ..picture_files import SUFFIXES, load_image
from ..presets import TrainingConfig

# Instance normalisation divides by the deviation, layer after layer: the gradient of a piece of one colour, a
# night sky, overflows, and one step by it ruins the network. A tenth of a grey level of noise will do.
FLAT = 0.1 / 255  # standard deviation of each colour channel, below which a piece is of one colour
TRIES = 8  # pieces of a photo that are drawn until one has more


def list_photos(folder: str | Path) -> list[Path]:
    """Return the picture files under a folder, in the order of their names.

    Raises:
        FileNotFoundError: no such folder, or no picture in it.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise FileNotFoundError(f"{folder}: no picture in this folder (looked for {', '.join(SUFFIXES)})")
    return paths


def data_hash(paths: Sequence[Path]) -> str:
    """Return a SHA-256 over the names and contents of files: the identity of a data set."""
    total = hashlib.sha256()
    for path in sorted(paths, key=_name_first):
        total.update(os.fsencode(path.name) + f" {sha256(path)}\n".encode())
    return total.hexdigest()


def _name_first(path: Path) -> tuple[str, str]:
    """The order of photos wherever their folder is; paths decide between equal names."""
    return path.name, str(path)


def split(paths: Sequence[Path], held_out: int, seed: int = 0) -> tuple[list[Path], list[Path]]:
    """Divide files into (training, held out), the same way each time whatever their order."""
    if not 0 < held_out < len(paths):
        raise ValueError(
            f"cannot hold out {held_out} of {len(paths)} photos; give more, or a smaller run.held_out "
            "in the recipe"
        )
    paths = sorted(paths, key=_name_first)
    order = torch.randperm(len(paths), generator=torch.Generator().manual_seed(seed)).tolist()
    shuffled = [paths[i] for i in order]
    return shuffled[held_out:], shuffled[:held_out]


class Crop(NamedTuple):
    """A piece of a photo: ``image`` (3, size, size) in [0, 1], its file, and what was skipped before it."""

    image: Tensor
    path: Path
    skipped: tuple[str, ...]


class RandomCrops(Dataset[Tensor]):
    """Square pieces of photos in random order, every photo once an epoch; item i depends on the seed only.

    Args:
        paths: picture files. One that cannot be read, whose shorter side has less than ``size`` pixels, or of
            which :data:`TRIES` pieces were of one colour, is skipped and the next one of the epoch taken.
        size: side of the pieces in pixels.
        length: how many items there are, over any number of epochs.
        seed: of order, position and mirroring.
        crop: "random", a square whose side is a random share of the photo's shorter side, resized (never
            enlarged); "zoom", the same for half of them, the others a smaller square enlarged up to four
            times, as smooth as large photos are; "patch", ``size`` by ``size`` pixels as they are; "whole",
            the photo resized without keeping its aspect ratio, as the released code does.
        scale: of "random" and "zoom", the lowest and highest share.
        mirror: turn half of them left to right.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        size: int,
        length: int,
        seed: int = 0,
        crop: str = "random",
        scale: tuple[float, float] = (0.35, 1.0),
        mirror: bool = True,
    ) -> None:
        if crop not in ("random", "zoom", "patch", "whole"):
            raise ValueError(f"crop: expected 'random', 'zoom', 'patch' or 'whole', got {crop!r}")
        self.paths, self.size, self.length, self.seed = list(paths), size, length, seed
        self.crop, self.scale, self.mirror = crop, scale, mirror
        self._epoch, self._order = -1, np.empty(0, dtype=int)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Tensor:
        """Return a piece, (3, size, size), float32, RGB, in [0, 1]; what is skipped is named in a warning."""
        image, _, skipped = self.draw(index)
        for reason in skipped:
            warnings.warn(f"skipped {reason}", stacklevel=2)
        return image

    def draw(self, index: int) -> Crop:
        """Return item ``index`` with the file it is from and a line for each photo that was skipped.

        Raises:
            ValueError: no photo could be used.
        """
        if not 0 <= index < self.length:
            raise IndexError(index)
        rng = np.random.default_rng((self.seed, index))
        epoch, position = divmod(index, len(self.paths))
        if epoch != self._epoch:
            order = np.random.default_rng((self.seed, epoch, 2)).permutation(len(self.paths))
            self._epoch, self._order = epoch, order
        skipped: list[str] = []
        for choice in np.roll(self._order, -position):
            path = self.paths[choice]
            try:
                image = load_image(path)
                if min(image.shape[-2:]) >= self.size:
                    for _ in range(TRIES):
                        piece = self._cut(image, rng)[0]
                        if piece.std((1, 2)).max() >= FLAT:
                            return Crop(piece, path, tuple(skipped))
                    skipped.append(f"{path}: {TRIES} pieces of it, each of one colour")
                    continue
                height, width = image.shape[-2:]
                skipped.append(f"{path}: {width} x {height} px is too small for pieces of {self.size} px")
            except (OSError, ValueError) as error:
                skipped.append(str(error))
        raise ValueError(f"no photo can be used, the last one because {skipped[-1]}")

    def _cut(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        size = self.size
        if self.crop != "whole":
            shortest = min(image.shape[-2:])
            share = rng.uniform(*self.scale) if self.crop in ("random", "zoom") else 0.0
            side = min(shortest, max(size, round(shortest * share)))
            if self.crop == "zoom" and rng.random() < 0.5:
                side = round(size / 4 ** rng.random())
            top = rng.integers(image.shape[-2] - side + 1)
            left = rng.integers(image.shape[-1] - side + 1)
            image = image[..., top : top + side, left : left + side]
        image = image.flip(-1) if self.mirror and rng.random() < 0.5 else image
        return resize(image, (size, size))


class _Pieces(Dataset[tuple[Tensor, str, str]]):
    """Random crops with the photo's name and the lines about skipped ones, as a loader can stack them."""

    def __init__(self, crops: RandomCrops) -> None:
        self.crops = crops

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int) -> tuple[Tensor, str, str]:
        crop = self.crops.draw(index)
        return crop.image, crop.path.name, "\n".join(crop.skipped)


def training_loader(
    paths: Sequence[Path], training: TrainingConfig, seed: int, first: int, workers: int, processes: int
) -> DataLoader[tuple[Tensor, str, str]]:
    """Return a loader of the batches after step ``first``, whatever happened before it.

    A batch is images (N, 3, size, size) in [0, 1], the photos' names, and lines about skipped ones.

    Args:
        paths, training, seed: what to read, how to cut it, and in which order.
        first: number of steps that are done.
        workers: processes that read.
        processes: number of processes that train and share each batch.

    Raises:
        ValueError: the batch cannot be divided, or the photos cannot be used.
    """
    if training.batch_size % processes:
        raise ValueError(f"a batch of {training.batch_size} cannot be divided among {processes} processes")
    pieces = _Pieces(
        RandomCrops(
            paths,
            training.size,
            training.steps * training.batch_size,
            seed,
            training.crop,
            scale=(0.6, 1.0),
            mirror=training.mirror,
        )
    )
    remaining = Subset(pieces, range(first * training.batch_size, len(pieces)))
    if len(remaining):
        remaining[0]  # photos that cannot be used are found here, not by a worker with its pages of traceback
    return DataLoader(
        remaining,
        training.batch_size,
        num_workers=workers,
        worker_init_fn=_leave_signals_to_the_main_process,
        generator=torch.Generator().manual_seed(seed),
        pin_memory=torch.cuda.is_available(),
    )


def _leave_signals_to_the_main_process(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A batch system signals all processes. A second SIGTERM, with which the main process ends this one, does.
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL))
