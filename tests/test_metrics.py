"""PSNR, SSIM and LPIPS against known answers, scikit-image, formulas and published bicubic rows."""

import math
from urllib.error import URLError

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchvision.models import AlexNet_Weights
from torchvision.models import alexnet as torchvision_alexnet

from repro.errors import AssetError
from repro.images import resize
from repro.metrics import alexnet, evaluate_sr, find_alexnet, lpips, lpips_network, psnr, ssim, to_y
from repro.picture_files import load_image


def gray(level, size=32):
    """(1, 3, size, size) of one 8-bit level."""
    return torch.full((1, 3, size, size), level / 255)


@pytest.fixture
def pair(astronaut):
    """A photograph and a noisy copy, both of whole 8-bit levels."""
    noisy = (astronaut + 0.1 * torch.randn_like(astronaut)).clamp(0, 1)
    return (255 * astronaut).round() / 255, (255 * noisy).round() / 255


@pytest.mark.parametrize(
    ("rgb", "y"),
    [((0, 0, 0), 16), ((255, 255, 255), 235), ((255, 0, 0), 81), ((0, 255, 0), 145), ((0, 0, 255), 41)],
)
def test_luma_of_primaries_is_bt601_studio_range(rgb, y):
    image = torch.tensor(rgb).view(1, 3, 1, 1) / 255
    assert to_y(image).tolist() == [[[[y]]]]
    assert to_y(image).dtype == torch.float64


def test_luma_agrees_with_scikit_image(pair):
    theirs = rgb2ycbcr((255 * pair[0][0]).round().byte().numpy(), channel_axis=0)[0].round()
    np.testing.assert_array_equal(to_y(pair[0])[0, 0].numpy(), theirs)


def test_images_are_clipped_and_rounded_to_8_bits_first():
    assert psnr(gray(100) + 0.4 / 255, gray(100)).item() == math.inf
    assert psnr(gray(300), gray(255)).item() == math.inf


@pytest.mark.parametrize("step", [1, 5, 50])
def test_psnr_of_a_constant_difference(step):
    expected = 20 * math.log10(255 / step)
    assert psnr(gray(100), gray(100 + step), channel="rgb").item() == pytest.approx(expected, abs=1e-9)


def test_psnr_of_black_against_white_on_luma():
    assert psnr(gray(0), gray(255)).item() == pytest.approx(20 * math.log10(255 / 219), abs=1e-9)


def test_border_is_left_out():
    spoilt = gray(100)
    spoilt[..., :4, :] = spoilt[..., -4:, :] = spoilt[..., :4] = spoilt[..., -4:] = 1.0
    assert psnr(spoilt, gray(100), border=4).item() == math.inf
    assert ssim(spoilt, gray(100), border=4).item() == pytest.approx(1, abs=1e-12)
    assert psnr(spoilt, gray(100), border=3).item() < 30


@pytest.mark.parametrize("border", [0, 4])
def test_psnr_and_ssim_agree_with_scikit_image(pair, border):
    a, b = (to_y(image)[0, 0].numpy() for image in pair)
    if border:
        a, b = a[border:-border, border:-border], b[border:-border, border:-border]
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    theirs = structural_similarity(a, b, **options)
    assert ssim(*pair, border=border).item() == pytest.approx(theirs, abs=1e-9)
    theirs = peak_signal_noise_ratio(a, b, data_range=255)
    assert psnr(*pair, border=border).item() == pytest.approx(theirs, abs=1e-9)


def test_rgb_metrics_agree_with_scikit_image(pair):
    a, b = ((255 * image[0].double()).round().numpy() for image in pair)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    theirs = structural_similarity(a, b, channel_axis=0, **options)
    assert ssim(*pair, channel="rgb").item() == pytest.approx(theirs, abs=1e-9)
    assert psnr(*pair, channel="rgb").item() == pytest.approx(
        peak_signal_noise_ratio(a, b, data_range=255), abs=1e-9
    )


def test_ssim_of_an_image_and_its_negative_is_negative(pair):
    assert ssim(pair[0], 1 - pair[0]).item() < 0


