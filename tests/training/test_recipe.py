"""Recipes say everything about a run: what a file leaves out comes from its preset, mistakes are named."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import tiny_vgg
from repro.degradations import low_resolution
from repro.losses import total_variation
from repro.presets import MODERN, PRESETS, STYLE_LAYERS
from repro.pretrained import card, digest
from repro.training.publish import OF_STAGES
from repro.training.recipe import (
    SCALES,
    RunConfig,
    StyleConfig,
    SuperResolutionConfig,
    build_loss,
    build_network,
    from_dict,
    load_recipe,
    prepare_input,
    restrict,
    save_network,
)
from repro.transform_nets import StyleTransferNet, SuperResolutionNet

TASKS = {"style": "style", "super-resolution": "super_resolution"}  # and where a preset keeps it
RECIPES = sorted(Path(__file__).parents[2].joinpath("recipes").glob("*.toml"))


@pytest.fixture
def write(tmp_path):
    """Write a recipe file and return its path."""

    def write(text, name="mine.toml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("task", TASKS)
def test_what_is_left_out_comes_from_the_preset(task, preset):
    recipe = load_recipe(task, overrides={"preset": preset})
    config = getattr(PRESETS[preset], TASKS[task])
    assert (recipe.name, recipe.task, recipe.preset, recipe.seed) == (task, task, preset, 0)
    assert (recipe.loss, recipe.training, recipe.run) == (config.loss, config.training, RunConfig())
    assert recipe.network == config.network
    assert (recipe.style, recipe.super_resolution) == (StyleConfig("", 256), SuperResolutionConfig(4, 1.0))
    assert recipe.loss_network == "auto"


def test_the_preset_is_modern_unless_it_is_named():
    assert load_recipe("style").preset == from_dict({"task": "style"}).preset == "modern"


def test_a_file_changes_what_it_names_and_nothing_else(write):
    path = write("""
        task = "super-resolution"
        preset = "paper"
        loss_network = "pocket"
        seed = 7
        super_resolution.factor = 8
        [loss]
        content_layers = { relu1_2 = 2, relu2_2 = 0.5 }
        pixel_weight = 1
        [network]
        norm = "none"
        width = 0.5
        [training]
        steps = 10
        learning_rate = 1
        [run]
        held_out = 3
    """)
    recipe, preset = load_recipe(path), PRESETS["paper"].super_resolution
    assert (recipe.name, recipe.preset, recipe.loss_network, recipe.seed) == ("mine", "paper", "pocket", 7)
    assert recipe.super_resolution == SuperResolutionConfig(factor=8)
    layers = {"relu1_2": 2.0, "relu2_2": 0.5}
    assert recipe.loss == replace(preset.loss, content_layers=layers, pixel_weight=1.0)
    assert recipe.network == replace(preset.network, norm="none", width=0.5)
    assert recipe.training == replace(preset.training, steps=10, learning_rate=1.0)
    assert isinstance(recipe.training.learning_rate, float)
    assert recipe.run == RunConfig(held_out=3)
    assert load_recipe(write('task = "style"\nname = "waves"')).name == "waves"


@pytest.mark.parametrize("task", TASKS)
def test_scales(task, write):
    path = write(f'task = "{task}"\n[training]\nsteps = 7\nlearning_rate = 0.5\n[run]\nlog_every = 3')
    as_it_is, smoke, book, paper = (load_recipe(path, scale) for scale in (None, *SCALES))
    training = getattr(PRESETS["modern"], TASKS[task]).training
    assert (as_it_is.training.steps, as_it_is.training.size) == (7, training.size)
    assert (smoke.training.steps, smoke.training.batch_size, smoke.training.size) == (4, 2, 64)
    assert (book.training.steps, book.training.size, book.run.workers) == (100, 96, 0)
    assert smoke.training.learning_rate == book.training.learning_rate == 0.5
    assert (paper.training, paper.run) == (training, RunConfig())
    assert paper.training.steps == {"style": 40_000, "super-resolution": 200_000}[task]
    assert load_recipe(path, "smoke", {"training.steps": 9}).training.steps == 9  # overrides come last
    with pytest.raises(ValueError, match=r"unknown scale 'huge'; known: smoke, book, paper"):
        load_recipe(path, "huge")


def test_overrides_by_dotted_key(write):
    path = write('task = "style"\n[style]\npicture = "kelim"\nsize = 64')
    overrides = {
        "seed": 3,
        "style.picture": "a.jpg",
        "training.mirror": False,
        "loss.style_layers.relu4_3": 2,
        "loss.content_layers": {"relu2_2": 3},
    }
    recipe = load_recipe(path, overrides=overrides)
    assert (recipe.seed, recipe.style, recipe.training.mirror) == (3, StyleConfig("a.jpg", 64), False)
    before = PRESETS["modern"].style.loss.style_layers
    assert recipe.loss.style_layers == {**before, "relu4_3": 2.0}  # one layer is changed, the others stay
    assert recipe.loss.content_layers == {"relu2_2": 3.0}
    assert load_recipe(path, overrides={"preset": "paper"}).loss == PRESETS["paper"].style.loss
    assert overrides["seed"] == 3  # the caller's own are left alone
    assert load_recipe(path).seed == 0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"sed": 1}, r"unknown key 'sed'; known: name, task, .*style, loss"),
        ({"training.step": 1}, r"\[training\]: unknown key 'step'; known: steps, "),
        ({"super_resolution.factor": 4}, "unknown key 'super_resolution'"),
        ({"what.ever": 4}, "unknown key 'what'"),
        ({"training.steps": 1.5}, r"training\.steps: expected int, such as 40000, got 1\.5"),
        ({"training.steps": True}, r"training\.steps: expected int.* got True"),
        ({"training.learning_rate": True}, r"training\.learning_rate: expected float.* got True"),
        ({"training.mirror": 1}, r"training\.mirror: expected bool"),
        ({"network.norm": 1}, r"network\.norm: expected str, such as 'instance', got 1"),
        ({"seed": "1"}, r"seed: expected int, such as 0, got '1'"),
        ({"seed.deeper": 1}, r"seed is 0; expected a table"),
        ({"style": 5}, r"style is 5; expected a table"),
        ({"loss.style_layers": ["relu1_2"]}, r"loss\.style_layers: expected weights by layer.*relu1_2"),
        ({"loss.content_layers": {"relu3_3": True}}, r"loss\.content_layers: expected weights by layer"),
        ({"loss.content_layers": {"relu3_3": "1"}}, r"loss\.content_layers: expected weights by layer"),
        ({"loss.style_layers": {}}, r"loss\.style_layers must name a layer for the task style"),
        ({"preset": "moden"}, r"preset is 'moden'; expected one of paper, reference, modern"),
        ({"preset": ["modern"]}, r"preset is \['modern'\]; expected one of"),
        ({"task": "styl"}, r"task is 'styl'; expected one of style, super-resolution"),
        ({"training.steps": 0}, r"training\.steps must be positive, got 0"),
        ({"training.learning_rate": float("nan")}, r"training\.learning_rate must be positive, got nan"),
        ({"run.save_every": -1}, r"run\.save_every must be positive, got -1"),
        ({"run.workers": -1}, r"run\.workers must be at least 0, got -1"),
        ({"seed": -1}, r"seed must be at least 0, got -1"),
        ({"loss.tv_weight": -1}, r"loss\.tv_weight must be at least 0, got -1"),
        ({"loss.pixel_weight": float("inf")}, r"loss\.pixel_weight must be at least 0, got inf"),
        ({"loss.style_layers.relu1_2": float("nan")}, r"loss\.style_layers\.relu1_2 must be at least 0"),
        (
            {"loss.content_layers": {"relu3_3": -2}},
            r"loss\.content_layers\.relu3_3 must be at least 0, got -2",
        ),
        ({"name": "../x"}, r"name is '\.\./x'; it names files, so it must be a plain name"),
        ({"name": ""}, r"name is ''"),
        ({"name": ".."}, r"name is '\.\.'"),
        ({"name": "a\\b"}, r"name is .*; it names files"),
        ({"style.size": 0}, r"style\.size must be positive, got 0"),
        ({"training.optimizer": "sgd"}, r"training\.optimizer is 'sgd'; use adam or muon"),
        ({"training.schedule": "step"}, r"training\.schedule is 'step'; use constant or cosine or trapezoid"),
        ({"training.crop": "centre"}, r"training\.crop is 'centre'; use random or zoom or patch or whole"),
        ({"loss.style_reduction": "max"}, r"loss\.style_reduction is 'max'; use sum or mean or relative"),
        ({"loss.pixel_error": "huber"}, r"loss\.pixel_error is 'huber'; use squared or absolute"),
        ({"start_from": 3}, r"start_from: expected str, such as '', got 3"),
        ({"loss.tv_reduction": "mean"}, r"loss\.tv_reduction is 'mean'; use sum or half_sum"),
    ],
    ids=str,
)
def test_mistakes_are_named_in_one_line(overrides, message):
    with pytest.raises(ValueError, match=rf"^style: {message}") as caught:
        load_recipe("style", overrides=overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"super_resolution.factor": 2}, r"super_resolution\.factor must be 4 or 8, got 2"),
        ({"super_resolution.factor": 8, "training.size": 100}, r"training\.size 100 is no multiple of .* 8"),
        ({"training.size": 18}, r"training\.size 18 is no multiple of .* 4"),
        ({"super_resolution.blur": -1.0}, r"super_resolution\.blur must be at least 0, got -1\.0"),
        (
            {"super_resolution.blur": 3.0, "training.size": 8},
            r"super_resolution\.blur is too wide for pieces of 8 px",
        ),
        ({"loss.style_layers": {"relu1_2": 1.0}}, r"loss\.style_layers must be empty for super-resolution"),
        ({"style.picture": "kelim"}, "unknown key 'style'"),
    ],
    ids=str,
)
def test_mistakes_of_super_resolution(overrides, message):
    with pytest.raises(ValueError, match=f"^super-resolution: {message}"):
        load_recipe("super-resolution", overrides=overrides)


def test_a_mistake_in_a_file_names_the_file(write, tmp_path):
    for text, message in (
        ("task =", "not a TOML file"),
        ("", "task is None"),
        ('task = "style"\nsteps = 3', "unknown key 'steps'"),
        ('task = "style"\ntraining = 3', "training is 3; expected a table"),
    ):
        for scale in (None, "smoke"):
            with pytest.raises(ValueError, match=rf"mine\.toml: {message}"):
                load_recipe(write(text), scale)
    tmp_path.joinpath("latin.toml").write_bytes(b'task = "st\xffle"')
    with pytest.raises(ValueError, match=r"latin\.toml: not a TOML file"):
        load_recipe(tmp_path / "latin.toml")
    with pytest.raises(FileNotFoundError, match=r"nothing\.toml: no such recipe"):
        load_recipe(tmp_path / "nothing.toml")


@pytest.mark.parametrize("scale", [None, *SCALES])
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("task", TASKS)
def test_tables_hold_the_whole_recipe(task, preset, scale):
    overrides = {"preset": preset, "name": "x", "seed": 5, "loss.pixel_weight": 0.25, "network.width": 0.5}
    recipe = load_recipe(task, scale, overrides)
    tables = json.loads(json.dumps(recipe.to_dict()))
    assert tables == recipe.to_dict()
    assert from_dict(tables) == recipe
    assert tables["training"]["steps"] == recipe.training.steps
    assert tables["loss"]["content_layers"] == dict(recipe.loss.content_layers)
    tables["network"]["width"] = 2.0  # a copy
    assert recipe.network.width == 0.5


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_of_the_project(path):
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert from_dict(recipe.to_dict()) == recipe


def test_the_recipe_of_a_loss_network_is_another_kind():
    with pytest.raises(ValueError, match="task is None"):
        load_recipe(RECIPES[0].parents[1] / "tools" / "distill_pocket" / "pocket.toml")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_card_counts_the_stages_of_its_recipe(path):
    recipe, made = load_recipe(path), card(path.stem)
    trainings = [part.training for part in recipe.parts]
    assert made["steps"] == recipe.steps == sum(training.steps for training in trainings)
    for training, stage in zip(trainings, made["stages"], strict=True):
        assert {key: value for key, value in stage.items() if key != "seconds"} == {
            key: getattr(training, key) for key in OF_STAGES
        }
    assert (made["started_from"] or {"network": ""})["network"] == recipe.start_from


STAGES = """
    task = "style"
    [loss]
    tv_weight = 1e-4
    [training]
    size = 256
    batch_size = 1
    [[stages]]
    steps = 300
    size = 128
    batch_size = 4
    loss.tv_weight = 1e-5
    loss.style_layers = { relu1_2 = 1, relu2_2 = 2 }
    network.width = 0.5
    [[stages]]
    steps = 100
    style.size = 384
    learning_rate = 1
