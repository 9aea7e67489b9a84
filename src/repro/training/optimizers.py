"""The steps of a training: Adam, which the paper has, or Muon, and schedules of the learning rate.

`benchmarks/optimizers.py` compares the two optimizers.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..presets import TrainingConfig

# The quintic of Jordan et al. 2024, in whose iteration singular values come near 1 in few steps.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_MOMENTUM = 0.95
_BETAS, _EPS = (0.9, 0.999), 1e-8


class Muon(torch.optim.Optimizer):
    """Muon for the weights of all convolutions but the last, Adam for everything else.

    Muon (Jordan et al. 2024) takes the momentum of a convolution as a matrix, its first axis by the others,
    and steps along all of its singular vectors by the same amount. Scaled as in Liu et al. 2025 a step is
    about as large as Adam's, so that one learning rate does for both. torch.optim.Muon, which computes the
    same, takes matrices only and has no rule for the other weights.

    Args:
        network: with a layer ``layers.output``, such as those of :mod:`repro.transform_nets`.
        lr: learning rate.
    """

    def __init__(self, network: nn.Module, lr: float) -> None:
        groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
        for name, parameter in network.named_parameters():
            groups[parameter.ndim == 4 and ".output." not in f".{name}"].append(parameter)
        super().__init__([{"params": found, "matrices": key} for key, found in groups.items()], {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Make a step; a ``closure`` is called first, and what it returns is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            update = self._muon if group["matrices"] else self._adam
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.add_(update(parameter.grad, self.state[parameter]), alpha=-group["lr"])
        return loss

    def _muon(self, gradient: Tensor, state: dict[str, Tensor]) -> Tensor:
        if not state:
            state["momentum"] = torch.zeros_like(gradient)
        state["momentum"].lerp_(gradient, 1 - _MOMENTUM)
        matrix = gradient.lerp(state["momentum"], _MOMENTUM).flatten(1)  # Nesterov's look ahead
        return (0.2 * max(matrix.shape) ** 0.5 * orthogonalized(matrix)).reshape(gradient.shape)

    def _adam(self, gradient: Tensor, state: dict[str, Tensor]) -> Tensor:
        if not state:
            state |= {"step": torch.zeros(()), "mean": torch.zeros_like(gradient)}
            state["square"] = torch.zeros_like(gradient)
        state["step"] += 1
        unbiased = []
        for name, power, beta in (("mean", gradient, _BETAS[0]), ("square", gradient.square(), _BETAS[1])):
            state[name].lerp_(power, 1 - beta)
            unbiased.append(state[name] / (1 - beta ** state["step"].item()))
        return unbiased[0] / (unbiased[1].sqrt() + _EPS)


def orthogonalized(matrix: Tensor) -> Tensor:
    """Return a matrix with the singular vectors of ``matrix`` and singular values near 1.

    They are between about 0.7 and 1.2, but for very small ones, which stay small. By five steps of the
    Newton-Schulz iteration, which needs products only. Each multiplies from the left by a polynomial of
    x x^T: their product is computed among such squares, which are small, and meets the matrix once.
    """
    a, b, c = _QUINTIC
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
    x = wide / wide.norm().clamp(min=1e-7)
    square = x @ x.mT
    factor = one = torch.eye(len(square), dtype=x.dtype, device=x.device)
    for _ in range(5):
        step = a * one + b * square + c * square @ square
        factor = step @ factor
        square = step @ square @ step
    x = factor @ x
    return x if wide is matrix else x.mT


def build_optimizer(training: TrainingConfig, network: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer of a recipe for a network's parameters."""
    if training.optimizer == "muon":
        return Muon(network, training.learning_rate)
    return torch.optim.Adam(network.parameters(), lr=training.learning_rate)


def learning_rate_factor(training: TrainingConfig) -> Callable[[int], float]:
    """Return what the learning rate is multiplied by at each step, counted from 0.

    "constant" is 1; the others rise over the first 100 steps (at most a tenth of all), then "cosine" falls
    to 0, and "trapezoid" stays at 1 and falls to 0 in a straight line over the last quarter.
    """
    if training.schedule == "constant":
        return lambda step: 1.0
    steps, warm_up = training.steps, max(1, min(100, training.steps // 10))
    if training.schedule == "trapezoid":
        return lambda step: min(1.0, (step + 1) / warm_up, (steps - step) / (steps / 4))
    return lambda step: min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * step / steps))
