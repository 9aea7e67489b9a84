"""The networks against the supplement's tables, and properties that hold for every option."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repro.transform_nets import StyleTransferNet, SuperResolutionNet, layer_shapes

NORMS = ["batch", "instance", "none"]
UPSAMPLES = ["transposed", "resize", "pixelshuffle"]
STYLE_PADDINGS = ["reflect-start", "reflect", "zero"]

STYLE_TABLE = [
    ("input", (3, 256, 256)),
    ("reflection pad 40 x 40", (3, 336, 336)),
    ("32 x 9 x 9 conv, stride 1", (32, 336, 336)),
    ("64 x 3 x 3 conv, stride 2", (64, 168, 168)),
    ("128 x 3 x 3 conv, stride 2", (128, 84, 84)),
    ("residual block, 128 filters", (128, 80, 80)),
    ("residual block, 128 filters", (128, 76, 76)),
    ("residual block, 128 filters", (128, 72, 72)),
    ("residual block, 128 filters", (128, 68, 68)),
    ("residual block, 128 filters", (128, 64, 64)),
    ("64 x 3 x 3 conv, stride 1/2", (64, 128, 128)),
    ("32 x 3 x 3 conv, stride 1/2", (32, 256, 256)),
    ("3 x 9 x 9 conv, stride 1", (3, 256, 256)),
]
SR4_TABLE = [
    ("input", (3, 72, 72)),
    ("64 x 9 x 9 conv, stride 1", (64, 72, 72)),
    *[("residual block, 64 filters", (64, 72, 72))] * 4,
    ("64 x 3 x 3 conv, stride 1/2", (64, 144, 144)),
    ("64 x 3 x 3 conv, stride 1/2", (64, 288, 288)),
    ("3 x 9 x 9 conv, stride 1", (3, 288, 288)),
]
SR8_TABLE = [
    ("input", (3, 36, 36)),
    ("64 x 9 x 9 conv, stride 1", (64, 36, 36)),
    *[("residual block, 64 filters", (64, 36, 36))] * 4,
    ("64 x 3 x 3 conv, stride 1/2", (64, 72, 72)),
    ("64 x 3 x 3 conv, stride 1/2", (64, 144, 144)),
    ("64 x 3 x 3 conv, stride 1/2", (64, 288, 288)),
    ("3 x 9 x 9 conv, stride 1", (3, 288, 288)),
]


def small_style_net(**options):
    return StyleTransferNet(**{"width": 0.125, "num_blocks": 2} | options)


def small_sr_net(scale=4, **options):
    return SuperResolutionNet(scale, **{"width": 0.125, "num_blocks": 1} | options)


# The supplement's tables


@pytest.mark.parametrize(
    ("net", "size", "table"),
    [
        (StyleTransferNet(), 256, STYLE_TABLE),
        (SuperResolutionNet(4), 72, SR4_TABLE),
        (SuperResolutionNet(8), 36, SR8_TABLE),
    ],
    ids=["style", "x4", "x8"],
)
def test_activation_sizes_are_the_supplements(net, size, table):
    assert layer_shapes(net, size) == table


@pytest.mark.parametrize(
    ("net", "count"),
    [(StyleTransferNet(), 1_679_235), (SuperResolutionNet(4), 401_859), (SuperResolutionNet(8), 438_915)],
    ids=["style", "x4", "x8"],
)
def test_numbers_of_learnable_parameters(net, count):
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == count


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_normalization_and_resizing_do_not_change_the_number_of_parameters(norm):
    net = StyleTransferNet(norm=norm, upsample="resize", padding="reflect")
    assert sum(p.numel() for p in net.parameters()) == 1_679_235


def test_early_edition_of_the_supplement_is_zero_padding():
    sizes = [shape[1] for _, shape in layer_shapes(StyleTransferNet(padding="zero"), 256)]
    assert sizes == [256, 256, 128, 64, 64, 64, 64, 64, 64, 128, 256, 256]


def test_half_width_halves_the_filters_of_every_row_but_the_last():
    half = [shape[0] for _, shape in layer_shapes(StyleTransferNet(width=0.5), 256)]
    full = [shape[0] for _, shape in STYLE_TABLE]
    assert half == [3, 3, *(c // 2 for c in full[2:-1]), 3]


def test_layer_shapes_matches_a_real_pass_and_leaves_the_network_alone():
    net = small_style_net().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    rows = layer_shapes(net, (30, 41))
    assert rows[0][1] == (3, 30, 41) and rows[1][1] == (3, 64, 76)
    assert net.training and all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    seen = []
    for layer in net.layers:
        layer.register_forward_hook(lambda layer, _, y: seen.append((layer.label, tuple(y.shape[1:]))))
    net.eval()(torch.rand(1, 3, 30, 41))
    assert rows[1:] == seen


# Sizes


@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from(STYLE_PADDINGS), st.sampled_from(UPSAMPLES))
def test_style_output_has_the_inputs_size(height, width, padding, upsample):
    net = small_style_net(norm="instance", padding=padding, upsample=upsample).eval()
    with torch.no_grad():
        out = net(torch.rand(1, 3, height, width))
    assert out.shape == (1, 3, height, width) and torch.isfinite(out).all()


@given(
    st.integers(1, 20), st.integers(1, 20), st.sampled_from([4, 8]), st.sampled_from(["zero", "reflect"]),
    st.sampled_from(UPSAMPLES), st.sampled_from(["tanh", "residual"]),
)  # fmt: skip
def test_super_resolution_multiplies_the_size(height, width, scale, padding, upsample, output):
    net = small_sr_net(scale, padding=padding, upsample=upsample, output=output, norm="none").eval()
    with torch.no_grad():
        out = net(torch.rand(1, 3, height, width))
    assert out.shape == (1, 3, scale * height, scale * width) and torch.isfinite(out).all()


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (4, 4), (5, 3)])
@pytest.mark.parametrize(
    "net",
    [*(small_style_net(norm="instance", padding=p) for p in STYLE_PADDINGS), small_sr_net(padding="reflect")],
    ids=[*STYLE_PADDINGS, "x4-reflect"],
)
def test_tiny_pictures(net, size):
    with torch.no_grad():
        out = net.eval()(torch.rand(1, 3, *size))
    assert out.shape[-2:] == (net.factor * size[0], net.factor * size[1]) and torch.isfinite(out).all()


# Padding


def test_padding_is_felt_at_the_frame_only():
    options = {"num_blocks": 1, "width": 0.125, "norm": "none"}
    mirrored, zero = StyleTransferNet(**options), StyleTransferNet(padding="zero", **options)
    zero.load_state_dict(mirrored.state_dict())
    image = torch.rand(1, 3, 95, 95)
    with torch.no_grad():
        a, b = mirrored(image), zero(image)
    torch.testing.assert_close(a[..., 32:-32, 32:-32], b[..., 32:-32, 32:-32], atol=1e-6, rtol=0)
    assert (a - b)[..., 0, :].abs().max() > 1e-4


def test_with_reflection_everywhere_a_constant_image_stays_constant_to_the_edge():
    image = torch.rand(1, 3, 1, 1).expand(1, 3, 20, 24)
    options = {"norm": "none", "upsample": "resize"}
    with torch.no_grad():
        mirrored = small_style_net(padding="reflect", **options)(image)
        zero = small_style_net(padding="zero", **options)(image)
    torch.testing.assert_close(mirrored, mirrored[..., :1, :1].expand_as(mirrored), atol=1e-5, rtol=0)
    assert (zero - zero[..., 10:11, 10:11]).abs().max() > 1e-4


def test_a_side_that_is_no_multiple_of_4_grows_at_its_end_and_is_cropped_there():
    net = small_style_net(padding="reflect", norm="none")
    image = torch.rand(1, 3, 21, 30)
    grown = torch.nn.functional.pad(image, (0, 2, 0, 3), mode="reflect")
    with torch.no_grad():
        torch.testing.assert_close(net(image), net(grown)[..., :21, :30])


# Whole networks


@pytest.mark.parametrize("upsample", UPSAMPLES)
@pytest.mark.parametrize("norm", NORMS)
def test_gradients_reach_every_parameter(norm, upsample):
    for net in (small_style_net(norm=norm, upsample=upsample), small_sr_net(norm=norm, upsample=upsample)):
        net(torch.rand(2, 3, 16, 16)).square().sum().backward()
        for name, parameter in net.named_parameters():
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        # the bias of a convolution that is normalised next has no effect on the output
        assert all(p.grad.abs().max() > 0 for n, p in net.named_parameters() if n.endswith("weight"))


@pytest.mark.parametrize("make", [small_style_net, small_sr_net])
@pytest.mark.parametrize("norm", ["instance", "none"])
def test_each_image_of_a_batch_is_transformed_on_its_own(make, norm, astronaut):
    net = make(norm=norm)
    dark = astronaut[..., :48, :48] * 0.3
    with torch.no_grad():
        alone = net(dark)
        together = net(torch.cat([dark, astronaut[..., -48:, -48:]]))
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("make", [small_style_net, small_sr_net])
def test_instance_norm_works_the_same_in_training_and_evaluation(make, astronaut):
    net = make(norm="instance")
    with torch.no_grad():
        assert torch.equal(net.train()(astronaut), net.eval()(astronaut))
    assert not any("running" in name for name in net.state_dict())


def test_batch_norm_uses_running_statistics_in_evaluation(astronaut):
    net = small_style_net()
    with torch.no_grad():
        in_training = net.train()(astronaut)
        assert not torch.allclose(net.eval()(astronaut), in_training, atol=1e-3)


@given(st.integers(1, 3), st.integers(1, 3))
def test_super_resolution_commutes_with_translation_in_the_interior(down, right):
    net = small_sr_net(norm="none").eval()
    image = torch.rand(1, 3, 40, 40)
    with torch.no_grad():
        a = net(image)[..., 64:96, 64:96]
        b = net(image.roll((down, right), (2, 3)))[
            ..., 64 + 4 * down : 96 + 4 * down, 64 + 4 * right : 96 + 4 * right
        ]
    torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_style_transfer_commutes_with_translation_by_its_stride():
    net = small_style_net(norm="none", num_blocks=1).eval()
    image = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        a = net(image)[..., 40:56, 40:56]
        b = net(image.roll(4, 3))[..., 40:56, 44:60]
    torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_first_convolution_sees_0_to_255_minus_the_mean_pixel():
    net = small_style_net(padding="zero")
    seen = []
    net.layers.conv.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    net(torch.ones(1, 3, 8, 8))
    torch.testing.assert_close(seen[0][0, :, 0, 0], 255 - torch.tensor([123.68, 116.779, 103.939]))


def silence(net):
    """Make the last convolution give 0."""
    torch.nn.init.zeros_(net.layers.output.conv.weight)
    torch.nn.init.zeros_(net.layers.output.conv.bias)
    return net.eval()


@pytest.mark.parametrize(
    ("output", "rgb"),
    [
        ("tanh", (123.68, 116.779, 103.939)),
        ("linear", (123.68, 116.779, 103.939)),
        ("tanh255", (127.5, 127.5, 127.5)),
    ],
)
def test_output_zero_is_the_mean_pixel_or_middle_gray(output, rgb):
    out = silence(small_style_net(output=output))(torch.rand(1, 3, 8, 8))
    torch.testing.assert_close(out, (torch.tensor(rgb) / 255).view(1, 3, 1, 1).expand(1, 3, 8, 8))


@pytest.mark.parametrize(
    ("output", "low", "high"),
    [("tanh", (123.68 - 150) / 255, (123.68 + 150) / 255), ("tanh255", 0, 1)],
)
def test_saturated_tanh_gives_the_documented_range(output, low, high):
    net = silence(small_style_net(output=output))
    for bias, limit in ((-1e3, low), (1e3, high)):
        torch.nn.init.constant_(net.layers.output.conv.bias, bias)
        assert net(torch.rand(1, 3, 8, 8))[:, 0].unique().item() == pytest.approx(limit, abs=1e-6)


@pytest.mark.parametrize("output", ["linear", "residual"])
def test_what_is_added_is_on_the_scale_0_to_255(output):
    net, image = silence(small_sr_net(output=output)), torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        before = net(image)
        net.layers.output.conv.bias.fill_(51)
        torch.testing.assert_close(net(image), before + 0.2)


def test_residual_output_starts_from_bicubic_upsampling(astronaut):
    from repro.images import resize

    out = silence(small_sr_net(output="residual"))(astronaut)
    torch.testing.assert_close(out.clamp(0, 1), resize(astronaut, (512, 512)))


def test_reference_initialization_is_torch7s():
    net = StyleTransferNet(init="reference")
    up = net.layers.up1.conv  # 128 -> 64: PyTorch's own default would take 64 x 9 as fan in
    bound = 1 / math.sqrt(128 * 9)
    assert 0.98 * bound < up.weight.abs().max().item() <= bound
    assert up.bias.abs().max().item() <= bound
    assert up.bias.unique().numel() > 1
    scale = net.layers.down2.norm.weight
    assert 0 <= scale.min() < 0.1 and 0.9 < scale.max() <= 1 and 0.35 < scale.mean() < 0.65
    assert net.layers.down2.norm.bias.abs().max() == 0


def test_pytorch_initialization_starts_normalization_at_scale_1():
    net = small_style_net(init="pytorch")
    assert (net.layers.down2.norm.weight == 1).all()
    bound = 1 / math.sqrt(net.layers.up1.conv.out_channels * 9)
    assert 0.8 * bound < net.layers.up1.conv.weight.abs().max().item() <= bound


@pytest.mark.parametrize("make", [small_style_net, small_sr_net])
def test_bfloat16_autocast_is_close_and_gives_float32(make, astronaut):
    net = make(norm="instance").eval()
    with torch.no_grad():
        exact = net(astronaut)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = net(astronaut)
    assert mixed.dtype == torch.float32
    assert (mixed - exact).abs().mean() < 0.01 < exact.std()


@pytest.mark.parametrize("make", [small_style_net, small_sr_net])
def test_channels_last_gives_the_same_image(make, astronaut):
    net = make(norm="instance").eval()
    with torch.no_grad():
        expected = net(astronaut)
        net = net.to(memory_format=torch.channels_last)
        out = net(astronaut.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(out, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "make",
    [
        small_style_net,
        partial(small_style_net, output="tanh255"),
        small_sr_net,
        partial(small_sr_net, output="residual"),
    ],
)
def test_an_image_of_another_precision_is_taken_in_that_of_the_weights(make, astronaut):
    net = make().eval()
    with torch.no_grad():
        expected = net(astronaut)
        torch.testing.assert_close(net(astronaut.double()), expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(net(astronaut.half()), expected, atol=0.01, rtol=0)
        torch.testing.assert_close(net.bfloat16()(astronaut), expected, atol=0.05, rtol=0)


@pytest.mark.parametrize(
    "net",
    [
        small_style_net(norm="instance"),
        small_style_net(norm="instance", upsample="resize", padding="reflect"),
        small_sr_net(norm="none", upsample="pixelshuffle", output="residual"),
    ],
    ids=["style", "style-modern", "super-resolution"],
)
def test_exported_program_takes_other_sizes(net):
    net = net.eval()
    # multiples of 4: that the crop of other sizes is right is beyond the solver (ONNX export needs no proof)
    sides = {2: 4 * torch.export.Dim("height", min=4), 3: 4 * torch.export.Dim("width", min=4)}
    program = torch.export.export(net, (torch.rand(1, 3, 32, 40),), dynamic_shapes={"image": sides})
    image = torch.rand(1, 3, 20, 52)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(image), net(image), atol=1e-5, rtol=0)


# Bad input


@pytest.mark.parametrize("net", [small_style_net(), small_sr_net()], ids=["style", "x4"])
@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), TypeError, "uint8"),
        (torch.zeros(3, 8, 8), ValueError, r"\(3, 8, 8\)"),
        (torch.zeros(1, 1, 8, 8), ValueError, r"\(1, 1, 8, 8\)"),
        (torch.zeros(1, 4, 8, 8), ValueError, r"\(1, 4, 8, 8\)"),
        (torch.zeros(1, 3, 0, 8), ValueError, r"\(1, 3, 0, 8\)"),
        (torch.zeros(0, 3, 8, 8), ValueError, r"\(0, 3, 8, 8\)"),
    ],
)
def test_what_is_not_an_image_is_refused(net, image, error, message):
    with pytest.raises(error, match=message):
        net(image)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (StyleTransferNet, {"norm": "layer"}, "unknown norm 'layer'.*'instance'"),
        (StyleTransferNet, {"upsample": "bilinear"}, "unknown upsample 'bilinear'.*'resize'"),
        (StyleTransferNet, {"padding": "same"}, "unknown padding 'same'.*'reflect-start'"),
        (StyleTransferNet, {"output": "residual"}, "unknown output 'residual'.*'tanh'"),
        (StyleTransferNet, {"init": "xavier"}, "unknown init 'xavier'.*'reference'"),
        (StyleTransferNet, {"width": 0}, "width=0"),
        (StyleTransferNet, {"num_blocks": -1}, "num_blocks=-1"),
        (SuperResolutionNet, {"scale": 3}, "unknown scale 3.*4, 8"),
        (SuperResolutionNet, {"padding": "reflect-start"}, "unknown padding 'reflect-start'.*'zero'"),
        (SuperResolutionNet, {"output": "sigmoid"}, "unknown output 'sigmoid'.*'residual'"),
    ],
)
def test_unknown_option_values_are_named_with_the_known_ones(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


@pytest.mark.parametrize("make", [StyleTransferNet, SuperResolutionNet])
def test_plain_blocks_have_the_same_weights_and_no_identity(make):
    torch.manual_seed(0)
    residual, plain = (
        make(width=0.1, num_blocks=2, norm="none", blocks=kind) for kind in ("residual", "plain")
    )
    plain.load_state_dict(residual.state_dict())
    assert [block.identity for block in plain.modules() if hasattr(block, "identity")] == [False, False]
    image = torch.rand(1, 3, 24, 24)
    assert not torch.allclose(residual(image), plain(image))
    with pytest.raises(ValueError, match="blocks"):
        make(blocks="dense")
