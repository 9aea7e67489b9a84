"""The baseline's curves are computed once, and again when anything that they depend on changes."""

from dataclasses import replace

import pytest
import torch

from repro import experiments
from repro.downloads import cache_dir
from repro.experiments.support import baseline_curves
from repro.experiments.support.baseline_curves import baseline_curve
from repro.experiments.support.trained_styles import trained_style
from repro.optimize_image import OptimizedImage, transfer_style
from small_networks import style_recipe, write


@pytest.fixture
def style(tmp_path):
    return trained_style(write(style_recipe(), tmp_path / "small.safetensors"), "pocket")


@pytest.fixture
def content():
    return torch.rand(1, 3, 20, 28)


def files():
    return sorted((cache_dir() / "baselines").iterdir())


def test_it_is_the_baseline_and_is_kept(style, content):
    expected = transfer_style(content, style.picture, style.loss_network, style.loss_for(content), 4, seed=0)
    first, was_kept = baseline_curve(style, content, 4)
    assert first == expected.history["total"]
    assert not was_kept
    assert baseline_curve(style, content, 4) == (first, True)
    assert len(files()) == 1


def test_the_network_has_no_part_in_it(style, content, tmp_path):
    baseline_curve(style, content, 2)
    other = trained_style(write(style_recipe(), tmp_path / "other.safetensors", seed=1), "pocket")
    assert baseline_curve(other, content, 2)[1]


def test_everything_else_has(style, content, monkeypatch):
    baseline_curve(style, content, 2)
    changed = [
        (style, content.flip(-1), 2),
        (style, content, 3),
        (replace(style, picture=style.picture.flip(-1)), content, 2),
        (replace(style, loss=replace(style.loss, tv_weight=1e-3)), content, 2),
        (replace(style, trained_at=style.trained_at + 1), content, 2),
    ]
    for arguments in changed:
        assert not baseline_curve(*arguments)[1]
    monkeypatch.setattr(baseline_curves, "sha256", lambda path: "the code of another version")
    assert not baseline_curve(style, content, 2)[1]
    assert len(files()) == len(changed) + 2


@pytest.mark.parametrize("text", ["", "[1.0, 2.0", "[1.0]", "3", '["a", "b", "c"]', "[1.0, null, 2.0]"])
def test_a_file_that_is_no_curve_is_replaced(style, content, text):
    curve, _ = baseline_curve(style, content, 2)
    (file,) = files()
    file.write_text(text)
    assert baseline_curve(style, content, 2) == (curve, False)
    assert baseline_curve(style, content, 2) == (curve, True)


def test_a_curve_that_ends_early_stays_at_its_last_value(style, content, monkeypatch):
    found = OptimizedImage(content, {"total": [3.0, 2.0]})
    monkeypatch.setattr(baseline_curves, "transfer_style", lambda *arguments, **options: found)
    assert baseline_curve(style, content, 4) == ([3.0, 2.0, 2.0, 2.0, 2.0], False)


def test_an_experiment_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    styles = [str(write(style_recipe(), tmp_path / "small.safetensors"))]
    run = experiments.module("style_objectives").run
    transferred = []

    def interrupted(*arguments, **options):
        transferred.append(arguments)
        if len(transferred) == 2:
            raise KeyboardInterrupt
        return transfer_style(*arguments, **options)

    monkeypatch.setattr(baseline_curves, "transfer_style", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("smoke", "pocket", styles=styles)
    (resumed,) = run("smoke", "pocket", styles=styles).data["rows"]
    assert len(transferred) == 4
    assert resumed["baselines_kept"] == 1
    (again,) = run("smoke", "pocket", styles=styles).data["rows"]
    assert again == {**resumed, "baselines_kept": 3}
