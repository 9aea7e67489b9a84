"""The loss network by layer: shapes, preprocessing, freezing, and the same numbers as a plain VGG."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from repro.downloads import cache_dir
from repro.loss_network import CAFFE, TORCHVISION, VARIANTS, LossNetwork, available_layers, resolve_auto
from repro.pretrained import save_weights
from repro.vgg_weights import _CACHE_NAME, CHANNELS, LAYERS, convolutions, find_loss_weights
from tiny_vgg import WIDTHS, network, tensors, write

# torchvision's layout: M is a pooling.
VGG16_D = [1, 1, "M", 2, 2, "M", 3, 3, 3, "M", 4, 4, 4, "M", 5, 5, 5]


def _plain_vgg(pool=nn.MaxPool2d):
    """Return a plain Sequential with the tiny weights as torchvision lays it out, and the layers' indices."""
    modules, taps, weights = [], {}, iter(tensors().values())
    names, channels = iter(LAYERS), 3
    for entry in VGG16_D:
        if entry == "M":
            modules.append(pool(2, 2))
            continue
        conv = nn.Conv2d(channels, WIDTHS[str(entry)], 3, padding=1)
        conv.weight.data, conv.bias.data = next(weights), next(weights)
        modules += [conv, nn.ReLU()]
        taps[next(names)] = len(modules)
        channels = WIDTHS[str(entry)]
    return nn.Sequential(*modules), taps


def _converted(name, caffe):
    index = dict(zip(LAYERS, (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), strict=True))
    state = {f"features.{index[f'relu{key[4:7]}']}{key[7:]}": value for key, value in tensors().items()}
    path = cache_dir() / f"{_CACHE_NAME[name]}.safetensors"
    save_weights(convolutions(state, caffe), path, {})
    return LossNetwork(name)


def test_layers_and_shapes():
    assert len(LAYERS) == 13
    assert LAYERS[0] == "relu1_1"
    assert LAYERS[-1] == "relu5_3"
    assert [CHANNELS[f"relu{b}_1"] for b in range(1, 6)] == [64, 128, 256, 512, 512]
    features = network()(torch.rand(2, 3, 37, 50))
    assert tuple(features) == LAYERS
    for layer, value in features.items():
        halvings = 2 ** (int(layer[4]) - 1)
        assert value.shape == (2, WIDTHS[layer[4]], 37 // halvings, 50 // halvings)
        assert (value >= 0).all()


def test_preprocessing_of_known_colors():
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    assert CAFFE(red).flatten().tolist() == pytest.approx([-103.939, -116.779, 255 - 123.68])
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    assert TORCHVISION(red).flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_the_caffe_weights_give_torchvisions_features(astronaut, pooling):
    # torchvision's entry for these weights takes RGB, 0..255 minus the mean.
    _converted("vgg16", caffe=True)
    ours = LossNetwork("vgg16", pooling=pooling)(astronaut)
    plain, taps = _plain_vgg(nn.MaxPool2d if pooling == "max" else nn.AvgPool2d)
    x = 255 * astronaut - torch.tensor([123.68, 116.779, 103.939]).view(3, 1, 1)
    with torch.no_grad():
        for layer in LAYERS:
            expected = plain[: taps[layer]](x)
            assert torch.allclose(ours[layer], expected, rtol=1e-4, atol=1e-4 * expected.max()), layer


def test_torchvisions_own_weights_are_brought_to_the_caffe_scale(astronaut):
    ours = _converted("vgg16-torchvision", caffe=False)(astronaut, ["relu3_3"])["relu3_3"]
    plain, taps = _plain_vgg()
    with torch.no_grad():
        expected = plain[: taps["relu3_3"]](TORCHVISION(astronaut))
    scale = VARIANTS["vgg16-torchvision"].feature_scale
    assert scale == 134.2  # calibrated on photos: relu3_3's mean square is that of the original weights
    assert torch.allclose(ours, scale * expected, rtol=1e-4, atol=1e-3)


def test_images_of_another_precision(astronaut):
    vgg = network()
    expected, found = vgg(astronaut), vgg(astronaut.double())
    assert all(torch.equal(expected[layer], found[layer]) for layer in expected)


def test_nothing_deeper_than_asked_is_built():
    cut = network(["relu3_1", "relu1_2"])
    assert cut.layers == ("relu1_2", "relu3_1")
    assert list(cut.convs) == ["conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1"]
    image = torch.rand(1, 3, 16, 16)
    full = network()(image, ["relu3_1", "relu1_2"])
    assert list(full) == ["relu1_2", "relu3_1"]
    assert all(torch.equal(full[layer], value) for layer, value in cut(image).items())


def test_the_pass_stops_at_the_deepest_layer_asked_for():
    vgg = network()
    vgg.convs["conv2_1"].register_forward_hook(lambda *args: pytest.fail("was run"))
    assert list(vgg(torch.rand(1, 3, 8, 8), ["relu1_2"])) == ["relu1_2"]


def test_frozen_in_evaluation_mode_and_gradient_to_the_image():
    vgg = network(["relu4_3"])
    assert not any(parameter.requires_grad for parameter in vgg.parameters())
    assert not nn.Sequential(vgg).train()[0].training
    image = torch.rand(1, 3, 16, 16, requires_grad=True)
    vgg(image)["relu4_3"].sum().backward()
    assert image.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in vgg.parameters())


