"""The losses against the paper's equations, written another way, and against numbers known beforehand."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.parallel import DistributedDataParallel

import tiny_vgg
from repro.loss_network import LossNetwork
from repro.losses import (
    PerceptualLoss,
    feature_reconstruction_loss,
    gram_matrix,
    pixel_loss,
    style_reconstruction_loss,
    total_variation,
)
from repro.presets import PRESETS


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
    in_call = loss(image, content=content, style=style)
    loss.set_targets(content=content, style=style)
    kept = loss(image)
    squares, of_style = image.square()[:, :2], style.square()[:, :2]
    expected = {
        "content/a": 2 * (image - content).square().mean(),
        "style/b": 3 * style_reconstruction_loss(gram_matrix(2 * image), gram_matrix(2 * style), "sum"),
        "style/c": 0.5 * style_reconstruction_loss(gram_matrix(squares), gram_matrix(of_style), "sum"),
        "tv": 1e-3 * 255**2 * total_variation(image),
    }
    for terms in (in_call, kept):
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
        for target in (*loss.content_targets.values(), *loss.style_targets.values(), loss.content_image)
    )
    before = loss.content_image.clone()
    with torch.no_grad():
        photo.add_(0.1)  # as an optimizer does, in place
    assert torch.equal(loss.content_image, before)
    assert loss(photo)["pixel"].item() == pytest.approx(25.5**2, rel=1e-4)


def test_perceptual_loss_asks_once_for_each_layer():
    stub = _Stub()
    loss = PerceptualLoss(stub, {"b": 1.0}, {"a": 1.0, "b": 1.0})
    loss.set_targets(content=torch.rand(1, 3, 4, 4), style=torch.rand(1, 3, 4, 4))
    loss(torch.rand(1, 3, 4, 4))
    assert stub.asked == [["b"], ["a", "b"], ["b", "a"]]
    stub.asked.clear()
    loss(torch.rand(1, 3, 4, 4), content=torch.rand(1, 3, 4, 4))
    assert stub.asked == [["b"], ["b", "a"]]


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
    with pytest.raises(
        RuntimeError, match=r"no content target: give it in the call, .*set_targets\(content=\.\.\.\)"
    ):
        loss(image)
    loss.set_targets(content=image + 1 / 255)
    assert loss(image)["pixel"].item() == pytest.approx(1.0)
    with pytest.raises(ValueError, match="the kept content target has"):
        loss(image[..., :4])


# Targets in the call, kept targets


def test_targets_in_the_call_come_before_kept_ones_and_are_not_kept():
    image, kept, given = (torch.rand(2, 3, 4, 5) for _ in range(3))
    loss = PerceptualLoss(_Stub(), {"a": 1.0}, {"b": 1.0}, pixel_weight=1.0)
    loss.set_targets(content=kept, style=kept[:1])
    before = loss(image)
    terms = loss(image, content=given)
    assert terms["content/a"] == (image - given).square().mean()
    assert terms["pixel"].item() == pytest.approx(255**2 * terms["content/a"].item())
    assert terms["style/b"] == before["style/b"]
    assert loss(image, style=image)["style/b"] == 0
    assert loss(image) == before


def test_no_gradient_flows_into_targets():
    image, content, style = (torch.rand(1, 3, 4, 5, requires_grad=True) for _ in range(3))
    loss = PerceptualLoss(_Stub(), {"a": 1.0}, {"b": 1.0}, pixel_weight=1.0)
    sum(loss(image, content=content, style=style).values()).backward()
    assert image.grad.abs().sum() > 0
    assert content.grad is None
    assert style.grad is None


@pytest.mark.parametrize("options", [{"content_layers": {"a": 1.0}}, {"pixel_weight": 1.0}], ids=str)
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 3, 4, 5), (4, 3, 4, 6)], ids=str)
def test_a_content_target_of_another_shape_is_an_error(options, shape):
    """A last batch that is smaller, or a single picture, must not be compared with the target of another."""
    loss = PerceptualLoss(_Stub(), **options)
    image, content = torch.rand(4, 3, 4, 5), torch.rand(*shape)
    with pytest.raises(ValueError, match=r"content: expected the shape of image, \(4, 3, 4, 5\), got "):
        loss(image, content=content)
    loss.set_targets(content=content)
    with pytest.raises(
        ValueError, match=r"the kept content target has .*: give .* loss\(image, content=\.\.\."
    ):
        loss(image)
    assert loss(image, content=image)


def test_a_target_without_a_term_is_not_looked_at():
    image, other = torch.rand(2, 3, 4, 5), torch.rand(3, 3, 7, 7)
    stub = _Stub()
    loss = PerceptualLoss(stub, style_layers={"b": 1.0})
    loss(image, content=other, style=other[:1])
    assert stub.asked == [["b"], ["b"]]
    assert list(PerceptualLoss(stub, {"a": 1.0})(image, content=image, style=other)) == ["content/a"]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("task", ["style", "super-resolution"])
def test_a_preset_gives_its_loss(preset, task):
    loss = PerceptualLoss.from_preset(preset, task, _Stub())
    config = PRESETS[preset].style.loss if task == "style" else PRESETS[preset].super_resolution.loss
    assert {name: getattr(loss, name) for name in config.arguments()} == config.arguments()


def test_unknown_presets_and_tasks_are_errors():
    with pytest.raises(ValueError, match="preset: expected one of paper, reference, modern, got 'new'"):
        PerceptualLoss.from_preset("new", "style", _Stub())
    with pytest.raises(ValueError, match="task: expected one of style, super-resolution, got 'sr'"):
        PerceptualLoss.from_preset("paper", "sr", _Stub())


def test_repr_says_what_is_minimised_and_what_is_kept():
    loss = PerceptualLoss(tiny_vgg.network(), {"relu2_2": 1.0}, {"relu1_2": 5.0}, tv_weight=1e-6)
    text = repr(loss)
    for part in ("content_layers={'relu2_2': 1.0}", "style_layers={'relu1_2': 5.0}", "tv_weight=1e-06"):
        assert part in text
    assert "LossNetwork(" in text
    assert "pixel" not in text
    assert "kept" not in text
    loss.set_targets(content=torch.rand(2, 3, 16, 20), style=torch.rand(1, 3, 8, 8))
    assert "kept content: (2, 3, 16, 20)" in repr(loss)
    assert "kept style: relu1_2" in repr(loss)


# In other people's training loops


@pytest.fixture
def loss():
    """A loss with every term, on a small loss network."""
    return PerceptualLoss(
        LossNetwork("vgg16", tensors=tiny_vgg.tensors("relu2_2")),
        {"relu2_2": 1.0},
        {"relu1_2": 1e-4, "relu2_1": 1e-4},
        pixel_weight=1e-3,
        tv_weight=1e-6,
    )


@pytest.fixture
def pictures():
    """Output, content and style."""
    return torch.rand(3, 3, 16, 20), torch.rand(3, 3, 16, 20), torch.rand(1, 3, 12, 14)


def _exact(*tensors):
    return tuple(tensor.double() for tensor in tensors)


def _total(loss, *pictures, **targets):
    return sum(loss(*pictures, **targets).values())


def _gradient(loss, image, content, style):
    image = image.detach().requires_grad_()
    return torch.autograd.grad(_total(loss, image, content, style), image)[0]


def _assert_same_terms(terms, expected, **tolerance):
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            terms[name], value, msg=lambda text, name=name: f"{name}: {text}", **tolerance
        )


def test_the_loss_moves_with_everything_it_holds(loss, pictures):
    image, content, style = pictures
    loss.set_targets(content=content, style=style)
    module = nn.Module()  # as a LightningModule holds it
    module.loss = loss

    def held():
        kept = [loss.content_image, *loss.content_targets.values(), *loss.style_targets.values()]
        return [*kept, *loss.parameters()]

    before = loss(image)
    module.double()
    assert {tensor.dtype for tensor in held()} == {torch.float64}
    _assert_same_terms(loss(image.double()), {name: value.double() for name, value in before.items()})
    module.to("meta")  # any device but the CPU, where there may be no other
    assert {tensor.device.type for tensor in held()} == {"meta"}


def test_copies_and_pickles_keep_the_targets(loss, pictures):
    image, content, style = pictures
    loss.set_targets(content=content, style=style)
    before = loss(image)
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        _assert_same_terms(other(image), before, rtol=0, atol=0)
        other.set_targets(content=image, style=image[:1])
        other.style_targets["relu1_2"].zero_()
    _assert_same_terms(loss(image), before, rtol=0, atol=0)


def test_the_state_is_that_of_the_loss_network_and_nothing_is_trained(loss, pictures):
    _, content, style = pictures
    names = [f"loss_network.{name}" for name in loss.loss_network.state_dict()]
    assert list(loss.state_dict()) == names
    fresh = copy.deepcopy(loss)
    loss.set_targets(content=content, style=style)
    assert list(loss.state_dict()) == names
    fresh.load_state_dict(loss.state_dict())
    loss.load_state_dict(fresh.state_dict())
    assert not any(parameter.requires_grad for parameter in loss.parameters())
    loss.train()
    assert not loss.loss_network.training


def test_a_batch_is_the_mean_of_its_images(loss, pictures):
    image, content, style = pictures
    single = [loss(x, y, style) for x, y in zip(image.split(1), content.split(1), strict=True)]
    means = {name: torch.stack([terms[name] for terms in single]).mean() for name in single[0]}
    _assert_same_terms(loss(image, content, style), means)
    styles = torch.cat([style, style.flip(3), style.flip(2)])  # a style for each image
    each = [_total(loss, *(x[i : i + 1] for x in (image, content, styles))).item() for i in range(len(image))]
    assert _total(loss, image, content, styles).item() == pytest.approx(sum(each) / 3, rel=1e-5)


def test_the_memory_layout_of_the_pictures_does_not_matter(loss, pictures):
    loss, pictures = loss.double(), _exact(*pictures)
    expected, gradient = loss(*pictures), _gradient(loss, *pictures)
    strided = tuple(x.repeat_interleave(2, dim=3)[..., ::2] for x in pictures)
    channels_last = tuple(x.contiguous(memory_format=torch.channels_last) for x in pictures)
    for other in (strided, channels_last):
        assert not other[0].is_contiguous()
        before = [x.clone() for x in other]
        _assert_same_terms(loss(*other), expected)
        torch.testing.assert_close(_gradient(loss, *other), gradient)
        assert all(torch.equal(x, y) for x, y in zip(other, before, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_pictures_in_half_precision(loss, pictures, dtype):
    half = [x.to(dtype) for x in pictures]
    expected = loss(*(x.float() for x in half))
    _assert_same_terms(loss(*half), expected, rtol=0, atol=0)
    assert {value.dtype for value in expected.values()} == {torch.float32}
    assert _gradient(loss, *half).dtype == dtype


def test_autocast_in_bfloat16(loss, pictures):
    expected, gradient = loss(*pictures), _gradient(loss, *pictures)
    with torch.autocast("cpu", torch.bfloat16):
        terms = loss(*pictures)
        rounded = _gradient(loss, *pictures)
    assert {value.dtype for value in terms.values()} == {torch.float32}
    _assert_same_terms(terms, expected, rtol=0.03, atol=0)
    assert (rounded - gradient).norm() < 0.2 * gradient.norm()


@pytest.mark.parametrize("kept", [False, True], ids=["given", "kept"])
def test_compiled_as_one_graph(loss, pictures, kept):
    image, content, style = pictures
    expected, gradient = loss(*pictures), _gradient(loss, *pictures)
    if kept:
        loss.set_targets(content=content, style=style)
        content = style = None
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    _assert_same_terms(compiled(image, content, style), expected)
    torch.testing.assert_close(_gradient(compiled, image, content, style), gradient)
    torch.compiler.reset()


def test_function_transforms(loss, pictures):
    loss, (image, content, style) = loss.double(), _exact(*pictures)
    gradient = torch.func.grad(lambda x: _total(loss, x, content, style))(image)
    torch.testing.assert_close(gradient, _gradient(loss, image, content, style))

    def one(x, y):
        return _total(loss, x[None], content=y[None], style=style)

    each = torch.vmap(torch.func.grad(one))(image, content)
    torch.testing.assert_close(each, len(image) * gradient)

    network, low = nn.Conv2d(3, 3, 3, padding=1).double(), torch.rand_like(image)
    parameters = dict(network.named_parameters())

    def of_weights(weights, x, y):
        return one(torch.func.functional_call(network, weights, (x[None],))[0], y)

    per_sample = torch.vmap(torch.func.grad(of_weights), in_dims=(None, 0, 0))(parameters, low, content)
    _total(loss, network(low), content, style).backward()
    for name, parameter in parameters.items():
        torch.testing.assert_close(per_sample[name].mean(0), parameter.grad)


class _Training(nn.Module):
    """A network with its loss inside, as a LightningModule is."""

    def __init__(self, network, loss):
        super().__init__()
        self.network, self.loss = network, loss

    def forward(self, low, content=None):
        return _total(self.loss, self.network(low), content=content)


def _one_of_two_processes(rank, folder, network, loss, low, content):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    low, content = low.chunk(2)[rank], content.chunk(2)[rank]
    gradients = {}
    for way in ("beside", "inside", "kept"):
        network.zero_grad()
        if way == "beside":
            shared = DistributedDataParallel(network)
            _total(loss, shared(low), content=content).backward()
        else:
            training = DistributedDataParallel(_Training(network, loss))
            if way == "kept":
                loss.set_targets(content=content)  # of this process's own share
            training(low, None if way == "kept" else content).backward()
        gradients[way] = [parameter.grad.clone() for parameter in network.parameters()]
    torch.save(gradients, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_share_a_batch(loss, tmp_path):
    """The gradients are those of one process with the whole batch, wherever the loss is."""
    low, content = torch.rand(2, 4, 3, 16, 20, dtype=torch.float64)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1)).double()
    loss.set_targets(style=torch.rand(1, 3, 12, 14))
    loss.double()
    arguments = (str(tmp_path), network, loss, low, content)
    torch.multiprocessing.spawn(_one_of_two_processes, arguments, nprocs=2)
    network.zero_grad()
    _total(loss, network(low), content=content).backward()
    expected = [parameter.grad for parameter in network.parameters()]
    for rank in range(2):
        for way, gradients in torch.load(tmp_path / f"{rank}.pt").items():
            torch.testing.assert_close(gradients, expected, msg=lambda text, way=way: f"{way}: {text}")
