"""The optimisation methods: an image is changed until a loss on it is low.

Style transfer in the manner of Gatys et al. (the paper's baseline), feature inversion (Fig. 3) and style
reconstruction (Fig. 4) differ only in the terms of the loss and in the start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from .images import check_image
from .loss_network import LossNetwork
from .losses import PerceptualLoss
from .presets import REFERENCE, LossConfig


@dataclass
class OptimizedImage:
    """What an optimisation gives.

    Attributes:
        image: (1, 3, H, W) in [0, 1], where it ended.
        history: for each named term, and for their sum ``total``, the value at the start and after each
            iteration.
        snapshots: the image after the iterations that were asked for.
        evaluations: how often loss and gradient were computed.
    """

    image: Tensor
    history: dict[str, list[float]] = field(default_factory=dict)
    snapshots: dict[int, Tensor] = field(default_factory=dict)
    evaluations: int = 0


def optimize_image(
    loss: Callable[[Tensor], Mapping[str, Tensor]],
    start: Tensor,
    iterations: int,
    snapshots: Sequence[int] = (),
    progress: bool = False,
) -> OptimizedImage:
    """Minimise the sum of a loss's terms over images with pixels in [0, 1].

    The paper uses L-BFGS and clips the pixels to their valid range in every iteration (section 4.1). This
    is L-BFGS-B, which has the range as bounds: it keeps every iteration inside as well, by another rule, and
    its curvature estimates know of it. It needs about one evaluation of the loss an iteration.

    Args:
        loss: image -> scalar terms by name, such as :class:`repro.PerceptualLoss` with its targets set.
        start: (1, 3, H, W); clipped to [0, 1].
        iterations: at most so many; it ends earlier only where no step improves the loss any more.
        snapshots: iterations after which the image is kept.
        progress: show a bar with iterations, loss and time left (on stderr).

    Raises:
        FloatingPointError: a term is NaN or infinite; the message names it.
    """
    from scipy.optimize import minimize

    check_image(start, "start")
    if start.shape[0] != 1:
        raise ValueError(f"start: expected one image, got a batch of {start.shape[0]}")
    if iterations < 1:
        raise ValueError(f"iterations: expected at least 1, got {iterations}")
    result = OptimizedImage(start.detach().clamp(0, 1))
    latest: dict[str, float] = {}

    def to_image(x: np.ndarray) -> Tensor:
        return torch.from_numpy(x).to(start.dtype).to(start.device).view_as(start)

    def evaluate(x: np.ndarray) -> tuple[float, np.ndarray]:
        image = to_image(x).requires_grad_()
        terms = loss(image)
        total = sum(terms.values(), torch.zeros((), device=image.device))
        (gradient,) = torch.autograd.grad(total, image)
        latest.clear()
        latest.update({name: value.item() for name, value in terms.items()}, total=total.item())
        bad = [name for name, value in latest.items() if not np.isfinite(value)]
        if bad or not bool(torch.isfinite(gradient).all()):
            where = f"iteration {max(0, len(result.history.get('total', ())) - 1)}"
            raise FloatingPointError(f"{where}: not finite: {', '.join(bad) or 'the gradient'}")
        if not result.history:
            record()
        return latest["total"], gradient.cpu().double().numpy().ravel()

    def record() -> None:
        for name, value in latest.items():
            result.history.setdefault(name, []).append(value)

    bar = tqdm(total=iterations, unit="it", disable=not progress)

    def after_iteration(x: np.ndarray) -> None:
        record()
        done = len(result.history["total"]) - 1
        if done in snapshots:
            result.snapshots[done] = to_image(x).clamp(0, 1)
        bar.set_postfix_str(f"loss {latest['total']:.4g}", refresh=False)
        bar.update()

    with bar:
        solution = minimize(
            evaluate,
            result.image.cpu().double().numpy().ravel(),
            jac=True,
            method="L-BFGS-B",
            bounds=[(0.0, 1.0)] * start.numel(),
            callback=after_iteration,
            options={
                "maxiter": iterations,
                "maxfun": 20 * iterations,
                "ftol": 0.0,
                "gtol": 0.0,
                "maxcor": 10,
            },
        )
    result.image = to_image(solution.x).clamp(0, 1)
    result.evaluations = int(solution.nfev)
    return result


def white_noise(shape: Sequence[int], seed: int = 0) -> Tensor:
    """Return uniform white noise in [0, 1] of shape (1, 3, H, W); the same for the same seed."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def transfer_style(
    content: Tensor,
    style: Tensor,
    loss_network: LossNetwork | str = "auto",
    loss: LossConfig | None = None,
    iterations: int = 500,
    start: Literal["noise", "content"] = "noise",
    seed: int = 0,
    snapshots: Sequence[int] = (),
    progress: bool = False,
) -> OptimizedImage:
    """Give the content image the style of the style image by optimisation: the baseline (Eq. 5).

    Args:
        content: (1, 3, H, W) in [0, 1].
        style: (1, 3, H', W') in [0, 1]; its size decides how large the strokes come out.
        loss_network: an object on the device of the images, or a name.
        loss: layers and weights; default those of the released code, ``REFERENCE.style.loss``, as far as
            the loss network has the style layers.
        iterations: of L-BFGS; the paper finds up to 500 usually enough.
        start: "noise" as in the paper, or "content".
        seed: of the noise.
        snapshots, progress: see :func:`optimize_image`.
    """
    if isinstance(loss_network, str):
        loss_network = LossNetwork(loss_network).to(content.device)
    if loss is None:
        loss = REFERENCE.style.loss.restrict(loss_network.layers)
    if start not in ("noise", "content"):
        raise ValueError(f"start: expected 'noise' or 'content', got {start!r}")
    objective = PerceptualLoss(loss_network, **loss.arguments())
    objective.set_targets(content=content, style=style)
    first = content if start == "content" else white_noise(content.shape, seed).to(content)
    return optimize_image(objective, first, iterations, snapshots, progress)


