"""The project's own style pictures: form, repeatability, scale, texture; and the tools that draw them."""

from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from repro.patterns import PATTERNS, canvas, draw, marbled_paper, stained_glass

NAMES = tuple(PATTERNS)
drawn = cache(draw)


def luma(image: torch.Tensor) -> np.ndarray:
    return image[0].mean(0).numpy()


def test_patterns_are_named_and_described():
    assert {"stained_glass", "brush_strokes", "woodblock_waves", "pointillism"} < set(NAMES)
    for pattern in PATTERNS.values():
        assert pattern.title and pattern.description.endswith(".") and "\n" not in pattern.description


@pytest.mark.parametrize("name", NAMES)
def test_picture_is_an_image_that_a_png_file_keeps(name):
    image = drawn(name, 128)
    assert image.shape == (1, 3, 128, 128) and image.dtype == torch.float32 and image.is_contiguous()
    assert image.min() >= 0 and image.max() <= 1
    assert torch.equal(image.mul(255).round().to(torch.uint8).float().div(255), image)


@pytest.mark.parametrize("name", NAMES)
def test_seed_decides_the_picture(name):
    torch.manual_seed(5)
    again = draw(name, 128)
    assert torch.equal(again, drawn(name, 128))
    assert (draw(name, 128, seed=1) - again).abs().mean() > 0.05


def test_drawing_leaves_the_global_random_state_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    draw("kelim", 32)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])


@pytest.mark.parametrize("name", NAMES)
def test_composition_is_the_same_at_every_size(name):
    # 384 px is painted on a canvas of 768, 128 px on one of 512: different pixels, one picture
    small, large = drawn(name, 128), F.avg_pool2d(drawn(name, 384), 3)
    assert (small - large).abs().mean() < 0.04
    assert np.corrcoef(small.ravel(), large.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("name", NAMES)
def test_texture_covers_the_picture_at_several_scales(name):
    gray = luma(drawn(name, 384))
    bands = [gaussian_filter(gray, s) - gaussian_filter(gray, 2 * s) for s in (1, 3, 9)]
    assert all(band.std() > 0.015 for band in bands), [float(band.std()) for band in bands]
    blocks = gray.reshape(8, 48, 8, 48).transpose(0, 2, 1, 3).reshape(64, -1)
    assert blocks.std(1).min() > 0.02


@pytest.mark.parametrize("name", NAMES)
def test_palette_is_rich(name):
    pixels = drawn(name, 128)[0].flatten(1)
    chroma = pixels.max(0).values - pixels.min(0).values
    assert chroma.quantile(0.75) > 0.3
    assert pixels.mean(0).quantile(0.95) - pixels.mean(0).quantile(0.05) > 0.35


def test_smallest_size_works_and_sizes_outside_the_range_do_not():
    assert draw("marbled_paper", 32).shape == (1, 3, 32, 32)
    for size in (0, 31, 2049):
        with pytest.raises(ValueError, match=f"between 32 and 2048 pixels, got {size}"):
            draw("marbled_paper", size)


def test_odd_size_works():
    assert draw("kelim", 77).shape == (1, 3, 77, 77)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown pattern 'monet'.*stained_glass.*kelim"):
        draw("monet")


def test_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed must not be negative, got -1"):
        draw("kelim", 64, seed=-1)


def test_spline_weights_sum_to_one_and_reproduce_a_line():
    basis = canvas._spline_basis(50, 7)
    np.testing.assert_allclose(basis.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(basis @ np.arange(-1, 9), (np.arange(50) + 0.5) / 50 * 7, atol=1e-5)


def test_noise_has_the_stated_mean_and_deviation():
    field = canvas.noise(np.random.default_rng(0), 256, 60)
    assert abs(field.mean()) < 0.05 and abs(field.std() - 1) < 0.1


def test_ramp_passes_through_its_colors():
    palette = canvas.colors("000000", "ff0000", "ffffff")
    at = canvas.ramp(np.array([-1, 0, 0.25, 0.5, 1, 2]), palette)
    np.testing.assert_allclose(at[:, 0], [0, 0, 0.5, 1, 1, 1])
    np.testing.assert_allclose(at[:, 1], [0, 0, 0, 0, 1, 1])


def test_relief_leaves_a_flat_surface_and_lights_the_side_towards_the_upper_left():
    image = np.full((64, 64, 3), 0.5, np.float32)
    assert np.array_equal(canvas.relief(image, np.ones((64, 64), np.float32), depth=1), image)
    x, y = canvas.grid(64)
    lit = canvas.relief(image, -4 * np.hypot(x - 0.5, y - 0.5), depth=1)  # a cone
    assert lit[16, 16, 0] > 0.5 > lit[48, 48, 0]


def test_stroke_paints_along_its_direction_only():
    ground = np.zeros((100, 100, 3), np.float32)
    paint = canvas.Paint(np.random.default_rng(0), ground)
    red = np.float32([1, 0, 0])
    paint.stroke(0.5, 0.5, 0.0, 0.6, 0.1, 0.0, red, (0, 0), dryness=0, streak=0)
    np.testing.assert_allclose(ground[50, 30:70], np.tile(red, (40, 1)))
    assert not ground[:40].any() and not ground[60:].any() and not ground[:, :18].any()
    painted = ground.copy()
    paint.stroke(1.5, 0.5, 0.0, 0.6, 0.1, 0.0, red, (0, 0))  # beyond the edge
    assert np.array_equal(ground, painted)


def test_bent_stroke_curves_away_from_its_tangent():
    ground = np.zeros((100, 100, 3), np.float32)
    paint = canvas.Paint(np.random.default_rng(0), ground)
    paint.stroke(0.5, 0.5, 0.0, 0.6, 0.06, 4.0, np.ones(3, np.float32), (0, 0), dryness=0, streak=0)
    assert ground[49, 50, 0] == 1
    end = np.flatnonzero(ground[:, 70, 0])  # bend / 2 * 0.2**2 = 0.08 below the middle
    assert abs(end.mean() - 58) < 1


def test_swirl_is_undone_by_the_opposite_swirl():
    x, y = canvas.grid(32)
    there = marbled_paper._swirl(x, y, 0.4, 0.6, 0.2, 2.5)
    back = marbled_paper._swirl(*there, 0.4, 0.6, 0.2, -2.5)
    assert np.abs(there[0] - x).max() > 0.1
    np.testing.assert_allclose(back, (x, y), atol=1e-5)


def test_borders_lie_between_different_labels():
    label = np.array([[1, 1, 2], [1, 1, 2], [3, 3, 3]])
    expected = [[False, True, False], [True, True, True], [False, False, False]]
    assert stained_glass._borders(label).tolist() == expected
