"""The blocks of the transformation networks against PyTorch's own operations and answers known by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from repro.blocks import ConvLayer, InstanceNorm, ReflectionPad, ResidualBlock, UpsampleLayer


@given(st.integers(5, 12), st.integers(5, 12))
def test_reflection_pad_is_pytorchs_where_that_works(height, width):
    x = torch.rand(2, 3, height, width)
    assert torch.equal(ReflectionPad(4)(x), torch.nn.functional.pad(x, (4, 4, 4, 4), mode="reflect"))


def test_reflection_pad_goes_back_and_forth_over_a_short_side():
    row = torch.tensor([0.0, 1.0, 2.0]).view(1, 1, 1, 3)
    padded = ReflectionPad(5)(row)
    assert padded.shape == (1, 1, 11, 13)
    assert padded[0, 0, 0].tolist() == [1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]


def test_reflection_pad_to_a_multiple_keeps_the_corner():
    x = torch.rand(1, 3, 5, 6)
    padded = ReflectionPad(multiple=4, minimum=8)(x)
    assert padded.shape == (1, 3, 8, 8) and torch.equal(padded[..., :5, :6], x)


@pytest.mark.parametrize("padding", ["none", "zero", "reflect"])
def test_residual_block_with_zero_weights_is_the_cropped_identity(padding):
    block = ResidualBlock(4, norm="none", padding=padding)
    for parameter in block.parameters():
        torch.nn.init.zeros_(parameter)
    x = torch.randn(2, 4, 9, 8)  # negative values too: there is no ReLU after the addition
    assert torch.equal(block(x), x[..., 2:-2, 2:-2] if padding == "none" else x)


@pytest.mark.parametrize("padding", ["none", "zero", "reflect"])
def test_a_plain_block_is_a_residual_block_without_the_identity(padding):
    residual = ResidualBlock(4, norm="instance", padding=padding).double()
    plain = ResidualBlock(4, norm="instance", padding=padding, identity=False).double()
    plain.load_state_dict(residual.state_dict())
    x = torch.randn(2, 4, 9, 8, dtype=torch.float64)
    identity = x[..., 2:-2, 2:-2] if padding == "none" else x
    assert torch.allclose(residual(x) - plain(x), identity, rtol=0, atol=1e-12)


def test_residual_block_is_conv_norm_relu_conv_norm_plus_identity():
    block = ResidualBlock(4, norm="instance", padding="none").double()
    x = torch.randn(2, 4, 9, 8, dtype=torch.float64)
    norm = torch.nn.functional.instance_norm
    y = norm(torch.nn.functional.conv2d(x, block.conv1.weight, block.conv1.bias)).relu()
    y = norm(torch.nn.functional.conv2d(y, block.conv2.weight, block.conv2.bias))
    torch.testing.assert_close(block(x), y + x[..., 2:-2, 2:-2])


def constant_upsampling(upsample):
    layer = UpsampleLayer(2, 3, upsample=upsample, norm="none")
    torch.nn.init.constant_(layer.conv.weight, 0.1)
    torch.nn.init.zeros_(layer.conv.bias)
    with torch.no_grad():
        return layer(torch.ones(1, 2, 6, 6))[0, 0, 2:-2, 2:-2]


def test_resize_convolution_keeps_a_constant_image_constant():
    interior = constant_upsampling("resize")
    torch.testing.assert_close(interior, torch.full_like(interior, 0.1 * 2 * 9))


def test_transposed_convolution_makes_a_checkerboard_of_a_constant_image():
    interior = constant_upsampling("transposed")
    # 1, 2 or 4 of the 9 taps fall on an input pixel, by the parity of row and column
    taps = torch.tensor([[1.0, 2.0], [2.0, 4.0]]).repeat(4, 4)
    torch.testing.assert_close(interior, 0.1 * 2 * taps)


def test_instance_norm_gives_each_channel_of_each_image_mean_0_and_variance_1():
    x = 5 + 3 * torch.randn(2, 4, 16, 16)
    y = InstanceNorm(4)(x)
    torch.testing.assert_close(y.mean(dim=(2, 3)), torch.zeros(2, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(dim=(2, 3), correction=0), torch.ones(2, 4), atol=1e-4, rtol=0)
    torch.testing.assert_close(y, torch.nn.functional.instance_norm(x))


def test_instance_norm_takes_its_statistics_in_float32():
    x = (1000 + torch.randn(1, 2, 32, 32)).bfloat16()
    y = InstanceNorm(2)(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), torch.nn.functional.instance_norm(x.float()), atol=0.02, rtol=0.01)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("device", ["cpu", "meta"])  # the way that accelerators take needs a tensor elsewhere
def test_instance_norm_keeps_the_type(device, dtype):
    x = torch.rand(2, 3, 4, 5, dtype=dtype, device=device)
    assert InstanceNorm(3).to(device)(x).dtype == dtype


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_instance_norm_of_a_channel_that_hardly_varies(layout):
    x = (50 + 0.05 * torch.randn(2, 4, 32, 32)).contiguous(memory_format=layout).requires_grad_()
    weights = torch.randn(2, 4, 32, 32)
    exact = x.detach().double().requires_grad_()
    values = []
    for image, norm in ((x, InstanceNorm(4)), (exact, torch.nn.InstanceNorm2d(4))):
        y = norm(image)
        (y * weights).sum().backward()
        values.append((y.detach(), image.grad))
    torch.testing.assert_close(values[0][0].double(), values[1][0], atol=1e-3, rtol=0)
    torch.testing.assert_close(values[0][1].double(), values[1][1], atol=0.05, rtol=0.01)


def test_conv_layer_halves_odd_sizes_upwards():
    assert ConvLayer(3, 4, 3, stride=2)(torch.rand(2, 3, 7, 8)).shape == (2, 4, 4, 4)
