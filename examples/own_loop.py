"""Train a small network for super-resolution in plain PyTorch, with a pixel loss and with a perceptual loss.

The photographs come with scikit-image and the loss network with `repro`, so nothing is downloaded:

    python examples/own_loop.py
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import repro
from repro.sample_photos import photo

FACTOR, CROP, BATCH, STEPS = 4, 48, 4, 200
TRAINING, HELD_OUT = ("astronaut", "coffee", "rocket"), ("chelsea", "motorcycle")


class Upscaler(nn.Module):
    """Bicubic upsampling, and what a few convolutions add to it."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 3 * FACTOR**2, 3, padding=1),
            nn.PixelShuffle(FACTOR),
        )

    def forward(self, low: Tensor) -> Tensor:
        return F.interpolate(low, scale_factor=FACTOR, mode="bicubic") + self.body(low)


def shrink(image: Tensor) -> Tensor:
    return F.avg_pool2d(image, FACTOR)


def random_crops(photos: list[Tensor]) -> Tensor:
    """Return a batch, (BATCH, 3, CROP, CROP)."""
    crops = []
    for i in torch.randint(len(photos), (BATCH,)).tolist():
        height, width = photos[i].shape[-2:]
        top, left = (int(torch.randint(side - CROP, ())) for side in (height, width))
        crops.append(photos[i][..., top : top + CROP, left : left + CROP])
    return torch.cat(crops)


def train(loss: nn.Module, photos: list[Tensor], seed: int) -> Upscaler:
    torch.manual_seed(seed)
    network = Upscaler()
    optimizer = torch.optim.Adam(network.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, STEPS)
    for _ in range(STEPS):
        high = random_crops(photos)
        terms = loss(network(shrink(high)), content=high)
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        schedule.step()
    return network


@torch.no_grad()
def measure(network: Upscaler, images: Tensor, vgg: repro.LossNetwork) -> dict[str, float]:
    """Return the distances of a network's results to the images, in features and in pixels."""
    distances = repro.PerceptualLoss(vgg, content_layers={"relu2_2": 1.0}, pixel_weight=1.0)
    terms = distances(network(shrink(images)).clamp(0, 1), content=images)
    return {name: value.item() for name, value in terms.items()}


def main(seed: int = 0) -> dict[str, dict[str, float]]:
    vgg = repro.LossNetwork("pocket", ["relu2_2"])
    losses = {
        "pixel loss": repro.PerceptualLoss(vgg, pixel_weight=1.0),
        "perceptual loss": repro.PerceptualLoss(vgg, content_layers={"relu2_2": 1.0}),
    }
    photos = [photo(name, 256) for name in TRAINING]
    held_out = torch.cat([photo(name, 256)[..., 32:128, 32:224] for name in HELD_OUT])
    return {name: measure(train(loss, photos, seed), held_out, vgg) for name, loss in losses.items()}


if __name__ == "__main__":
    for name, distances in main().items():
        print(f"{name}:", ", ".join(f"{term} {value:.4g}" for term, value in distances.items()))
