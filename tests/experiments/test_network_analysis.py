"""Receptive fields and costs against numbers worked out by hand."""

import pytest
import torch
from torch import nn

from repro.experiments import cost, receptive_field
from repro.experiments.support.network_analysis import (
    effective_side,
    field_side,
    full_size,
    influence,
    multiplications,
    small_inside,
)


def test_the_field_of_one_convolution_is_its_kernel():
    conv = nn.Conv2d(3, 4, 5, padding=2)
    seen = influence(conv, 21, [10])[10]
    assert field_side(seen) == 5
    assert (seen > 0).sum() == 25
    assert effective_side(seen, 10, 1.0) == 5


def test_what_is_counted_stays_where_it_is():
    conv = nn.Conv2d(3, 4, 5, padding=2)
    assert multiplications(conv, (3, 10, 10)) == 100 * 4 * 3 * 25
    assert conv.weight.device.type == "cpu"


def test_the_side_that_holds_a_share():
    seen = torch.zeros(9, 9)
    seen[4, 4], seen[4, 6] = 9.0, 1.0
    assert effective_side(seen, 4, 0.9) == 1
    assert effective_side(seen, 4, 0.95) == 5


def test_receptive_fields_and_their_growth():
    data = receptive_field.run("smoke").data
    rows = {(row["network"], row["blocks"]): row for row in data["rows"]}
    # Full size: 9 + 2 a 3x3 convolution + 8. Four 3x3 around the blocks, two in each of five blocks.
    assert rows["full", 5]["side"] == {"lowest": 45, "highest": 45}
    assert rows["full", 0]["side"] == {"lowest": 25, "highest": 25}
    assert data["growth"] == {"full": 2.0, "quarter": 8.0}
    assert rows["quarter", 5]["side"]["lowest"] > 2 * 45
    assert rows["quarter", 5]["effective_side"]["highest"] < rows["quarter", 5]["side"]["highest"]


def test_depth_is_equal():
    def convolutions(network):
        return [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]

    kernels = [[conv.kernel_size for conv in convolutions(net)] for net in (small_inside(), full_size())]
    assert kernels[0] == kernels[1]
    x = torch.rand(1, 3, 16, 24)
    assert full_size(4, 1)(x).shape == x.shape


def test_multiplications_are_the_papers_formula():
    data = cost.run("smoke").data
    rows = {row["case"]: row for row in data["rows"]}
    for case, expected in data["formula"].items():
        assert rows[case]["multiplications"] == expected
    assert data["formula"]["block, 32 channels, full size"] == 2 * 9 * 256 * 256 * 32**2
    small, large = (rows[f"block, {name}"]["multiplications"] for name in _BLOCKS)
    assert small == large  # C filters at full size, D C filters at a size of 1 / D
    assert rows["network, a quarter inside"]["parameters"] == 1_676_035
    assert rows["network, 128 channels, full size"]["parameters"] == 1_676_035


_BLOCKS = ("32 channels, full size", "128 channels, a quarter")


def test_counting_computes_nothing():
    conv = nn.Conv2d(2, 5, 3, padding=1)
    assert multiplications(conv, (2, 100_000, 100_000)) == 9 * 2 * 5 * 10**10


@pytest.mark.parametrize("size", [96])
def test_an_image_that_is_too_small_is_refused(size, monkeypatch):
    monkeypatch.setitem(receptive_field.SETTINGS, "smoke", {"size": size, "width": 0.5, "blocks": [5]})
    with pytest.raises(ValueError, match=r"an image of 96 px is too small for a field of \d+ px"):
        receptive_field.run("smoke")
