"""From a recipe to its objects: networks, style pictures, schedules, losses."""

import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import tiny_vgg
from repro import patterns
from repro.assets import PAINTINGS, AssetError, cache_dir, digest
from repro.build import (
    build_loss,
    build_network,
    build_optimizer,
    learning_rate_factor,
    load_style,
    prepare_input,
    restrict,
    save_network,
)
from repro.config import MODERN, REFERENCE, STYLE_LAYERS
from repro.degradations import low_resolution
from repro.images import load_image, save_image
from repro.losses import total_variation
from repro.muon import Muon
from repro.recipe import StyleConfig, from_dict, load_recipe
from repro.transform_nets import StyleTransferNet, SuperResolutionNet


@pytest.mark.parametrize("preset", ["paper", "reference", "modern"])
@pytest.mark.parametrize("factor", [4, 8])
def test_networks(preset, factor):
    style = build_network(load_recipe("style", overrides={"preset": preset, "network.width": 0.25}))
    overrides = {"preset": preset, "network.width": 0.25, "super_resolution.factor": factor}
    upscaling = build_network(load_recipe("super-resolution", overrides=overrides))
    assert isinstance(style, StyleTransferNet)
    assert isinstance(upscaling, SuperResolutionNet)
    image = torch.rand(2, 3, 32, 40)
    assert style(image).shape == image.shape
    assert upscaling(image).shape == (2, 3, 32 * factor, 40 * factor)


def test_network_options_reach_the_network():
    # The supplement's networks have 401,859 parameters at x4 and 438,915 at x8.
    for factor, expected in ((4, 401_859), (8, 438_915)):
        overrides = {"preset": "paper", "super_resolution.factor": factor}
        network = build_network(load_recipe("super-resolution", overrides=overrides))
        assert sum(p.numel() for p in network.parameters()) == expected
    small = build_network(load_recipe("style", overrides={"network.num_blocks": 2, "network.norm": "batch"}))
    expected = StyleTransferNet(
        num_blocks=2, norm="batch", upsample="resize", padding="reflect", output="tanh"
    )
    assert {k: v.shape for k, v in small.state_dict().items()} == {
        k: v.shape for k, v in expected.state_dict().items()
    }


def test_optimizers():
    for name, kind in (("adam", torch.optim.Adam), ("muon", Muon)):
        changes = {"network.width": 0.1, "training.optimizer": name, "training.learning_rate": 3e-3}
        recipe = load_recipe("style", overrides=changes)
        network = build_network(recipe)
        optimizer = build_optimizer(recipe.training, network)
        assert isinstance(optimizer, kind)
        assert {group["lr"] for group in optimizer.param_groups} == {3e-3}
        held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        assert {id(parameter) for parameter in held} == {id(parameter) for parameter in network.parameters()}
    assert load_recipe("style").training.optimizer == "adam"


