"""The baseline's objective over its iterations, kept on this machine: it takes minutes a photo.

No network has a part in it. So an experiment that was interrupted goes on where it was, and one that is made
again with networks trained further takes seconds.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from pathlib import Path

import torch
from torch import Tensor

from ...atomic_files import atomic_path, sha256
from ...downloads import cache_dir
from ...loss_network import LossNetwork
from ...losses import PerceptualLoss
from ...optimize_image import transfer_style
from ...pretrained import digest
from .common import describe
from .trained_styles import TrainedStyle

SEED = 0


def baseline_curve(style: TrainedStyle, content: Tensor, iterations: int) -> tuple[list[float], bool]:
    """Return the objective at the start and after each iteration, and whether it had been computed before.

    It is kept in the cache folder, under a hash of everything that it depends on: both pictures, the
    objective, the loss network's weights, iterations, seed, kind of device, PyTorch, and the code of loss and
    optimisation.

    Args:
        style: its style picture, loss network and objective; its network is not used.
        content: (1, 3, H, W) in [0, 1].
        iterations: of L-BFGS; where it ends early, because no step improves it, the last value is repeated.
    """
    path = cache_dir() / "baselines" / f"{_key(style, content, iterations)}.json"
    kept = _read(path, iterations)
    if kept is not None:
        return kept, True
    loss = style.loss_for(content)
    found = transfer_style(content, style.picture, style.loss_network, loss, iterations, seed=SEED)
    curve = found.history["total"]
    curve += curve[-1:] * (iterations + 1 - len(curve))
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(curve) + "\n", encoding="utf-8")
    return curve, False


def _key(style: TrainedStyle, content: Tensor, iterations: int) -> str:
    code = {Path(inspect.getfile(of)) for of in (LossNetwork, PerceptualLoss, transfer_style)}
    facts = {
        "pictures": digest({"content": content, "style": style.picture}),
        "loss": style.loss_for(content).arguments(),
        "loss_network": describe(style.loss_network),
        "iterations": iterations,
        "seed": SEED,
        "device": content.device.type,
        "torch": torch.__version__,
        "code": {path.name: sha256(path) for path in code},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _read(path: Path, iterations: int) -> list[float] | None:
    """Return the curve in a file, or None where there is none that can be used."""
    try:
        curve = json.loads(path.read_text(encoding="utf-8"))
        return [float(value) for value in curve] if len(curve) == iterations + 1 else None
    except (OSError, ValueError, TypeError):
        return None
