"""The losses against the paper's equations, written another way, and against numbers known beforehand."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from repro.losses import (
    PerceptualLoss,
    feature_reconstruction_loss,
    gram_matrix,
    pixel_loss,
    style_reconstruction_loss,
    total_variation,
)


def _double(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(
    "function",
    [
        gram_matrix,
        lambda x: feature_reconstruction_loss(x, torch.ones(1, 3, 4, 5, dtype=torch.float64)),
        lambda x: pixel_loss(x, torch.ones(2, 3, 4, 5, dtype=torch.float64)),
        lambda x: style_reconstruction_loss(gram_matrix(x), torch.eye(3, dtype=torch.float64)[None], "sum"),
        lambda x: style_reconstruction_loss(gram_matrix(x), torch.eye(3, dtype=torch.float64)[None], "mean"),
        lambda x: total_variation(x, "sum"),
        lambda x: total_variation(x, "half_sum"),
    ],
    ids=["gram", "feature", "pixel", "style-sum", "style-mean", "tv-sum", "tv-half_sum"],
)
def test_gradients(function):
    assert gradcheck(function, _double(2, 3, 4, 5))


def test_gram_matrix_is_equation_3():
    features = torch.randn(3, 4, 5, 6, dtype=torch.float64)
    expected = torch.einsum("nchw,ndhw->ncd", features, features) / (4 * 5 * 6)
    gram = gram_matrix(features)
    assert torch.allclose(gram, expected)
    assert torch.equal(gram, gram.transpose(1, 2))
    assert (torch.linalg.eigvalsh(gram) > -1e-12).all()


LAYOUTS = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)


@LAYOUTS
def test_gram_matrix_has_first_and_second_derivatives(layout):
    features = torch.randn(2, 3, 4, 5, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    assert gradcheck(gram_matrix, features)
    assert gradgradcheck(gram_matrix, features)


@LAYOUTS
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_gradient_of_gram_matrix_in_the_layout_of_its_input(layout, dtype):
    features = torch.randn(2, 6, 4, 5, dtype=dtype).contiguous(memory_format=layout).requires_grad_()
    upstream = torch.randn(2, 6, 6, dtype=torch.promote_types(dtype, torch.float32))  # not symmetric
    (gradient,) = torch.autograd.grad(gram_matrix(features), features, upstream)
    exact = features.detach().double().requires_grad_()
    gram = torch.einsum("nchw,ndhw->ncd", exact, exact) / (6 * 4 * 5)
    (expected,) = torch.autograd.grad(gram, exact, upstream.double())
    assert gradient.dtype == dtype
    assert gradient.is_contiguous(memory_format=layout)
    rounding = {torch.float64: 1e-14, torch.float32: 1e-6, torch.bfloat16: 4e-3}[dtype]
    assert (gradient.double() - expected).abs().max() < rounding * expected.abs().max()


def test_gram_matrix_forgets_positions_and_sizes():
    features = torch.randn(1, 4, 5, 6, dtype=torch.float64)
    shuffled = features.flatten(2)[..., torch.randperm(30)].view_as(features)
    assert torch.allclose(gram_matrix(shuffled), gram_matrix(features))
    assert torch.allclose(gram_matrix(features.repeat(1, 1, 3, 2)), gram_matrix(features))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_float32(dtype):
    # 4096 ones: summed in bfloat16 they would stop at 256.
    features = torch.ones(1, 2, 64, 64, dtype=dtype)
    assert torch.equal(gram_matrix(features), torch.full((1, 2, 2), 0.5))
    assert gram_matrix(features).dtype == torch.float32
    assert feature_reconstruction_loss(features, 0 * features).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert gram_matrix(torch.randn(1, 2, 4, 4)).dtype == torch.float32


def test_total_variation_of_half_precision_does_not_overflow():
    image = 255.0 * (torch.arange(64 * 64).view(1, 1, 64, 64) % 2)  # black and white columns
    assert torch.equal(total_variation(image.half()), total_variation(image))
    assert total_variation(image).item() == pytest.approx(64 * 63 * 255**2)


def test_function_transforms_of_the_gram_matrix():
    features = torch.randn(5, 2, 3, 4, 6, dtype=torch.float64)
    grams = torch.vmap(gram_matrix)(features)
    assert torch.allclose(grams, torch.stack([gram_matrix(x) for x in features]))

    def norm(x):
        return gram_matrix(x).square().sum()

    each = torch.stack([torch.autograd.functional.jacobian(norm, x) for x in features])
    assert torch.allclose(torch.func.grad(norm)(features[0]), each[0])
    assert torch.allclose(torch.vmap(torch.func.grad(norm))(features), each)
    x = features[0, :1]
    hessian = torch.autograd.functional.hessian(norm, x)
    assert torch.allclose(torch.func.jacrev(torch.func.grad(norm))(x), hessian)


def test_gram_matrix_wants_feature_maps():
    with pytest.raises(ValueError, match=r"expected shape \(N, C, H, W\)"):
        gram_matrix(torch.zeros(3, 4, 5))


@pytest.mark.parametrize("loss", [feature_reconstruction_loss, pixel_loss])
def test_reconstruction_losses_are_equation_2(loss):
    a, b = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    each = [torch.linalg.vector_norm(a[i] - b[i]) ** 2 / (3 * 4 * 5) for i in range(2)]
    assert loss(a, b) == pytest.approx(sum(each).item() / 2, rel=1e-5)
    assert loss(a, a) == 0
    with pytest.raises(ValueError, match="differ in shape"):
        loss(a, b[..., :4])
    with pytest.raises(ValueError, match="differ in shape"):
        loss(torch.cat([a, a]), b)


def test_the_absolute_error_of_pixels():
    a, b = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    assert torch.allclose(pixel_loss(a, b, "absolute"), torch.nn.functional.l1_loss(a, b))
    assert pixel_loss(torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), -0.5), "absolute") == 0.5
    with pytest.raises(ValueError, match="differ in shape"):
        pixel_loss(a, b[..., :4], "absolute")
    with pytest.raises(ValueError, match="error: expected 'squared' or 'absolute', got 'huber'"):
        pixel_loss(a, b, "huber")


def test_style_loss_is_equation_4():
    a, b = torch.randn(2, 3, 3), torch.randn(1, 3, 3)
    norms = torch.linalg.matrix_norm(a - b) ** 2
    assert torch.allclose(style_reconstruction_loss(a, b, "sum"), norms.mean())
    assert torch.allclose(style_reconstruction_loss(a, b, "mean"), norms.mean() / 9)
    assert torch.equal(style_reconstruction_loss(a, b), style_reconstruction_loss(a, b, "mean"))
    assert style_reconstruction_loss(a, a) == 0
    with pytest.raises(ValueError, match="reduction"):
        style_reconstruction_loss(a, b, "max")


def test_total_variation_of_known_images():
    checkerboard = ((torch.arange(4)[:, None] + torch.arange(5)) % 2).float().expand(2, 3, 4, 5)
    edges = 3 * (3 * 5 + 4 * 4)  # channels x (vertical + horizontal neighbours), each differing by 1
    assert total_variation(checkerboard) == edges
    assert total_variation(checkerboard, "half_sum") == edges  # two images, halved
    assert total_variation(torch.full((1, 3, 4, 5), 0.7)) == 0
    assert total_variation(torch.rand(1, 3, 1, 1)) == 0
    ramp = torch.arange(5.0).expand(1, 3, 4, 5)
    assert total_variation(ramp) == 3 * 4 * 4
    with pytest.raises(ValueError, match="reduction"):
        total_variation(ramp, "mean")
    with pytest.raises(ValueError, match="expected shape"):
        total_variation(ramp[0])


class _Stub:
    """Three layers of which the values are easy to follow; counts what it is asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, image, layers):
        self.asked.append(list(layers))
        known = {"a": image, "b": 2 * image, "c": image.square()[:, :2]}
        return {layer: known[layer] for layer in layers}


