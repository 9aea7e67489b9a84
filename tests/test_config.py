"""The presets are complete, say where each number comes from, and fit what they configure."""

from dataclasses import FrozenInstanceError, fields

import pytest

from repro.config import MODERN, PAPER, PRESETS, REFERENCE, STYLE_LAYERS, LossConfig, NetworkConfig
from repro.losses import PerceptualLoss
from repro.transform_nets import StyleTransferNet


def test_presets_by_name():
    assert dict(PRESETS) == {"paper": PAPER, "reference": REFERENCE, "modern": MODERN}
    assert len({preset.network for preset in PRESETS.values()}) == 3


@pytest.mark.parametrize("config", [LossConfig, NetworkConfig])
def test_every_field_has_a_source_in_every_preset(config):
    for field in fields(config):
        assert set(field.metadata) == set(PRESETS), field.name
        assert all(len(source) > 10 for source in field.metadata.values()), field.name


def test_values_of_the_paper_and_the_released_code():
    assert STYLE_LAYERS == ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
    assert (PAPER.loss.style_reduction, PAPER.loss.tv_reduction) == ("sum", "sum")
    assert (PAPER.network.norm, PAPER.network.upsample) == ("batch", "transposed")
    assert REFERENCE.loss.content_layers == {"relu3_3": 1.0}
    assert REFERENCE.loss.style_layers == dict.fromkeys(STYLE_LAYERS, 5.0)
    assert (REFERENCE.loss.style_reduction, REFERENCE.loss.tv_reduction) == ("mean", "half_sum")
    for preset in PRESETS.values():
        assert 1e-6 <= preset.loss.tv_weight <= 1e-4  # section 4.1


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_presets_build_what_they_configure(preset):
    loss = PerceptualLoss(lambda image, layers: {}, **preset.loss.arguments())
    assert loss.style_layers == dict(preset.loss.style_layers)
    assert loss.tv_reduction == preset.loss.tv_reduction
    StyleTransferNet(**preset.network.arguments())


def test_restrict_leaves_out_style_layers_only():
    restricted = REFERENCE.loss.restrict(["relu1_2", "relu2_2"])
    assert restricted.style_layers == {"relu1_2": 5.0, "relu2_2": 5.0}
    assert restricted.content_layers == REFERENCE.loss.content_layers
    assert restricted.tv_weight == REFERENCE.loss.tv_weight
    assert len(REFERENCE.loss.style_layers) == 4
    assert REFERENCE.loss.restrict(STYLE_LAYERS) == REFERENCE.loss


def test_presets_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        PAPER.loss.tv_weight = 1.0
    with pytest.raises(TypeError):
        PAPER.loss.style_layers["relu1_2"] = 1.0
    with pytest.raises(TypeError):
        PRESETS["mine"] = PAPER
    PAPER.loss.arguments()["style_layers"]["relu1_2"] = 7.0
    assert PAPER.loss.style_layers["relu1_2"] == 5e-4