@given(st.integers(0, 2**16), st.integers(11, 20), st.integers(11, 20))
def test_metrics_are_symmetric_bounded_and_perfect_for_equal_images(seed, height, width):
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.rand(2, 3, height, width, generator=generator) for _ in range(2))
    assert psnr(a, b).shape == ssim(a, b).shape == (2,)
    torch.testing.assert_close(psnr(a, b), psnr(b, a))
    torch.testing.assert_close(ssim(a, b), ssim(b, a))
    assert (ssim(a, b).abs() <= 1).all()
    assert psnr(a, a).tolist() == [math.inf, math.inf]
    torch.testing.assert_close(ssim(a, a), torch.ones(2, dtype=torch.float64))


def test_a_batch_is_scored_image_by_image(pair):
    a, b = pair
    batch = psnr(torch.cat([a, a]), torch.cat([b, a]))
    assert batch[0] == psnr(a, b)[0] and batch[1] == math.inf


def test_more_noise_scores_worse(astronaut):
    noise = torch.randn_like(astronaut)
    noisy = [astronaut + strength * noise for strength in (0.02, 0.1, 0.3)]
    for measure in (psnr, ssim):
        scores = [measure(image, astronaut) for image in noisy]
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    ("a", "b", "options", "error", "message"),
    [
        (torch.zeros(1, 3, 20, 20), torch.zeros(1, 3, 20, 21), {}, ValueError, "shapes differ"),
        (torch.zeros(3, 20, 20), torch.zeros(3, 20, 20), {}, ValueError, r"\(N, 3, H, W\)"),
        (torch.zeros(1, 1, 20, 20), torch.zeros(1, 1, 20, 20), {}, ValueError, r"\(N, 3, H, W\)"),
        (torch.zeros(1, 3, 20, 20).byte(), torch.zeros(1, 3, 20, 20), {}, TypeError, "floating"),
        (torch.zeros(1, 3, 20, 20), torch.zeros(1, 3, 20, 20), {"border": 10}, ValueError, "border of 10"),
        (torch.zeros(1, 3, 20, 20), torch.zeros(1, 3, 20, 20), {"border": -1}, ValueError, "border of -1"),
        (torch.zeros(1, 3, 20, 20), torch.zeros(1, 3, 20, 20), {"channel": "Cb"}, ValueError, "'Cb'"),
    ],
)
@pytest.mark.parametrize("metric", [psnr, ssim])
def test_bad_input_is_named(metric, a, b, options, error, message):
    with pytest.raises(error, match=message):
        metric(a, b, **options)


def test_ssim_says_when_the_window_does_not_fit():
    with pytest.raises(ValueError, match="11 x 11 px inside the border, got 10 x 18"):
        ssim(torch.zeros(1, 3, 12, 20), torch.zeros(1, 3, 12, 20), border=1)


def lpips_by_hand(a, b):
    """The formula of Zhang et al. 2018, written out with torchvision's own AlexNet."""
    state = lpips_network().state_dict()
    heads = [value for name, value in state.items() if ".lin" in name]
    features = torchvision_alexnet(weights=AlexNet_Weights.IMAGENET1K_V1).features.eval()
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1)
    x, y = (((2 * image - 1) - shift) / scale for image in (a, b))
    total = 0
    for index, layer in enumerate(features):
        x, y = layer(x), layer(y)
        if index in (1, 4, 7, 9, 11):
            unit_x, unit_y = (z / z.norm(dim=1, keepdim=True) for z in (x, y))
            weight = heads.pop(0).flatten()
            total += torch.einsum("c,nchw->nhw", weight, (unit_x - unit_y) ** 2).mean(dim=(1, 2))
    return total


def test_lpips_is_the_formula(pair, lpips_is_here):
    a, b = torch.cat([pair[0], pair[0]]), torch.cat([pair[1], 1 - pair[0]])
    with torch.no_grad():
        torch.testing.assert_close(lpips(a, b), lpips_by_hand(a, b))
    torch.testing.assert_close(lpips(a, b), lpips(b, a))
    torch.testing.assert_close(lpips(a[1:], b[1:]), lpips(a, b)[1:])
    assert lpips(a, a).tolist() == [0, 0]


