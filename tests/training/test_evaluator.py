"""The evaluator against values worked out by hand: an identity for style transfer, bicubic for x4 and x8."""

import pytest
import torch

import tiny_vgg
from repro.images import center_crop, resize
from repro.losses import gram_matrix, total_variation
from repro.metrics import evaluate_sr
from repro.picture_files import load_image, save_image
from repro.training.evaluator import Evaluator
from repro.training.recipe import build_loss, load_recipe, prepare_input

SIZE = 48
CPU = torch.device("cpu")


@pytest.fixture
def photos(tmp_path, astronaut):
    """Two photos of different sizes, neither of them square."""
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    save_image(astronaut[..., :100], paths[0])
    save_image(astronaut[..., 30:100, :], paths[1])
    return paths


@pytest.fixture
def vgg():
    return tiny_vgg.network(deepest="relu4_3")


def _evaluator(recipe, paths, vgg, style=None):
    loss = build_loss(recipe.loss, vgg, 1)
    loss.set_targets(style=style)
    return Evaluator(recipe, paths, loss, vgg, CPU)


def _recipe(task, **overrides):
    overrides = {key.replace("__", "."): value for key, value in overrides.items()}
    return load_recipe(task, overrides={"training.size": SIZE, **overrides})


def _mean(values):
    return pytest.approx(sum(values) / len(values), rel=1e-5)


def test_style_transfer_by_a_network_that_changes_nothing(photos, vgg, astronaut):
    recipe = _recipe("style", loss__style_layers={"relu1_2": 2.0, "relu2_2": 3.0}, loss__tv_weight=1e-4)
    values, sample = _evaluator(recipe, photos, vgg, astronaut)(lambda image: image)
    images = [center_crop(load_image(path), SIZE) for path in photos]
    assert list(values) == ["content/relu3_3", "style/relu1_2", "style/relu2_2", "tv", "objective"]
    assert values["content/relu3_3"] == 0
    assert values["tv"] == _mean([1e-4 * total_variation(255 * image).item() for image in images])
    with torch.no_grad():
        for layer, weight in (("relu1_2", 2.0), ("relu2_2", 3.0)):
            grams = [gram_matrix(vgg(image)[layer]) for image in (*images, astronaut)]
            errors = [weight * (gram - grams[-1]).square().mean().item() for gram in grams[:-1]]
            assert values[f"style/{layer}"] == _mean(errors)
    assert values["objective"] == pytest.approx(sum(list(values.values())[:-1]))
    row = torch.cat(images, dim=3)
    assert torch.equal(sample, torch.cat([row, row], dim=2))