"""


def test_stages_say_what_differs(write):
    recipe = load_recipe(write(STAGES))
    first, second = recipe.parts
    common = replace(recipe, stages=())
    assert recipe.steps == 400
    assert first == replace(
        common,
        training=replace(common.training, steps=300, size=128, batch_size=4),
        loss=replace(common.loss, tv_weight=1e-5, style_layers={"relu1_2": 1.0, "relu2_2": 2.0}),
        network=replace(common.network, width=0.5),
    )
    training = replace(common.training, steps=100, learning_rate=1.0)
    assert second == replace(common, training=training, style=StyleConfig("", 384))
    assert common.parts == (common,)
    assert from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert load_recipe(write(STAGES), "paper").parts == (load_recipe(write(STAGES), "paper"),)


def test_overrides_hold_for_every_stage_and_steps_are_shared(write):
    path = write(STAGES)
    overrides = {
        "training.batch_size": 2,
        "loss.tv_weight": 3,
        "loss.style_layers.relu1_2": 9,
        "style.size": 8,
    }
    parts = load_recipe(path, overrides=overrides).parts
    for part in parts:
        assert (part.training.batch_size, part.loss.tv_weight, part.style.size) == (2, 3.0, 8)
        assert part.loss.style_layers["relu1_2"] == 9.0
    assert [part.training.size for part in parts] == [128, 256]
    assert [part.training.steps for part in load_recipe(path, overrides={"training.steps": 40}).parts] == [
        30,
        10,
    ]
    assert [part.training.steps for part in load_recipe(path, overrides={"training.steps": 1}).parts] == [
        1,
        1,
    ]
    smoke = load_recipe(path, "smoke")
    assert [(part.training.steps, part.training.size) for part in smoke.parts] == [(3, 64), (1, 64)]


def test_a_further_stage_is_the_last_one_again(write):
    recipe = load_recipe(write(STAGES)).further(50)
    assert [part.training.steps for part in recipe.parts] == [300, 100, 50]
    assert replace(recipe.parts[2], training=recipe.parts[1].training) == recipe.parts[1]
    assert [part.training.steps for part in load_recipe("style").further(50).parts] == [40_000, 50]


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("step = 3", r"stage 1: \[training\]: unknown key 'step'; known: steps, "),
        ("steps = 0", r"stage 1: training\.steps must be positive, got 0"),
        ("loss.tv = 0", r"stage 1: \[loss\]: unknown key 'tv'"),
        ("loss = 3", r"stage 1: loss is 3; expected a table"),
        ("loss.style_layers = {}", r"stage 1: loss\.style_layers must name a layer"),
        ("schedule = 'step'", r"stage 1: training\.schedule is 'step'; use constant or cosine or trapezoid"),
    ],
)
def test_a_mistake_in_a_stage_is_named(write, stage, message):
    with pytest.raises(ValueError, match=rf"mine\.toml: {message}"):
        load_recipe(write(f'task = "style"\n[[stages]]\n{stage}'))


def test_stages_are_tables(write):
    with pytest.raises(
        ValueError, match=r"mine\.toml: stages is 3; expected tables, each headed \[\[stages\]\]"
    ):
        load_recipe(write('task = "style"\nstages = 3'))


def test_restrict_reaches_the_stages(write):
    restricted = restrict(load_recipe(write(STAGES)), tiny_vgg.network(deepest="relu3_3"))
    layers = [list(part.loss.style_layers) for part in restricted.parts]
    assert layers == [["relu1_2", "relu2_2"], ["relu1_2", "relu2_2", "relu3_3"]]


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
    recipe = load_recipe("style")
    restricted = restrict(recipe, tiny_vgg.network(deepest="relu3_3"))
    assert list(restricted.loss.style_layers) == ["relu1_2", "relu2_2", "relu3_3"]
    assert restricted == replace(recipe, loss=restricted.loss)
    assert list(recipe.loss.style_layers) == list(STYLE_LAYERS)


def test_restrict_changes_nothing_where_nothing_is_missing():
    network = tiny_vgg.network(deepest="relu4_3")
    for task in ("style", "super-resolution"):
        recipe = load_recipe(task)
        assert restrict(recipe, network) == recipe


def test_restrict_refuses_what_is_left_without_a_layer():
    shallow = tiny_vgg.network(deepest="relu2_2")
    with pytest.raises(ValueError, match=r"'vgg16' has no relu3_3; it has relu1_1, .*relu2_2$"):
        restrict(load_recipe("style"), shallow)
    deep = {"loss.style_layers": {"relu4_3": 1.0}, "loss.content_layers": {"relu2_2": 1.0}}
    with pytest.raises(ValueError, match="'vgg16' has none of the style layers"):
        restrict(load_recipe("style", overrides=deep), shallow)


@pytest.mark.parametrize("kind", ["style_layers", "content_layers"])
def test_restrict_does_not_take_a_misspelt_layer_for_a_missing_one(kind):
    recipe = load_recipe("style", overrides={f"loss.{kind}.relu33": 1.0})
    with pytest.raises(ValueError, match=r"unknown layer 'relu33' in the recipe; known: relu1_1, "):
        restrict(recipe, tiny_vgg.network(deepest="relu4_3"))