def test_a_file_that_stops_early():
    vgg = network(deepest="relu2_2")
    assert vgg.layers == LAYERS[:4]
    with pytest.raises(
        ValueError, match="has no relu3_3, relu4_3; it has relu1_1, relu1_2, relu2_1, relu2_2"
    ):
        LossNetwork("vgg16", ["relu1_2", "relu3_3", "relu4_3"])


def test_layers_end_at_a_hole_and_heads_decide():
    weights = tensors()
    del weights["conv3_2.weight"]
    assert available_layers(weights) == LAYERS[:5]
    weights["head2_2.weight"] = torch.zeros(9, 5, 1, 1)
    assert available_layers(weights) == ("relu2_2",)


def test_a_head_is_applied_after_the_layer():
    weights = tensors("relu2_2")
    weights["head1_2.weight"], weights["head1_2.bias"] = torch.randn(9, 4, 1, 1), torch.randn(9)
    weights["head2_2.weight"], weights["head2_2.bias"] = torch.randn(11, 5, 1, 1), torch.randn(11)
    save_weights(weights, cache_dir() / "vgg16_caffe.safetensors", {})
    image = torch.rand(1, 3, 12, 12)
    headed = LossNetwork("vgg16")(image)
    assert list(headed) == ["relu1_2", "relu2_2"]
    bare = network(deepest="relu2_2")(image)
    for layer, value in headed.items():
        weight, bias = weights[f"head{layer[4:]}.weight"], weights[f"head{layer[4:]}.bias"]
        assert torch.allclose(value, F.relu(F.conv2d(bare[layer], weight, bias)), rtol=1e-4, atol=1e-3)


def test_bad_arguments_are_named():
    write()
    with pytest.raises(ValueError, match="unknown loss network 'vgg19'"):
        LossNetwork("vgg19")
    with pytest.raises(ValueError, match="unknown layer relu9_9"):
        LossNetwork("vgg16", ["relu1_1", "relu9_9"])
    with pytest.raises(TypeError, match="got the string 'relu1_1'"):
        LossNetwork("vgg16", "relu1_1")
    with pytest.raises(ValueError, match="at least one layer"):
        LossNetwork("vgg16", [])
    with pytest.raises(ValueError, match="pooling"):
        LossNetwork("vgg16", pooling="min")
    vgg = LossNetwork("vgg16", ["relu1_1"])
    with pytest.raises(ValueError, match="has no relu2_1"):
        vgg(torch.rand(1, 3, 8, 8), ["relu2_1"])
    with pytest.raises(ValueError, match="expected shape"):
        vgg(torch.rand(3, 8, 8))


def test_an_image_can_be_too_small():
    vgg = network()
    assert vgg(torch.rand(1, 3, 16, 16))["relu5_3"].shape[-2:] == (1, 1)
    with pytest.raises(ValueError, match=r"20 x 15 px is too small for relu5_3, which needs 16 x 16"):
        vgg(torch.rand(1, 3, 15, 20))
    assert vgg(torch.rand(1, 3, 1, 1), ["relu1_2"])["relu1_2"].shape[-2:] == (1, 1)


def test_auto_takes_the_papers_network_where_it_is():
    assert resolve_auto() == "pocket"
    write()
    assert resolve_auto() == "vgg16"
    assert LossNetwork().name == "vgg16"


def test_the_real_weights(vgg16_file, monkeypatch, astronaut):
    monkeypatch.setenv("REPRO_CACHE", str(vgg16_file.parent))
    vgg = LossNetwork("auto")
    assert vgg.name == "vgg16"
    assert vgg.layers == LAYERS[:7]
    assert vgg16_file.name in vgg.source
    features = vgg(astronaut)
    assert all(features[layer].shape[1] == CHANNELS[layer] for layer in vgg.layers)
    # Caffe's scale: a photo's features are in the tens to hundreds; in [0, 1] input they would be near 1.
    assert 10 < features["relu3_3"].square().mean().sqrt() < 1000


def test_pocket_has_the_channels_of_vgg16(astronaut):
    if find_loss_weights("pocket") is None:
        pytest.skip("src/repro/weights/pocket.safetensors is not there")
    pocket = LossNetwork("pocket")
    for layer, value in pocket(astronaut).items():
        halvings = 2 ** (int(layer[4]) - 1)
        assert value.shape == (1, CHANNELS[layer], 128 // halvings, 128 // halvings)
        assert value.isfinite().all()
        assert value.max() > 0
    assert {"relu1_2", "relu2_2", "relu3_3", "relu4_3"} <= set(pocket.layers)