def invert_features(
    image: Tensor,
    layer: str,
    loss_network: LossNetwork | str = "auto",
    iterations: int = 200,
    tv_weight: float = 1e-5,
    seed: int = 0,
    progress: bool = False,
) -> OptimizedImage:
    """Find, from noise, an image whose features at one layer are those of ``image`` (Fig. 3).

    After Mahendran and Vedaldi 2015. The paper states neither optimiser, iterations, start nor the
    weight of the total variation for this figure; these are ours.

    Args:
        image: (1, 3, H, W) in [0, 1].
        layer: such as "relu3_3".
    """
    if isinstance(loss_network, str):
        loss_network = LossNetwork(loss_network, [layer]).to(image.device)
    objective = PerceptualLoss(loss_network, content_layers={layer: 1.0}, tv_weight=tv_weight)
    objective.set_targets(content=image)
    start = white_noise(image.shape, seed).to(image)
    return optimize_image(objective, start, iterations, progress=progress)


def reconstruct_style(
    style: Tensor,
    layers: Sequence[str],
    loss_network: LossNetwork | str = "auto",
    size: tuple[int, int] | None = None,
    iterations: int = 200,
    tv_weight: float = 1e-6,
    seed: int = 0,
    progress: bool = False,
) -> OptimizedImage:
    """Find, from noise, an image whose Gram matrices at some layers are those of ``style`` (Fig. 4).

    As for Fig. 3, the paper states neither optimiser, iterations, start nor weight of the total variation.

    Args:
        style: (1, 3, H', W') in [0, 1].
        layers: such as ["relu1_2", "relu2_2"]; each has weight 5.
        size: (H, W) of the result; default that of ``style``.
    """
    if isinstance(loss_network, str):
        loss_network = LossNetwork(loss_network, layers).to(style.device)
    objective = PerceptualLoss(loss_network, style_layers=dict.fromkeys(layers, 5.0), tv_weight=tv_weight)
    objective.set_targets(style=style)
    start = white_noise((1, 3, *(size or style.shape[-2:])), seed).to(style)
    return optimize_image(objective, start, iterations, progress=progress)
