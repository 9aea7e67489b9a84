"""Optimisation reaches what is known, stays within its bounds, and says what went wrong."""

from itertools import pairwise

import pytest
import torch

import tiny_vgg
from repro.losses import (
    PerceptualLoss,
    feature_reconstruction_loss,
    gram_matrix,
    style_reconstruction_loss,
    total_variation,
)
from repro.optimize_image import (
    invert_features,
    optimize_image,
    reconstruct_style,
    transfer_style,
    white_noise,
)
from repro.presets import PAPER, REFERENCE


def _distance_to(target):
    return lambda image: {"left": (image - target)[..., :2].square().sum(), "right": 0 * image.sum()}


def test_a_quadratic_within_bounds():
    target = 3 * torch.rand(1, 3, 4, 5) - 1  # a third below 0, a third above 1
    result = optimize_image(
        lambda x: {"distance": (x - target).square().sum()}, white_noise(target.shape), 30
    )
    assert torch.allclose(result.image, target.clamp(0, 1), atol=1e-4)
    floor = (target.clamp(0, 1) - target).square().sum().item()
    assert result.history["distance"][-1] == pytest.approx(floor, rel=1e-5)


def test_history_has_every_term_at_the_start_and_after_each_iteration():
    scales = torch.linspace(1, 30, 60).view(1, 3, 4, 5)  # not done after one step

    def loss(image):
        error = scales * (image - 0.5).square()
        return {"left": error[..., :2].sum(), "right": error[..., 2:].sum()}

    start = white_noise((1, 3, 4, 5))
    result = optimize_image(loss, start, 6)
    assert set(result.history) == {"left", "right", "total"}
    assert {len(values) for values in result.history.values()} == {7}
    assert result.history["left"][0] == pytest.approx(loss(start)["left"].item())
    assert result.history["right"][-1] == pytest.approx(loss(result.image)["right"].item(), rel=1e-4)
    left, right, total = (result.history[name] for name in ("left", "right", "total"))
    assert total == pytest.approx([a + b for a, b in zip(left, right, strict=True)])
    assert all(later <= earlier for earlier, later in pairwise(total))
    assert result.evaluations >= 7


def test_slow_progress_is_no_reason_to_end():
    scales = torch.linspace(1, 30, 60).view(1, 3, 4, 5)
    result = optimize_image(
        lambda image: {"far": 1e4 + (scales * (image - 0.5).square()).sum()},
        white_noise((1, 3, 4, 5)).double(),
        6,
    )
    assert len(result.history["far"]) == 7


def test_snapshots_are_kept_where_asked():
    scales = torch.linspace(1, 30, 60).view(1, 3, 4, 5)
    seen = []

    def loss(image):
        assert image.min() >= 0
        assert image.max() <= 1
        seen.append(image.detach().clone())
        return {"error": (scales * (image - 0.5).square()).sum()}

    result = optimize_image(loss, white_noise((1, 3, 4, 5)), 6, snapshots=[2, 6, 50])
    assert list(result.snapshots) == [2, 6]
    assert torch.equal(result.snapshots[6], result.image)
    assert loss(result.snapshots[2])["error"].item() == pytest.approx(result.history["error"][2], rel=1e-5)
    assert result.evaluations == len(seen) - 1


def test_the_start_is_projected_and_left_alone():
    start = torch.full((1, 3, 2, 2), 1.7)
    result = optimize_image(lambda x: {"level": x.sum()}, start, 5)
    assert result.history["level"][0] == pytest.approx(12.0)
    assert torch.equal(result.image, torch.zeros(1, 3, 2, 2))
    assert torch.equal(start, torch.full((1, 3, 2, 2), 1.7))


def test_a_term_that_is_not_finite_is_named():
    def loss(image):
        return {"good": image.sum(), "bad": image.sum() * float("nan")}

    with pytest.raises(FloatingPointError, match=r"iteration 0: not finite: bad"):
        optimize_image(loss, white_noise((1, 3, 2, 2)), 3)
    with pytest.raises(FloatingPointError, match="not finite: the gradient"):
        optimize_image(lambda x: {"root": (x * 0).sqrt().sum()}, white_noise((1, 3, 2, 2)), 3)


def test_bad_arguments():
    loss = _distance_to(torch.zeros(1, 3, 2, 2))
    with pytest.raises(ValueError, match="batch of 2"):
        optimize_image(loss, torch.zeros(2, 3, 2, 2), 3)
    with pytest.raises(ValueError, match="iterations"):
        optimize_image(loss, torch.zeros(1, 3, 2, 2), 0)
    with pytest.raises(ValueError, match="start: expected shape"):
        optimize_image(loss, torch.zeros(3, 2, 2), 3)
    with pytest.raises(ValueError, match="'noise' or 'content'"):
        transfer_style(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8), tiny_vgg.network(), start="style")


