"""Distortions do as they are called; low-resolution input is made as the paper says."""

import numpy as np
import pytest
import torch

from repro.degradations import DISTORTIONS, distort, gaussian_blur, low_resolution
from repro.images import resize


@pytest.mark.parametrize("kind", DISTORTIONS)
def test_distortions_grow_with_their_strength(astronaut, kind):
    errors = []
    for strength in (0.0, 1.0):
        images = [distort(astronaut, kind, strength, np.random.default_rng(seed)) for seed in range(4)]
        for image in images:
            assert image.shape == astronaut.shape
            assert image.dtype == torch.float32
            assert image.min() >= 0
            assert image.max() <= 1 + 1e-6
        errors.append(sum((image - astronaut).square().mean().item() for image in images))
    assert 0 < errors[0] < errors[1]
    again = distort(astronaut, kind, 1.0, np.random.default_rng(3))
    assert torch.equal(again, images[3])


def test_distortions_by_what_they_keep(astronaut):
    rng = np.random.default_rng(0)
    gray = torch.full((1, 3, 40, 40), 0.4)
    for kind in ("blur", "shift", "rescale"):
        assert torch.allclose(distort(gray, kind, 1.0, rng), gray, atol=1e-5), kind
    noise = distort(gray, "noise", 0.0, rng) - gray
    assert noise.std() == pytest.approx(0.01, rel=0.05)
    with pytest.raises(ValueError, match="unknown distortion 'melt'"):
        distort(astronaut, "melt", 0.5, rng)


def test_a_shift_is_by_whole_pixels_in_any_direction():
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    image = torch.stack([rows, columns, rows])[None] / 40
    shifts = set()
    for seed in range(20):
        moved = 40 * (distort(image, "shift", 0.5, np.random.default_rng(seed)) - image)[0, :, 8:-8, 8:-8]
        down, right = moved[0, 0, 0].round().item(), moved[1, 0, 0].round().item()
        assert torch.allclose(moved, torch.tensor([down, right, down]).view(3, 1, 1), atol=1e-4)
        assert np.hypot(down, right) == pytest.approx(4.5, abs=0.71)
        shifts.add((down, right))
    assert len(shifts) > 5


def test_gaussian_blur_agrees_with_scikit_image(astronaut):
    from skimage.filters import gaussian

    for sigma in (1.0, 2.0):
        expected = gaussian(astronaut[0].numpy(), sigma, mode="mirror", truncate=3.0, channel_axis=0)
        assert np.abs(gaussian_blur(astronaut, sigma)[0].numpy() - expected).max() < 1e-5


def test_low_resolution_is_blur_then_bicubic(astronaut):
    for factor in (4, 8):
        low = low_resolution(astronaut, factor)
        assert low.shape == (1, 3, 128 // factor, 128 // factor)
        size = tuple(low.shape[-2:])
        assert torch.equal(low, resize(gaussian_blur(astronaut, 1.0), size))
        assert torch.equal(low_resolution(astronaut, factor, blur=0), resize(astronaut, size))
        assert 0 <= low.min() <= low.max() <= 1
    with pytest.raises(ValueError, match="no multiple of 8"):
        low_resolution(astronaut[..., :-4], 8)
    with pytest.raises(ValueError, match="blur"):
        low_resolution(astronaut, 4, blur=-1)


def test_blur_of_nothing_and_of_too_small_an_image(astronaut):
    assert torch.equal(gaussian_blur(astronaut, 0), astronaut)
    with pytest.raises(ValueError, match=r"of 9 x 6 px is too small for a blur of 2 px, .* more than 6 px"):
        gaussian_blur(astronaut[..., :6, :9], 2.0)
    gaussian_blur(astronaut[..., :7, :9], 2.0)
    with pytest.raises(ValueError, match="at least 0, got -1"):
        gaussian_blur(astronaut, -1)
