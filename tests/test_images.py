"""Images as tensors: checked, resized, cropped, and in other colour spaces."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from repro.images import (
    center_crop,
    check_image,
    from_array,
    match_histograms,
    resize,
    resize_longest,
    rgb_to_ycbcr,
    to_array,
    ycbcr_to_rgb,
)


def _pixels(height=6, width=9, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_to_array_clips_and_rounds():
    image = torch.tensor([-0.5, 0.5, 1.5]).view(1, 3, 1, 1)
    assert to_array(image).flatten().tolist() == [0, 128, 255]
    with pytest.raises(ValueError, match="batch of 2"):
        to_array(torch.zeros(2, 3, 2, 2))


@pytest.mark.parametrize("height", [255, 256, 257, 600])
def test_a_tall_picture_is_converted_whole(height):
    pixels = _pixels(height, 2)
    assert np.array_equal(to_array(from_array(pixels)), pixels)


def test_from_array_wants_bytes():
    for array in (np.zeros((2, 2, 3)), np.zeros((2, 2), np.uint8), np.zeros((2, 2, 4), np.uint8)):
        with pytest.raises(ValueError, match="uint8 array"):
            from_array(array)


def test_check_image_names_the_fault():
    for value in (torch.zeros(1, 3, 2, 2, dtype=torch.uint8), np.zeros((1, 3, 2, 2)), None):
        with pytest.raises(TypeError, match="photo: expected a floating-point tensor"):
            check_image(value, "photo")
    for shape in ((3, 2, 2), (1, 1, 2, 2), (1, 4, 2, 2), (1, 3, 0, 2), (1, 2, 2, 3)):
        with pytest.raises(ValueError, match="expected shape"):
            check_image(torch.zeros(shape))


@pytest.mark.parametrize("size", [(40, 57), (128, 32), (200, 300)])
def test_resize_is_pillows_bicubic(astronaut, size):
    resized = resize(astronaut, size)
    for channel in range(3):
        picture = Image.fromarray(astronaut[0, channel].numpy())  # mode F: Pillow rounds and clips nothing
        expected = torch.from_numpy(np.array(picture.resize(size[::-1], Image.Resampling.BICUBIC)))
        assert torch.allclose(resized[0, channel], expected.clamp(0, 1), atol=1e-5)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_resize_longest_keeps_the_aspect(height, width, size):
    image = torch.full((1, 3, height, width), 0.25)
    resized = resize_longest(image, size)
    assert max(resized.shape[-2:]) == size
    other, exact = min(resized.shape[-2:]), min(height, width) * size / max(height, width)
    assert abs(other - exact) <= 0.5 or (other == 1 and exact < 1)
    assert torch.allclose(resized, torch.tensor(0.25), atol=1e-6)


def test_resize_stays_in_range_and_knows_bad_sizes():
    step = torch.zeros(1, 3, 8, 8)
    step[..., 4:] = 1
    resized = resize(step, (8, 31))
    assert resized.min() == 0
    assert resized.max() == 1
    with pytest.raises(ValueError, match="at least 1"):
        resize(step, (0, 4))


def test_center_crop_takes_the_middle():
    image = torch.arange(10.0).expand(1, 3, 4, 10) / 10
    assert torch.equal(center_crop(image, 4), image[..., 3:7])


def test_ycbcr_round_trip_and_known_colors(astronaut):
    assert torch.allclose(ycbcr_to_rgb(rgb_to_ycbcr(astronaut)), astronaut, atol=1e-5)
    colors = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0.5]]).T.view(1, 3, 1, 4)
    y, cb, cr = rgb_to_ycbcr(colors)[0, :, 0]
    assert torch.allclose(y, torch.tensor([0.299, 0.587, 0.114, 0.5]))
    assert cb[2] == pytest.approx(0.5)
    assert cr[0] == pytest.approx(0.5)
    assert torch.allclose(torch.stack([cb[3], cr[3]]), torch.zeros(2), atol=1e-6)


def test_ycbcr_is_pillows(astronaut):
    pillow = np.array(Image.fromarray(to_array(astronaut)).convert("YCbCr")).astype(np.float32) / 255
    ours = rgb_to_ycbcr(astronaut)[0] + torch.tensor([0, 128 / 255, 128 / 255]).view(3, 1, 1)
    assert (ours - torch.from_numpy(pillow).permute(2, 0, 1)).abs().max() < 1.6 / 255


def test_match_histograms_gives_the_references_values(astronaut):
    reference = 0.2 + 0.5 * torch.rand(1, 3, 128, 128)
    matched = match_histograms(astronaut**2 + 1e-4 * torch.rand(1, 3, 128, 128), reference)
    # Equal values stay equal, so ranks are met within a few of 16384 steps.
    assert torch.allclose(matched.flatten(2).sort().values, reference.flatten(2).sort().values, atol=2e-3)
    assert torch.allclose(match_histograms(astronaut, astronaut), astronaut, atol=2e-5)  # 16 bits
    small = reference[..., :9, :7]
    from skimage.exposure import match_histograms as scikit_images

    expected = scikit_images(astronaut[0].numpy(), small[0].numpy(), channel_axis=0)
    assert (match_histograms(astronaut, small)[0] - torch.from_numpy(expected)).abs().mean() < 1e-4
    with pytest.raises(ValueError, match="not finite"):
        match_histograms(astronaut * float("nan"), reference)
    with pytest.raises(ValueError, match="one image"):
        match_histograms(astronaut.repeat(2, 1, 1, 1), reference)


def test_match_histograms_of_a_tall_image_that_is_being_optimized():
    image = torch.rand(1, 3, 600, 2).requires_grad_()
    reference = torch.rand(1, 3, 600, 2)
    matched = match_histograms(image, reference)
    assert torch.allclose(matched.flatten(2).sort().values, reference.flatten(2).sort().values, atol=2e-3)
    assert torch.equal(
        match_histograms(torch.full((1, 3, 2, 2), -0.0), reference[..., :1, :1])[0, 0],
        reference[0, 0, :1, :1].expand(2, 2),
    )
