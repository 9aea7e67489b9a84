"""A network made wider computes the same, and its added filters learn."""

import pytest
import torch
from torch import nn

from repro import StyleTransferNet, SuperResolutionNet
from repro.errors import AssetError
from repro.pretrained import load_weights
from repro.training.starting_weights import widened

NETS = [
    lambda width: StyleTransferNet(width=width, num_blocks=2),
    lambda width: StyleTransferNet(
        width=width, num_blocks=1, norm="instance", upsample="resize", padding="reflect"
    ),
    lambda width: StyleTransferNet(width=width, num_blocks=1, norm="none", upsample="pixelshuffle"),
    lambda width: SuperResolutionNet(4, width=width, num_blocks=1, norm="none", output="residual"),
]


def pair(net, narrow=0.125, wide=0.25):
    torch.manual_seed(3)
    return net(narrow), net(wide)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("wide", [0.125, 0.25, 0.34])
def test_it_computes_the_same(net, wide):
    narrow, network = pair(net, wide=wide)
    narrow(torch.rand(2, 3, 24, 24))  # gives batch normalisation statistics of its own
    untouched = {key: value.clone() for key, value in network.state_dict().items()}
    state = widened(narrow.state_dict(), network)
    for key, value in network.state_dict().items():
        assert torch.equal(value, untouched[key])
    load_weights(network, state, "narrow")
    image = torch.rand(1, 3, 17, 22)
    with torch.no_grad():
        expected, found = (it.eval()(image) for it in (narrow, network))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_added_filters_keep_the_networks_own_values():
    narrow, network = pair(NETS[0])
    own, state = network.state_dict(), widened(narrow.state_dict(), network)
    assert torch.equal(state["layers.down1.conv.weight"][8:], own["layers.down1.conv.weight"][8:])
    up = "layers.up1.conv.weight"  # (channels, filters, height, width)
    assert torch.equal(state[up][:, 8:], own[up][:, 8:])


def test_added_filters_are_not_copies_and_learn():
    narrow, network = pair(NETS[1])
    load_weights(network, widened(narrow.state_dict(), network), "narrow")
    image = torch.rand(1, 3, 24, 24)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    for _ in range(2):  # in the first step nothing listens to the added filters
        optimizer.zero_grad()
        (network(image) - image).square().mean().backward()
        optimizer.step()
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and module.out_channels > 3:
            change = (module.weight - before[f"{name}.weight"]).flatten(1)
            assert bool(change.any(1).all()), name
            assert torch.linalg.matrix_rank(change) > module.out_channels // 2, name


def test_what_does_not_fit_is_left_to_the_check():
    _, network = pair(NETS[1])
    for other in (NETS[0](0.125), NETS[1](0.5)):
        with pytest.raises(AssetError, match="other: "):
            load_weights(network, widened(other.state_dict(), network), "other")
