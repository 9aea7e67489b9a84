"""Muon: beside PyTorch's own for matrices, beside Adam for the rest, and through a checkpoint."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from repro import StyleTransferNet
from repro.presets import MODERN, REFERENCE
from repro.training.optimizers import Muon, build_optimizer, learning_rate_factor, orthogonalized
from repro.training.recipe import build_network, load_recipe

TINY = {"norm": "instance", "width": 0.125, "num_blocks": 1}


def network(seed: int = 0) -> StyleTransferNet:
    torch.manual_seed(seed)
    return StyleTransferNet(**TINY)


def give_gradients(net: torch.nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("shape", [(8, 50), (50, 8), (16, 16), (1, 9)])
def test_singular_vectors_stay_and_singular_values_come_near_one(shape):
    torch.manual_seed(1)
    matrix = 100 * torch.randn(shape) @ torch.diag(torch.linspace(0.2, 3, shape[1]))
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    rotated = u.mT @ orthogonalized(matrix) @ vh.mT
    values = rotated.diagonal()
    assert values.min() > 0.6 and values.max() < 1.25
    assert torch.allclose(rotated, torch.diag(values), atol=1e-4)


def test_more_filters_than_inputs():
    net = torch.nn.Conv2d(1, 40, 3)
    optimizer = Muon(net, 1e-2)
    give_gradients(net, 0)
    before = net.weight.detach().clone()
    optimizer.step()
    moved = (net.weight.detach() - before).flatten(1)
    assert torch.linalg.svdvals(moved / moved.norm()).min() > 0.2  # along all singular vectors alike


def test_zeros_stay_zeros():
    assert torch.equal(orthogonalized(torch.zeros(3, 5)), torch.zeros(3, 5))


def test_convolutions_take_the_steps_of_torch_muon():
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this PyTorch has no Muon")
    net = network()
    weight = net.layers.block1.conv1.weight
    matrix = torch.nn.Parameter(weight.detach().flatten(1).clone())
    start = matrix.detach().clone()
    theirs = torch.optim.Muon([matrix], lr=1e-2, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    ours = Muon(net, 1e-2)
    for seed in range(4):
        give_gradients(net, seed)
        matrix.grad = weight.grad.flatten(1).clone()
        ours.step()
        theirs.step()
    moved, expected = weight.detach().flatten(1) - start, matrix.detach() - start
    assert (moved - expected).norm() < 0.02 * expected.norm()  # theirs computes in bfloat16


def test_the_rest_takes_the_steps_of_adam():
    net = network()
    other = copy.deepcopy(net)
    ours, theirs = Muon(net, 1e-2), torch.optim.Adam(other.parameters(), lr=1e-2)
    for seed in range(4):
        for each in (net, other):
            give_gradients(each, seed)
        ours.step()
        theirs.step()
    pairs = [(name, a, b) for (name, a), b in zip(net.named_parameters(), other.parameters(), strict=True)]
    same = {name for name, a, b in pairs if torch.allclose(a, b, atol=1e-6)}
    matrices = {name for name, a, _ in pairs if a.ndim == 4} - {"layers.output.conv.weight"}
    assert same == {name for name, _, _ in pairs} - matrices
    assert len(matrices) == 7


def test_it_goes_on_from_its_state_to_the_last_bit():
    net = network()
    optimizer = Muon(net, 1e-2)
    give_gradients(net, 0)
    optimizer.step()
    copied = copy.deepcopy(net)
    resumed = Muon(copied, 1e-2)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for each, stepper in ((net, optimizer), (copied, resumed)):
        give_gradients(each, 1)
        stepper.step()
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), copied.parameters(), strict=True))


def test_a_closure_is_called_before_the_step():
    net = network()
    optimizer = Muon(net, 1e-2)
    before = net.layers.output.conv.bias.detach().clone()

    def closure():
        optimizer.zero_grad()
        loss = net(torch.zeros(1, 3, 16, 16)).square().mean()
        loss.backward()
        return loss

    loss = optimizer.step(closure)
    assert loss.requires_grad
    assert closure() < loss
    assert not torch.equal(net.layers.output.conv.bias, before)


def test_a_parameter_without_a_gradient_stays():
    net = network()
    before = copy.deepcopy(net.state_dict())
    Muon(net, 1e-2).step()
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_optimizers():
    for name, kind in (("adam", torch.optim.Adam), ("muon", Muon)):
        changes = {"network.width": 0.1, "training.optimizer": name, "training.learning_rate": 3e-3}
        recipe = load_recipe("style", overrides=changes)
        network = build_network(recipe)
        optimizer = build_optimizer(recipe.training, network)
        assert isinstance(optimizer, kind)
        assert {group["lr"] for group in optimizer.param_groups} == {3e-3}
        held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        assert {id(parameter) for parameter in held} == {id(parameter) for parameter in network.parameters()}
    assert load_recipe("style").training.optimizer == "adam"


def test_learning_rate_of_a_constant_schedule():
    factor = learning_rate_factor(replace(REFERENCE.style.training, steps=10))
    assert [factor(step) for step in (0, 5, 9)] == [1.0, 1.0, 1.0]


def test_learning_rate_of_a_cosine():
    factor = learning_rate_factor(replace(MODERN.style.training, steps=4000))
    assert factor(0) == 1 / 100
    assert factor(49) == pytest.approx(0.5, rel=1e-3)
    assert factor(1000) == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert factor(2000) == pytest.approx(0.5)
    assert factor(3000) == pytest.approx((1 - math.sqrt(0.5)) / 2)
    assert 0 < factor(3999) < 1e-6
    rates = [factor(step) for step in range(4000)]
    assert rates.index(max(rates)) == 99
    assert sorted(rates[:100]) == rates[:100]
    assert sorted(rates[99:], reverse=True) == rates[99:]


def test_learning_rate_of_a_trapezoid():
    factor = learning_rate_factor(replace(MODERN.style.training, steps=4000, schedule="trapezoid"))
    assert [factor(step) for step in (0, 49, 99, 2000, 3000)] == [0.01, 0.5, 1.0, 1.0, 1.0]
    assert factor(3500) == pytest.approx(0.5)
    assert factor(3999) == pytest.approx(0.001)
    short = learning_rate_factor(replace(MODERN.style.training, steps=1, schedule="trapezoid"))
    assert short(0) == 1.0


@pytest.mark.parametrize(("steps", "top"), [(1, 0), (5, 0), (50, 4), (200, 19)])
def test_warm_up_takes_at_most_a_tenth(steps, top):
    factor = learning_rate_factor(replace(MODERN.style.training, steps=steps))
    rates = [factor(step) for step in range(steps)]
    assert rates.index(max(rates)) == top
    assert min(rates) > 0