def test_progress_goes_to_stderr(capsys):
    optimize_image(_distance_to(0.5), white_noise((1, 3, 4, 4)), 2, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "loss" in captured.err


def test_white_noise_is_reproducible_and_uniform():
    noise = white_noise((1, 3, 64, 64), seed=1)
    assert torch.equal(noise, white_noise((1, 3, 64, 64), seed=1))
    assert not torch.equal(noise, white_noise((1, 3, 64, 64), seed=2))
    assert noise.mean() == pytest.approx(0.5, abs=0.01)
    assert noise.var() == pytest.approx(1 / 12, abs=0.003)


def test_transfer_style_lowers_the_objective_reproducibly(astronaut):
    content, style = astronaut[..., :32, :40], astronaut[..., 64:104, 64:96]
    vgg = tiny_vgg.network()
    runs = [transfer_style(content, style, vgg, iterations=8, seed=seed) for seed in (0, 0, 1)]
    history = runs[0].history
    assert history["total"][-1] < 0.3 * history["total"][0]
    layers = REFERENCE.style.loss.style_layers
    assert set(history) == {"content/relu3_3", *(f"style/{layer}" for layer in layers), "tv", "total"}
    assert runs[0].image.shape == content.shape
    assert torch.equal(runs[0].image, runs[1].image)
    assert not torch.equal(runs[0].image, runs[2].image)


def test_starting_from_the_content_has_no_content_loss(astronaut):
    content = astronaut[..., :24, :24]
    vgg = tiny_vgg.network()
    result = transfer_style(content, astronaut[..., 64:96, 64:96], vgg, iterations=2, start="content")
    assert result.history["content/relu3_3"][0] == 0
    assert result.history["total"][-1] < result.history["total"][0]


def test_layers_that_are_not_there_are_left_out_of_the_default_only(astronaut):
    content = astronaut[..., :16, :16]
    vgg = tiny_vgg.network(deepest="relu3_3")
    result = transfer_style(content, content, vgg, iterations=1)
    assert "style/relu4_3" not in result.history
    with pytest.raises(ValueError, match="has no relu4_3"):
        transfer_style(content, content, vgg, PAPER.style.loss, iterations=1)


def test_features_are_inverted(astronaut):
    image = astronaut[..., :24, :24]
    tiny_vgg.write()
    result = invert_features(image, "relu1_2", iterations=30)
    assert set(result.history) == {"content/relu1_2", "tv", "total"}
    start = white_noise(image.shape)
    assert result.history["content/relu1_2"][-1] < 0.05 * result.history["content/relu1_2"][0]
    assert (result.image - image).square().mean() < 0.5 * (start - image).square().mean()


def test_style_is_reconstructed_at_any_size(astronaut):
    tiny_vgg.write()
    result = reconstruct_style(astronaut[..., :32, :32], ["relu1_2", "relu2_2"], size=(20, 28), iterations=8)
    assert result.image.shape == (1, 3, 20, 28)
    assert set(result.history) == {"style/relu1_2", "style/relu2_2", "tv", "total"}
    assert result.history["total"][-1] < 0.3 * result.history["total"][0]


def test_the_start_depends_on_the_seed_and_terms_have_their_weights(astronaut):
    image, vgg = astronaut[..., :24, :24], tiny_vgg.network(deepest="relu1_2")
    start = white_noise(image.shape, seed=1)
    features, target = vgg(start)["relu1_2"], vgg(image)["relu1_2"]
    content = feature_reconstruction_loss(features, target).item()
    style = style_reconstruction_loss(gram_matrix(features), gram_matrix(target), "mean").item()
    smooth = total_variation(255 * start).item()
    inverted = invert_features(image, "relu1_2", vgg, 1, tv_weight=1e-3, seed=1)
    assert inverted.history["content/relu1_2"][0] == pytest.approx(content, rel=1e-4)
    assert inverted.history["tv"][0] == pytest.approx(1e-3 * smooth, rel=1e-4)
    reconstructed = reconstruct_style(image, ["relu1_2"], vgg, None, 1, tv_weight=1e-3, seed=1)
    assert reconstructed.history["style/relu1_2"][0] == pytest.approx(5 * style, rel=1e-4)
    assert reconstructed.history["tv"][0] == pytest.approx(1e-3 * smooth, rel=1e-4)


def test_a_loss_network_by_name_goes_where_the_image_is(astronaut, monkeypatch):
    tiny_vgg.write()
    seen = []

    def set_targets(self, content=None, style=None):
        seen.append(next(self.loss_network.parameters()).device.type)
        raise InterruptedError

    monkeypatch.setattr(PerceptualLoss, "set_targets", set_targets)
    image = astronaut[..., :32, :32].to("meta")  # any device but the CPU, where there may be no other
    for method in (
        lambda: transfer_style(image, image, "vgg16"),
        lambda: invert_features(image, "relu1_2", "vgg16"),
        lambda: reconstruct_style(image, ["relu1_2"], "vgg16"),
    ):
        with pytest.raises(InterruptedError):
            method()
    assert seen == ["meta"] * 3
