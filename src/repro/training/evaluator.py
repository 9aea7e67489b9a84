"""How good a network is on photos that it did not see, while it is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..images import center_crop, crop_middle, resize
from ..loss_network import LossNetwork
from ..losses import PerceptualLoss, feature_reconstruction_loss
from ..metrics import evaluate_sr
from ..picture_files import load_image
from .recipe import Recipe, prepare_input

FEATURE_LAYER = "relu2_2"  # on which super-resolution is evaluated, whatever it is trained with


class Evaluator:
    """Evaluates a network on held-out photos: the objective term by term, and what the task is about.

    Called with a network it returns values by name, and one picture, (1, 3, H, W), of the first photos. For
    style transfer the picture's rows are photos and results; for super-resolution bicubic upsampling,
    results and originals, with PSNR (dB) and SSIM on Y and the feature distance at relu2_2 among the values.

    A photo that cannot be read is left out; ``skipped`` has a line for each.

    Raises:
        ValueError: no photo can be read.
    """

    def __init__(
        self,
        recipe: Recipe,
        paths: Sequence[Path],
        loss: PerceptualLoss,
        loss_network: LossNetwork,
        device: torch.device,
    ) -> None:
        self.recipe, self.loss, self.loss_network = recipe, loss, loss_network
        self.images: list[Tensor] = []
        self.skipped: list[str] = []
        for path in paths:
            try:
                self.images.append(self._square(load_image(path)).to(device))
            except (OSError, ValueError) as error:
                self.skipped.append(str(error))
        if not self.images:
            raise ValueError(f"none of the held-out photos can be used: {'; '.join(self.skipped)}")

    def _square(self, image: Tensor) -> Tensor:
        size = self.recipe.training.size
        if self.recipe.training.crop != "patch" or min(image.shape[-2:]) < size:
            return center_crop(image, size)
        return crop_middle(image, size, size)

    @torch.no_grad()
    def __call__(self, network: Callable[[Tensor], Tensor]) -> tuple[dict[str, float], Tensor]:
        totals: dict[str, float] = {}
        columns = []
        for image in self.images:
            source = prepare_input(self.recipe, image)
            result = network(source).float()
            terms = self.loss(result, content=image)
            values = {name: value.item() for name, value in terms.items()}
            values["objective"] = sum(values.values())
            if self.recipe.task == "super-resolution":
                factor = self.recipe.super_resolution.factor
                values |= evaluate_sr(result.clamp(0, 1), image, factor)
                own, known = (self.loss_network(x, [FEATURE_LAYER])[FEATURE_LAYER] for x in (result, image))
                values[f"feature/{FEATURE_LAYER}"] = feature_reconstruction_loss(own, known).item()
                columns.append(
                    torch.cat([resize(source, (image.shape[-2], image.shape[-1])), result, image], dim=2)
                )
            else:
                columns.append(torch.cat([image, result], dim=2))
            for name, value in values.items():
                totals[name] = totals.get(name, 0.0) + value / len(self.images)
        return totals, torch.cat(columns[:4], dim=3).clamp(0, 1)