def test_perceptual_loss_is_the_weighted_sum():
    image, content, style = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5), torch.rand(1, 3, 6, 7)
    loss = PerceptualLoss(_Stub(), {"a": 2.0}, {"b": 3.0, "c": 0.5}, tv_weight=1e-3, style_reduction="sum")
    loss.set_targets(content=content, style=style)
    terms = loss(image)
    expected = {
        "content/a": 2 * (image - content).square().mean(),
        "style/b": 3 * style_reconstruction_loss(gram_matrix(2 * image), gram_matrix(2 * style), "sum"),
        "style/c": 0.5
        * style_reconstruction_loss(
            gram_matrix(image.square()[:, :2]), gram_matrix(style.square()[:, :2]), "sum"
        ),
        "tv": 1e-3 * 255**2 * total_variation(image),
    }
    assert list(terms) == list(expected)
    for name, value in expected.items():
        assert terms[name].shape == ()
        assert torch.allclose(terms[name], value), name


def test_perceptual_loss_passes_the_reductions_on():
    image, style = torch.rand(2, 3, 4, 5), torch.rand(1, 3, 6, 7)
    total = style_reconstruction_loss(gram_matrix(2 * image), gram_matrix(2 * style), "sum")
    for options, expected in (
        ({}, total / 9),
        ({"style_reduction": "mean"}, total / 9),
        ({"style_reduction": "sum"}, total),
        ({"style_reduction": "relative"}, total / gram_matrix(2 * style).square().sum()),
    ):
        loss = PerceptualLoss(_Stub(), style_layers={"b": 1.0}, **options)
        loss.set_targets(style=style)
        assert torch.allclose(loss(image)["style/b"], expected)
    for reduction in ("sum", "half_sum"):
        loss = PerceptualLoss(_Stub(), tv_weight=2.0, tv_reduction=reduction)
        assert torch.allclose(loss(image)["tv"], 2 * total_variation(255 * image, reduction))


