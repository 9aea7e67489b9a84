"""The presets are complete, say where each number comes from, and fit what they configure."""

from dataclasses import FrozenInstanceError, fields, replace

import pytest

from repro.losses import PerceptualLoss
from repro.presets import (
    MODERN,
    PAPER,
    PRESETS,
    REFERENCE,
    STYLE_LAYERS,
    LossConfig,
    NetworkConfig,
    TrainingConfig,
)
from repro.transform_nets import StyleTransferNet, SuperResolutionNet


def test_presets_by_name():
    assert dict(PRESETS) == {"paper": PAPER, "reference": REFERENCE, "modern": MODERN}
    assert len({preset.style.network for preset in PRESETS.values()}) == 3


@pytest.mark.parametrize("config", [LossConfig, NetworkConfig, TrainingConfig])
def test_every_field_has_a_source_in_every_preset(config):
    for field in fields(config):
        assert set(field.metadata) == set(PRESETS), field.name
        assert all(len(source) > 10 for source in field.metadata.values()), field.name


def test_values_of_the_paper_and_the_released_code():
    assert STYLE_LAYERS == ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
    assert (PAPER.style.loss.style_reduction, PAPER.style.loss.tv_reduction) == ("sum", "sum")
    assert (PAPER.style.network.norm, PAPER.style.network.upsample) == ("batch", "transposed")
    assert REFERENCE.style.loss.content_layers == {"relu3_3": 1.0}
    assert REFERENCE.style.loss.style_layers == dict.fromkeys(STYLE_LAYERS, 5.0)
    assert (REFERENCE.style.loss.style_reduction, REFERENCE.style.loss.tv_reduction) == ("mean", "half_sum")
    for preset in PRESETS.values():
        assert 1e-6 <= preset.style.loss.tv_weight <= 1e-4  # section 4.1
        assert preset.super_resolution.loss.content_layers == {"relu2_2": 1.0}
        assert preset.super_resolution.loss.style_layers == {}
        for task, steps, size in ((preset.style, 40_000, 256), (preset.super_resolution, 200_000, 288)):
            training = task.training
            assert (training.steps, training.size) == (steps, size)
            assert (training.batch_size, training.learning_rate) == (4, 1e-3)
    assert (PAPER.style.training.schedule, PAPER.style.training.crop) == ("constant", "whole")
    assert (PAPER.super_resolution.training.crop, PAPER.style.training.mirror) == ("patch", False)


def test_networks_of_the_paper_and_the_released_code():
    """The supplement's tables, train.lua's defaults, and the commands of its users for super-resolution."""
    options = {
        name: [
            tuple(task.network.arguments().values())[:4] for task in (preset.style, preset.super_resolution)
        ]
        for name, preset in PRESETS.items()
    }
    assert list(PAPER.style.network.arguments())[:4] == ["norm", "upsample", "padding", "output"]
    for preset in PRESETS.values():
        sizes = [
            (task.network.width, task.network.num_blocks, task.network.blocks)
            for task in (preset.style, preset.super_resolution)
        ]
        assert sizes == [(1.0, 5, "residual"), (1.0, 4, "residual")]
    assert options["paper"] == [
        ("batch", "transposed", "reflect-start", "tanh255"),
        ("batch", "transposed", "zero", "tanh255"),
    ]
    assert options["reference"] == [
        ("instance", "transposed", "reflect-start", "tanh"),
        ("batch", "transposed", "zero", "tanh"),
    ]
    assert PAPER.super_resolution.loss.tv_weight == 0  # not mentioned
    assert REFERENCE.style.loss.tv_weight == REFERENCE.super_resolution.loss.tv_weight == 1e-6
    for preset in (PAPER, REFERENCE):
        for task in (preset.style, preset.super_resolution):
            assert (task.loss.pixel_weight, task.loss.pixel_error) == (0.0, "squared")
            assert (task.training.schedule, task.training.mirror) == ("constant", False)
            assert task.training.optimizer == "adam"


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_presets_build_what_they_configure(preset):
    loss = PerceptualLoss(lambda image, layers: {}, **preset.style.loss.arguments())
    assert loss.style_layers == dict(preset.style.loss.style_layers)
    assert loss.tv_reduction == preset.style.loss.tv_reduction
    StyleTransferNet(**preset.style.network.arguments())
    assert PerceptualLoss(lambda image, layers: {}, **preset.super_resolution.loss.arguments())
    SuperResolutionNet(8, **preset.super_resolution.network.arguments())


def test_every_field_is_an_argument():
    changed = replace(PAPER.style.loss, pixel_weight=0.5, pixel_error="absolute")
    for config in (changed, REFERENCE.super_resolution.network):
        assert config.arguments() == {field.name: getattr(config, field.name) for field in fields(config)}


def test_restrict_leaves_out_style_layers_only():
    restricted = REFERENCE.style.loss.restrict(["relu1_2", "relu2_2"])
    assert restricted.style_layers == {"relu1_2": 5.0, "relu2_2": 5.0}
    assert restricted.content_layers == REFERENCE.style.loss.content_layers
    assert restricted.tv_weight == REFERENCE.style.loss.tv_weight
    assert len(REFERENCE.style.loss.style_layers) == 4
    assert REFERENCE.style.loss.restrict(STYLE_LAYERS) == REFERENCE.style.loss


def test_presets_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        PAPER.style.loss.tv_weight = 1.0
    with pytest.raises(TypeError):
        PAPER.style.loss.style_layers["relu1_2"] = 1.0
    with pytest.raises(TypeError):
        PRESETS["mine"] = PAPER
    PAPER.style.loss.arguments()["style_layers"]["relu1_2"] = 7.0
    assert PAPER.style.loss.style_layers["relu1_2"] == 1e-4