def test_save_network_round_trip(tmp_path):
    recipe = load_recipe("super-resolution", overrides={"network.width": 0.125, "network.norm": "batch"})
    network = build_network(recipe).to(memory_format=torch.channels_last)
    save_network(network, recipe, tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        metadata = file.metadata()
    again = from_dict(json.loads(metadata["recipe"]))
    assert again == recipe
    other = build_network(again)
    tensors = load_file(tmp_path / "model.safetensors")
    other.load_state_dict(tensors)
    assert metadata["digest"] == digest(tensors)
    for key, value in network.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key


def test_style_picture_from_a_file(tmp_path, astronaut):
    path = tmp_path / "style.png"
    save_image(astronaut[..., :64], path)  # (1, 3, 128, 64)
    style = load_style(StyleConfig(str(path), 96))
    assert style.shape == (1, 3, 96, 48)
    assert torch.equal(style, load_image(path, 96))


def test_style_picture_drawn():
    assert torch.equal(load_style(StyleConfig("kelim", 64)), patterns.draw("kelim", 64))


def test_style_picture_of_a_painter_from_the_cache(astronaut, monkeypatch):
    import pooch

    path = cache_dir() / "paintings" / "great_wave.png"
    save_image(astronaut, path)
    asked = []

    def retrieve(url, known_hash, fname, path):
        asked.append((known_hash, fname, path))
        return str(path / "great_wave.png")

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    style = load_style(StyleConfig("great_wave", 64))
    assert asked == [
        (f"sha256:{PAINTINGS['great_wave'].sha256}", "great_wave.jpg", cache_dir() / "paintings")
    ]
    assert torch.equal(style, load_image(path, 64))


def test_style_picture_that_cannot_be_had(tmp_path, monkeypatch):
    for picture in ("", "great_weave", str(tmp_path)):
        with pytest.raises(ValueError, match=r"is no file and no picture of: great_wave, .*stained_glass"):
            load_style(StyleConfig(picture))
    tmp_path.joinpath("notes.txt").write_text("no picture")
    with pytest.raises(ValueError, match=r"notes\.txt: not a picture"):
        load_style(StyleConfig(str(tmp_path / "notes.txt")))

    def offline(*arguments, **options):
        raise OSError("no connection")

    monkeypatch.setattr("pooch.retrieve", offline)
    with pytest.raises(AssetError, match=r"Great Wave.*no connection"):
        load_style(StyleConfig("great_wave"))


def test_network_input(astronaut):
    style = load_recipe("style")
    assert prepare_input(style, astronaut) is astronaut
    for factor, blur in ((4, 1.0), (8, 0.0)):
        overrides = {"super_resolution.factor": factor, "super_resolution.blur": blur}
        recipe = load_recipe("super-resolution", overrides=overrides)
        low = prepare_input(recipe, astronaut)
        assert torch.equal(low, low_resolution(astronaut, factor, blur))
        # Both are in [0, 1] and of the same brightness: the released code divided only one by 255.
        assert low.mean().item() == pytest.approx(astronaut.mean().item(), abs=0.01)


def test_network_input_is_not_rounded_to_half_precision(astronaut):
    recipe = load_recipe("super-resolution")
    exact = prepare_input(recipe, astronaut)
    with torch.autocast("cpu", torch.bfloat16):
        low = prepare_input(recipe, astronaut)
    assert torch.equal(low, exact)


def test_learning_rate_of_a_constant_schedule():
    factor = learning_rate_factor(replace(REFERENCE.style.training, steps=10))
    assert [factor(step) for step in (0, 5, 9)] == [1.0, 1.0, 1.0]


def test_learning_rate_of_a_cosine():
    factor = learning_rate_factor(replace(MODERN.style.training, steps=4000))
    assert factor(0) == 1 / 100
    assert factor(49) == pytest.approx(0.5, rel=1e-3)
    assert factor(1000) == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert factor(2000) == pytest.approx(0.5)
    assert factor(3000) == pytest.approx((1 - math.sqrt(0.5)) / 2)
    assert 0 < factor(3999) < 1e-6
    rates = [factor(step) for step in range(4000)]
    assert rates.index(max(rates)) == 99
    assert sorted(rates[:100]) == rates[:100]
    assert sorted(rates[99:], reverse=True) == rates[99:]


def test_learning_rate_of_a_trapezoid():
    factor = learning_rate_factor(replace(MODERN.style.training, steps=4000, schedule="trapezoid"))
    assert [factor(step) for step in (0, 49, 99, 2000, 3000)] == [0.01, 0.5, 1.0, 1.0, 1.0]
    assert factor(3500) == pytest.approx(0.5)
    assert factor(3999) == pytest.approx(0.001)
    short = learning_rate_factor(replace(MODERN.style.training, steps=1, schedule="trapezoid"))
    assert short(0) == 1.0


@pytest.mark.parametrize(("steps", "top"), [(1, 0), (5, 0), (50, 4), (200, 19)])
def test_warm_up_takes_at_most_a_tenth(steps, top):
    factor = learning_rate_factor(replace(MODERN.style.training, steps=steps))
    rates = [factor(step) for step in range(steps)]
    assert rates.index(max(rates)) == top
    assert min(rates) > 0


def test_loss_has_the_weights_of_the_recipe(astronaut):
    network = tiny_vgg.network(["relu1_2", "relu2_2"])
    config = replace(MODERN.style.loss, content_layers={"relu2_2": 2.0}, style_layers={"relu1_2": 3.0})
    loss = build_loss(config, network, 1)
    loss.set_targets(content=astronaut, style=astronaut.flip(2))
    terms = loss(astronaut)
    assert list(terms) == ["content/relu2_2", "style/relu1_2", "tv"]
    assert (loss.content_layers, loss.style_layers) == ({"relu2_2": 2.0}, {"relu1_2": 3.0})
    assert terms["content/relu2_2"] == 0


@pytest.mark.parametrize("reduction", ["sum", "half_sum"])
def test_total_variation_shared_by_processes(reduction):
    """The mean over processes of each one's term is the term of the whole batch."""
    config = replace(MODERN.super_resolution.loss, content_layers={}, tv_weight=0.1, tv_reduction=reduction)
    batch = torch.rand(4, 3, 5, 6)
    shares = [build_loss(config, None, 2)(half)["tv"] for half in batch.chunk(2)]
    assert torch.allclose(sum(shares) / 2, 0.1 * total_variation(255 * batch, reduction))


def test_restrict_leaves_out_style_layers_that_are_not_there():
    said, recipe = [], load_recipe("style")
    restricted = restrict(recipe, tiny_vgg.network(deepest="relu3_3"), said.append)
    assert list(restricted.loss.style_layers) == ["relu1_2", "relu2_2", "relu3_3"]
    assert said == ["style layers without relu4_3, which vgg16 does not have here"]
    assert restricted == replace(recipe, loss=restricted.loss)
    assert list(recipe.loss.style_layers) == list(STYLE_LAYERS)


def test_restrict_says_nothing_where_nothing_is_missing():
    network = tiny_vgg.network(deepest="relu4_3")
    for task in ("style", "super-resolution"):
        recipe = load_recipe(task)
        assert restrict(recipe, network, pytest.fail) == recipe


def test_restrict_refuses_what_is_left_without_a_layer():
    shallow = tiny_vgg.network(deepest="relu2_2")
    with pytest.raises(ValueError, match=r"'vgg16' has no relu3_3; it has relu1_1, .*relu2_2$"):
        restrict(load_recipe("style"), shallow, lambda line: None)
    deep = {"loss.style_layers": {"relu4_3": 1.0}, "loss.content_layers": {"relu2_2": 1.0}}
    with pytest.raises(ValueError, match="'vgg16' has none of the style layers"):
        restrict(load_recipe("style", overrides=deep), shallow, lambda line: None)


@pytest.mark.parametrize("kind", ["style_layers", "content_layers"])
def test_restrict_does_not_take_a_misspelt_layer_for_a_missing_one(kind):
    recipe = load_recipe("style", overrides={f"loss.{kind}.relu33": 1.0})
    with pytest.raises(ValueError, match=r"unknown layer 'relu33' in the recipe; known: relu1_1, "):
        restrict(recipe, tiny_vgg.network(deepest="relu4_3"), pytest.fail)