def test_relative_style_loss_does_not_depend_on_the_scale_of_the_features():
    features, target = torch.rand(2, 3, 4, 5), torch.rand(1, 3, 6, 7)
    expected = style_reconstruction_loss(gram_matrix(features), gram_matrix(target), "relative")
    scaled = style_reconstruction_loss(gram_matrix(50 * features), gram_matrix(50 * target), "relative")
    assert torch.allclose(scaled, expected)
    zeros = torch.zeros(1, 3, 3)
    assert style_reconstruction_loss(zeros, gram_matrix(target), "relative") == pytest.approx(1)
    assert style_reconstruction_loss(zeros, zeros, "relative") == 0


def test_targets_stay_as_they_were_set():
    photo = torch.rand(1, 3, 4, 5, requires_grad=True)
    loss = PerceptualLoss(_Stub(), {"c": 1.0}, {"b": 1.0}, pixel_weight=1.0)
    loss.set_targets(content=photo, style=photo)
    assert not any(
        target.requires_grad
        for target in (*loss.content_targets.values(), *loss.style_targets.values(), loss.pixel_target)
    )
    before = loss.pixel_target.clone()
    with torch.no_grad():
        photo.add_(0.1)  # as an optimizer does, in place
    assert torch.equal(loss.pixel_target, before)
    assert loss(photo)["pixel"].item() == pytest.approx(25.5**2, rel=1e-4)


def test_perceptual_loss_asks_once_for_each_layer():
    stub = _Stub()
    loss = PerceptualLoss(stub, {"b": 1.0}, {"a": 1.0, "b": 1.0})
    loss.set_targets(content=torch.rand(1, 3, 4, 4), style=torch.rand(1, 3, 4, 4))
    loss(torch.rand(1, 3, 4, 4))
    assert stub.asked == [["b"], ["a", "b"], ["b", "a"]]


def test_perceptual_loss_is_zero_at_its_targets():
    image = torch.rand(1, 3, 4, 5)
    loss = PerceptualLoss(_Stub(), {"a": 1.0, "c": 1.0}, {"b": 1.0})
    loss.set_targets(content=image, style=image)
    assert all(value == 0 for value in loss(image).values())


def test_targets_can_be_set_one_at_a_time():
    image, other = torch.rand(1, 3, 4, 5), torch.rand(1, 3, 4, 5)
    loss = PerceptualLoss(_Stub(), {"a": 1.0}, {"b": 1.0})
    with pytest.raises(RuntimeError, match="no content target"):
        loss(image)
    loss.set_targets(content=other)
    with pytest.raises(RuntimeError, match="no style target"):
        loss(image)
    loss.set_targets(style=image)
    terms = loss(image)
    assert terms["content/a"] > 0
    assert terms["style/b"] == 0
    loss.set_targets(content=image)
    assert sum(loss(image).values()) == 0


def test_total_variation_alone_needs_no_network():
    loss = PerceptualLoss(
        lambda image, layers: pytest.fail("was asked"), tv_weight=1.0, tv_reduction="half_sum"
    )
    image = torch.rand(2, 3, 4, 5)
    loss.set_targets(content=image, style=image)
    assert loss(image)["tv"].item() == pytest.approx(total_variation(255 * image, "half_sum").item())
    with pytest.raises(ValueError, match="no term"):
        PerceptualLoss(_Stub())


def test_pixel_term_is_on_the_scale_of_the_loss_network():
    stub, image, target = _Stub(), torch.rand(2, 3, 4, 5, requires_grad=True), torch.rand(2, 3, 4, 5)
    loss = PerceptualLoss(stub, {"a": 1.0}, pixel_weight=0.5)
    loss.set_targets(content=target)
    terms = loss(image)
    assert list(terms) == ["content/a", "pixel"]
    expected = 0.5 * (255 * image - 255 * target).square().mean()
    assert torch.allclose(terms["pixel"], expected)
    (gradient,) = torch.autograd.grad(terms["pixel"], image)
    assert torch.allclose(gradient, 255**2 * (image - target).detach() / image.numel())


def test_pixel_term_with_the_absolute_error():
    image, target = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    loss = PerceptualLoss(_Stub(), pixel_weight=0.5, pixel_error="absolute")
    loss.set_targets(content=target)
    assert torch.allclose(loss(image)["pixel"], 0.5 * 255 * (image - target).abs().mean())


def test_pixel_term_needs_its_target_and_no_network():
    loss = PerceptualLoss(lambda image, layers: pytest.fail("was asked"), pixel_weight=1.0)
    image = torch.zeros(1, 3, 4, 5)
    with pytest.raises(RuntimeError, match=r"no content target: call set_targets\(content=...\) first"):
        loss(image)
    loss.set_targets(content=image + 1 / 255)
    assert loss(image)["pixel"].item() == pytest.approx(1.0)
    with pytest.raises(ValueError, match="differ in shape"):
        loss(image[..., :4])
