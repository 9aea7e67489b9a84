"""Photos of any size go through a trained network; options do what they say."""

import pytest
import torch

import repro
from repro.errors import AssetError
from repro.images import match_histograms, resize, rgb_to_ycbcr, ycbcr_to_rgb
from repro.inference import _network
from repro.transform_nets import load_network
from small_networks import sr_recipe, style_recipe, write


@pytest.fixture(scope="module")
def style(tmp_path_factory):
    return write(style_recipe(), tmp_path_factory.mktemp("style") / "small.safetensors")


@pytest.fixture(scope="module")
def x4(tmp_path_factory):
    return write(sr_recipe(), tmp_path_factory.mktemp("x4") / "x4.safetensors")


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (33, 2), (64, 64), (61, 90)])
def test_every_size_comes_out_exactly(style, x4, size):
    photo = torch.rand(1, 3, *size)
    stylized, large = repro.stylize(photo, style, tile=64), repro.upscale(photo, network=x4, tile=64)
    assert stylized.shape == photo.shape
    assert large.shape == (1, 3, 4 * size[0], 4 * size[1])
    for result in (stylized, large):
        assert result.dtype == torch.float32
        assert result.min() >= 0
        assert result.max() <= 1


def test_a_style_is_a_file_a_run_or_a_network(style, tmp_path, astronaut):
    expected = repro.stylize(astronaut, style)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "best.safetensors").write_bytes(style.read_bytes())
    network = load_network(style)
    with torch.no_grad():
        assert torch.equal(network(astronaut).clamp(0, 1), expected)
    assert torch.equal(repro.stylize(astronaut, str(tmp_path / "run")), expected)
    assert torch.equal(repro.stylize(astronaut, network), expected)


def test_a_network_from_a_file_goes_where_the_photo_is(style):
    photo = torch.empty(1, 3, 8, 8, device="meta")  # any device but the CPU, where there may be no other
    assert _network(style, "style", photo).mean_pixel.device == photo.device


def test_photos_of_a_batch_do_not_know_each_other(style, astronaut):
    batch = torch.cat([astronaut, astronaut.flip(-1)])
    result = repro.stylize(batch, style, tile=64)
    assert torch.allclose(result[1:], repro.stylize(batch[1:], style, tile=64), atol=1e-5)


def test_strength_mixes_photo_and_result(style, astronaut):
    full = repro.stylize(astronaut, style)
    assert torch.equal(repro.stylize(astronaut, style, strength=0), astronaut)
    outside = astronaut + 0.005 * astronaut.sign()  # by less than is refused
    assert repro.stylize(outside, style, strength=0).max() <= 1
    mixed = repro.stylize(astronaut, style, strength=0.25)
    assert torch.allclose(mixed, 0.75 * astronaut + 0.25 * full, atol=1e-6)
    assert not repro.stylize(astronaut.requires_grad_(), style, strength=0.25).requires_grad


def test_preserved_color_is_the_photos_and_luminance_the_results(style, astronaut):
    photo = 0.4 + 0.2 * astronaut  # pale, so that few of the new colours leave [0, 1]
    plain, kept = repro.stylize(photo, style), repro.stylize(photo, style, preserve_color=True)
    inside = ((kept > 0) & (kept < 1)).all(1, keepdim=True)
    assert inside.float().mean() > 0.5
    difference = rgb_to_ycbcr(kept) - torch.cat([rgb_to_ycbcr(plain)[:, :1], rgb_to_ycbcr(photo)[:, 1:]], 1)
    assert (difference.abs() * inside).max() < 1e-5
    gray = photo.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    colorless = repro.stylize(gray, style, preserve_color=True)
    assert (colorless.amax(1) - colorless.amin(1)).max() < 1e-5


def test_strength_and_color_of_a_tall_photo_are_those_of_its_parts(style):
    photo = torch.rand(1, 3, 600, 5)
    plain = repro.stylize(photo, style, tile=None)
    mixed = repro.stylize(photo, style, tile=None, strength=0.5)
    assert torch.allclose(mixed, (photo + plain) / 2, atol=1e-6)
    luminance = rgb_to_ycbcr(plain)[:, :1]
    expected = ycbcr_to_rgb(torch.cat([luminance, rgb_to_ycbcr(photo)[:, 1:]], 1)).clamp(0, 1)
    assert torch.allclose(repro.stylize(photo, style, tile=None, preserve_color=True), expected, atol=1e-6)