def test_lpips_names_bad_input(astronaut, lpips_is_here):
    with pytest.raises(ValueError, match="LPIPS needs 31 x 31 px, got 30 x 128"):
        lpips(astronaut[..., :30, :], astronaut[..., :30, :])
    with pytest.raises(ValueError, match="shapes differ"):
        lpips(astronaut, astronaut[..., :64])
    assert lpips(astronaut[..., :31, :31], 1 - astronaut[..., :31, :31]) > 0
    beyond = 2 * astronaut - 0.5
    assert torch.equal(lpips(beyond, astronaut), lpips(beyond.clamp(0, 1), astronaut))


def test_evaluate_sr_cuts_a_border_of_the_scale(pair):
    a, b = pair
    scores = evaluate_sr(b, a, 4)
    assert scores == {
        "psnr": pytest.approx(psnr(b, a, border=4).item()),
        "ssim": pytest.approx(ssim(b, a, border=4).item()),
    }


def test_evaluate_sr_wants_a_multiple_of_the_scale():
    for size in ((30, 32), (32, 30)):
        with pytest.raises(ValueError, match="multiple of 4"):
            evaluate_sr(torch.zeros(1, 3, *size), torch.zeros(1, 3, *size), 4)


def bicubic_and_original(path, scale):
    hr = load_image(path)
    height, width = (side // scale * scale for side in hr.shape[-2:])
    hr = hr[..., :height, :width]
    lr = (255 * resize(hr, (height // scale, width // scale))).round() / 255
    return resize(lr, (height, width)), hr


# Mean PSNR as measured on these files with another implementation of Matlab's imresize, on the Y channel;
# mean SSIM as printed in SelfExSR's table, where it is known.
@pytest.mark.parametrize(
    ("name", "scale", "images", "expected_psnr", "expected_ssim"),
    [
        ("set5", 4, 5, 28.418, 0.8101),
        ("set5", 8, 5, 24.389, None),
        ("set14", 4, 14, 26.093, None),
        ("set14", 8, 14, 23.185, None),
        ("bsd100", 4, 100, 25.959, 0.6672),
        ("bsd100", 8, 100, 23.666, None),
    ],
)
def test_bicubic_rows(test_data, name, scale, images, expected_psnr, expected_ssim):
    scores = [
        evaluate_sr(*bicubic_and_original(path, scale), scale)
        for path in sorted((test_data / name).glob("*.png"))
    ]
    assert len(scores) == images
    assert np.mean([s["psnr"] for s in scores]) == pytest.approx(expected_psnr, abs=0.02)
    if expected_ssim:
        assert np.mean([s["ssim"] for s in scores]) == pytest.approx(expected_ssim, abs=0.0005)


def test_grayscale_original_compared_as_it_is_gives_the_published_set14_row(test_data):
    paths = sorted((test_data / "set14").glob("*.png"))
    scores = []
    for path in paths:
        sr, hr = bicubic_and_original(path, 4)
        channel = "rgb" if path.stem == "bridge" else "y"
        scores.append((psnr(sr, hr, 4, channel).item(), ssim(sr, hr, 4, channel).item()))
    mean_psnr, mean_ssim = np.mean(scores, axis=0)
    assert mean_psnr == pytest.approx(
        25.99, abs=0.02
    )  # 25.99 / 0.7023 in SelfExSR's table; 25.99 in the paper's
    assert mean_ssim == pytest.approx(0.7023, abs=0.0005)


def test_alexnet_offline_is_one_line(monkeypatch):
    def refuse(self, **options):
        raise URLError(OSError("Name or service not known"))

    monkeypatch.setattr(AlexNet_Weights, "get_state_dict", refuse)
    assert find_alexnet() is None
    with pytest.raises(AssetError, match=r"LPIPS: could not download .*Name or service not known") as error:
        alexnet()
    assert "\n" not in str(error.value)


def test_alexnet_that_is_here_is_not_downloaded(lpips_is_here, monkeypatch):
    monkeypatch.setattr(AlexNet_Weights, "get_state_dict", None)
    assert alexnet() == find_alexnet()
