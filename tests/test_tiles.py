"""Tiles give what the whole gives: at every border, with every option, in memory that does not grow."""

import pytest
import torch

from repro.images import resize
from repro.presets import PRESETS
from repro.tiles import run_in_tiles
from repro.transform_nets import StyleTransferNet, SuperResolutionNet


def _batch(astronaut, height, width):
    """Two photos of different brightness and contrast."""
    image = resize(astronaut, (height, width))
    return torch.cat([image, 0.2 + 0.5 * image.flip(-1)])


def _used(network):
    """The network after a batch norm has seen something."""
    network.train()
    with torch.no_grad():
        network(torch.rand(2, 3, 40, 40))
    return network.eval()


@pytest.mark.parametrize(
    ("norm", "padding", "upsample", "blocks"),
    [
        ("instance", "reflect", "resize", 2),
        ("instance", "reflect-start", "transposed", 2),
        ("instance", "zero", "pixelshuffle", 1),
        ("instance", "reflect", "transposed", 0),
        ("batch", "reflect-start", "transposed", 1),
        ("none", "reflect", "resize", 1),
    ],
)
@pytest.mark.parametrize("size", [(130, 201), (9, 150)])
def test_style_transfer_in_tiles_is_that_of_the_whole(astronaut, norm, padding, upsample, blocks, size):
    options = {"norm": norm, "padding": padding, "upsample": upsample, "num_blocks": blocks}
    network = _used(StyleTransferNet(width=0.1, **options))
    image = _batch(astronaut, *size)
    whole, tiled = run_in_tiles(network, image, None), run_in_tiles(network, image, 64)
    assert tiled.shape == whole.shape == image.shape
    assert whole.std() > 0.02
    assert (tiled - whole).abs().max() < 2e-5


@pytest.mark.parametrize("scale", [4, 8])
@pytest.mark.parametrize(
    ("norm", "padding", "upsample", "output"),
    [
        ("none", "reflect", "resize", "residual"),
        ("batch", "zero", "transposed", "tanh255"),
        ("instance", "reflect", "pixelshuffle", "residual"),
    ],
)
def test_super_resolution_in_tiles_is_that_of_the_whole(astronaut, scale, norm, padding, upsample, output):
    options = {"norm": norm, "padding": padding, "upsample": upsample, "output": output, "num_blocks": 1}
    network = _used(SuperResolutionNet(scale, width=0.1, **options))
    image = _batch(astronaut, 21, 54)
    whole, tiled = run_in_tiles(network, image, None), run_in_tiles(network, image, 64)
    assert tiled.shape == whole.shape == (2, 3, scale * 21, scale * 54)
    assert (tiled - whole).abs().max() < 5e-6


def test_a_larger_photo_has_no_seams_as_it_has_with_statistics_of_each_tile(astronaut):
    """What tiles change of 640 x 480 px is far below a grey level."""
    network = StyleTransferNet(**PRESETS["modern"].style.network.arguments() | {"width": 0.25})
    image = resize(astronaut, (480, 640))
    whole, tiled = run_in_tiles(network, image, None), run_in_tiles(network, image, 160)
    difference = (tiled - whole).abs()
    assert difference.max() < 5e-5  # 1e-6 where it was measured
    assert difference.mean() < 5e-6
    alone = run_in_tiles(network, image[..., :160, :160], None)  # what a tile on its own would be
    assert (alone - whole[..., :160, :160]).abs()[..., :128, :128].mean() > 100 * difference.mean()


def test_memory_of_a_pass_depends_on_the_tile_only(astronaut):
    network = StyleTransferNet(width=0.1, num_blocks=1, norm="instance", padding="reflect")
    largest = {}
    for side in (256, 512):
        sizes = []

        def keep(module, x, y, sizes=sizes):
            sizes.append(0 if y.is_meta else y.numel())  # shapes alone take no memory

        hooks = [module.register_forward_hook(keep) for module in network.modules()]
        run_in_tiles(network, resize(astronaut, (side, side)), 64)
        largest[side] = max(sizes)
        for hook in hooks:
            hook.remove()
    assert largest[256] == largest[512] > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_networks_of_another_precision(astronaut, dtype):
    network = StyleTransferNet(width=0.1, num_blocks=1, norm="instance").eval()
    expected = run_in_tiles(network, astronaut, None)
    result = run_in_tiles(network.to(dtype), astronaut, 64)
    assert (
        result.dtype
        == run_in_tiles(network, astronaut, None).dtype
        == torch.promote_types(dtype, torch.float32)
    )
    assert (result - expected).abs().max() < (0.05 if dtype == torch.bfloat16 else 0.01)


def test_tiles_of_an_image_in_half_precision_are_computed_in_that_of_the_network(astronaut):
    network = StyleTransferNet(width=0.1, num_blocks=1, norm="instance").eval()
    whole, tiled = (run_in_tiles(network, astronaut.half(), tile) for tile in (None, 64))
    assert tiled.dtype == whole.dtype == torch.float32
    assert (tiled - whole).abs().max() < 2e-5


def test_the_network_is_left_as_it_was(astronaut):
    network = StyleTransferNet(width=0.1, num_blocks=1, norm="batch").train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    run_in_tiles(network, astronaut, 64)
    run_in_tiles(network, astronaut, None)
    assert network.training
    assert network.state_dict().keys() == before.keys()
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])


def test_what_cannot_be_tiled_is_named(astronaut):
    network = StyleTransferNet(width=0.1, num_blocks=1)
    with pytest.raises(ValueError, match="tile must be at least 64 px, got 63"):
        run_in_tiles(network, astronaut, 63)
    with pytest.raises(ValueError, match="expected shape"):
        run_in_tiles(network, astronaut[0])