def test_histograms_are_matched_for_the_feature_loss_alone_unless_told(x4, tmp_path, astronaut):
    photo = resize(astronaut, (40, 40))
    matched, plain = (repro.upscale(photo, network=x4, match_histogram=flag) for flag in (True, False))
    assert torch.equal(matched, match_histograms(plain, photo))
    assert not torch.equal(matched, plain)
    assert torch.equal(repro.upscale(photo, network=x4), matched)
    for name, recipe in {"pixel": sr_recipe(feature=False), "both": sr_recipe(pixel=True)}.items():
        other = write(recipe, tmp_path / f"{name}.safetensors")
        result = repro.upscale(photo, network=other)
        assert torch.equal(result, repro.upscale(photo, network=other, match_histogram=False))
    batch = torch.cat([photo, 1 - photo])
    assert torch.allclose(repro.upscale(batch, network=x4)[:1], matched, atol=2e-3)


def test_a_tiled_result_is_that_of_the_whole(style, x4, astronaut):
    for options in ({}, {"preserve_color": True}, {"strength": 0.5}):
        whole, tiled = (repro.stylize(astronaut, style, tile=tile, **options) for tile in (None, 64))
        assert (whole - tiled).abs().max() < 2e-5
    photo = resize(astronaut, (40, 50))
    whole, tiled = (repro.upscale(photo, network=x4, tile=tile) for tile in (None, 64))
    assert (whole - tiled).abs().mean() < 1e-4  # equal up to steps of the histogram


def test_a_photo_is_enlarged_four_times_by_the_packages_x4(astronaut):
    small = resize(astronaut, (12, 20))
    assert torch.equal(repro.upscale(small), repro.upscale(small, "x4"))
    assert repro.upscale(small, "x8_pixel").shape == (1, 3, 96, 160)


@pytest.mark.parametrize(
    "wrap", [torch.compile, torch.nn.DataParallel, lambda x: torch.compile(torch.nn.DataParallel(x))]
)
def test_wrapped_networks_are_those_that_they_wrap(wrap, style, x4, astronaut):
    small = resize(astronaut, (12, 20))
    for run, file in ((repro.stylize, style), (repro.upscale, x4)):
        assert torch.equal(run(small, wrap(load_network(file))), run(small, file))
    with pytest.raises(ValueError, match="SuperResolutionNet is no network for style transfer"):
        repro.stylize(small, wrap(load_network(x4)))


def test_bad_input_is_named(style, x4, tmp_path, astronaut):
    small = resize(astronaut, (8, 8))
    cases = [
        (lambda: repro.stylize(astronaut, style, strength=1.5), ValueError, "between 0 and 1, got 1.5"),
        (lambda: repro.stylize(astronaut, style, strength=float("nan")), ValueError, "between 0 and 1"),
        (lambda: repro.stylize(255 * astronaut, style), ValueError, r"expected values in \[0, 1\], got 0 to"),
        (lambda: repro.stylize(astronaut * float("nan"), style), ValueError, "got nan to nan"),
        (lambda: repro.stylize(astronaut[0], style), ValueError, "photo: expected shape"),
        (lambda: repro.stylize((255 * astronaut).byte(), style), TypeError, "photo: expected a floating"),
        (lambda: repro.stylize(astronaut, style, tile=1), ValueError, "tile must be at least 64"),
        (lambda: repro.stylize(astronaut, "no_such"), ValueError, "no_such: no file, no run.*great_wave"),
        (lambda: repro.upscale(small, "x3"), ValueError, "x3: no file, no run, and no network.*x4, .*x8"),
        (
            lambda: repro.upscale(small, "great_wave"),
            ValueError,
            "great_wave is no network for super-res.* x4, ",
        ),
        (lambda: repro.upscale(small, torch.nn.Identity()), ValueError, "Identity is no network for super-"),
        (lambda: repro.stylize(astronaut, x4), ValueError, "x4.safetensors is no network for style transfer"),
        (lambda: repro.upscale(small, network=style), ValueError, "is no network for super-resolution"),
        (lambda: repro.upscale(small, network=x4, tile=1), ValueError, "tile must be at least 64"),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=message):
            call()
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(style.read_bytes()[:-9])
    with pytest.raises(AssetError, match="damaged"):
        repro.stylize(astronaut, broken)