@pytest.mark.parametrize("factor", [4, 8])
def test_super_resolution_by_bicubic_upsampling(photos, vgg, factor):
    recipe = _recipe("super-resolution", super_resolution__factor=factor)
    evaluator = _evaluator(recipe, photos, vgg)
    seen = []

    def bicubic(low):
        seen.append(low)
        return resize(low, (SIZE, SIZE))

    values, sample = evaluator(bicubic)
    originals = []
    for path in photos:  # patches: pixels as they are, from the middle
        image = load_image(path)
        top, left = ((side - SIZE) // 2 for side in image.shape[-2:])
        originals.append(image[..., top : top + SIZE, left : left + SIZE])
    assert [low.shape for low in seen] == [(1, 3, SIZE // factor, SIZE // factor)] * 2
    assert all(torch.equal(low, prepare_input(recipe, x)) for low, x in zip(seen, originals, strict=True))
    results = [resize(low, (SIZE, SIZE)) for low in seen]
    scores = [evaluate_sr(result, x, factor) for result, x in zip(results, originals, strict=True)]
    for name in ("psnr", "ssim"):
        assert values[name] == _mean([score[name] for score in scores])
    with torch.no_grad():
        distances = [
            (vgg(result)["relu2_2"] - vgg(x)["relu2_2"]).square().mean().item()
            for result, x in zip(results, originals, strict=True)
        ]
    assert values["feature/relu2_2"] == values["content/relu2_2"] == values["objective"] == _mean(distances)
    columns = [torch.cat([result, result, x], dim=2) for result, x in zip(results, originals, strict=True)]
    assert torch.equal(sample, torch.cat(columns, dim=3))


def test_super_resolution_by_pixels_is_judged_by_features_too(photos, vgg):
    recipe = _recipe("super-resolution", loss__content_layers={}, loss__pixel_weight=1.0)
    values, _ = _evaluator(recipe, photos, vgg)(lambda low: resize(low, (SIZE, SIZE)))
    assert list(values) == ["pixel", "objective", "psnr", "ssim", "feature/relu2_2"]
    assert values["objective"] == values["pixel"] > 0
    assert values["feature/relu2_2"] > 0


def test_a_perfect_network_scores_best(photos, vgg):
    recipe = _recipe("super-resolution")
    evaluator = _evaluator(recipe, photos, vgg)
    originals = iter(evaluator.images)
    values, _ = evaluator(lambda low: next(originals))
    assert (values["psnr"], values["feature/relu2_2"], values["objective"]) == (float("inf"), 0.0, 0.0)
    assert values["ssim"] == pytest.approx(1.0)


def test_sample_shows_the_first_four_and_stays_in_range(photos, vgg, astronaut):
    evaluator = _evaluator(_recipe("style"), photos * 3, vgg, astronaut)
    values, sample = evaluator(lambda image: 3 * image - 1)
    assert sample.shape == (1, 3, 2 * SIZE, 4 * SIZE)
    assert 0 <= sample.min() <= sample.max() <= 1
    assert torch.equal(sample[..., SIZE:, :SIZE], (3 * evaluator.images[0] - 1).clamp(0, 1))
    assert not any(torch.tensor(value).requires_grad for value in values.values())


def test_a_result_in_half_precision_is_judged_in_float32(photos, vgg, astronaut):
    evaluator = _evaluator(_recipe("style"), photos, vgg, astronaut)
    with torch.autocast("cpu", torch.bfloat16):
        half, sample = evaluator(lambda image: image.bfloat16())
    full, _ = evaluator(lambda image: image)
    assert sample.dtype == torch.float32
    assert half["objective"] == pytest.approx(full["objective"], rel=0.05)


def test_low_resolution_input_is_exact_under_autocast(photos, vgg):
    recipe = _recipe("super-resolution")
    evaluator, seen = _evaluator(recipe, photos, vgg), []

    def bicubic(low):
        seen.append(low)
        return resize(low, (SIZE, SIZE))

    with torch.autocast("cpu", torch.bfloat16):
        values, _ = evaluator(bicubic)
    assert torch.equal(seen[0], prepare_input(recipe, evaluator.images[0]))
    assert values["psnr"] == evaluator(bicubic)[0]["psnr"]


def test_small_and_unreadable_photos(photos, vgg, tmp_path, astronaut):
    small, broken = tmp_path / "small.png", tmp_path / "broken.png"
    save_image(astronaut[..., :32, :40], small)
    broken.write_text("no picture")
    evaluator = _evaluator(_recipe("super-resolution"), [broken, small, photos[0]], vgg)
    assert [image.shape for image in evaluator.images] == [(1, 3, SIZE, SIZE)] * 2
    assert evaluator.skipped == [f"{broken}: not a picture in a format that Pillow reads"]
    assert torch.equal(evaluator.images[0], center_crop(load_image(small), SIZE))
    with pytest.raises(ValueError, match=r"none of the held-out photos can be used: .*broken\.png"):
        _evaluator(_recipe("super-resolution"), [broken], vgg)


def test_photos_go_to_the_device_and_no_graph_is_kept(photos, vgg):
    recipe = _recipe("super-resolution")
    loss = build_loss(recipe.loss, vgg, 1)
    meta = torch.device("meta")  # any but the CPU, where there may be no other
    away = Evaluator(recipe, photos, loss, vgg, meta)
    assert {image.device.type for image in away.images} == {"meta"}
    gain = torch.ones((), requires_grad=True)
    _, sample = Evaluator(recipe, photos, loss, vgg, CPU)(lambda image: gain * resize(image, (SIZE, SIZE)))
    assert not sample.requires_grad
