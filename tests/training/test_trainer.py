"""Training: nothing is lost, a shared batch gives the same network, both tasks learn, errors are named."""

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import repro.loss_network
import repro.losses
from repro.degradations import low_resolution
from repro.errors import AssetError, TrainingStopped
from repro.images import resize
from repro.loss_network import LossNetwork
from repro.losses import PerceptualLoss
from repro.metrics import psnr
from repro.picture_files import load_image, save_image
from repro.sample_photos import photo_files
from repro.style_pictures import load_style
from repro.training import train
from repro.training.data import data_hash, list_photos, split, training_loader
from repro.training.evaluator import Evaluator
from repro.training.recipe import build_network, from_dict, load_recipe
from repro.training.run_folder import RunFolder, best_evaluation, read_history
from repro.training.trainer import Trainer, resume
from repro.transform_nets import load_network

SMALL = {
    "loss_network": "pocket",
    "network.width": 0.1,
    "network.num_blocks": 1,
    "training.steps": 6,
    "training.batch_size": 2,
    "training.size": 32,
    "run.held_out": 1,
    "run.log_every": 1,
    "run.save_every": 2,
    "run.evaluate_every": 3,
    "run.workers": 0,
}


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch):
    """Where results are the same to the last bit."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")


def write_photos(folder, picture):
    """Cut five photos of 80 x 70 px from a picture, (1, 3, 128, 128)."""
    for i in range(5):
        save_image(picture[..., 12 * i : 12 * i + 70, 9 * i : 9 * i + 80], folder / f"{i}.png")
    return folder


@pytest.fixture
def photos(tmp_path, astronaut):
    return write_photos(tmp_path / "photos", astronaut)


def style_recipe(picture="stained_glass", **changes):
    tables = {"style.picture": str(picture), "style.size": 32}
    return load_recipe("style", None, SMALL | tables | dotted(changes))


def sr_recipe(**changes):
    return load_recipe("super-resolution", None, SMALL | dotted(changes))


def dotted(changes):
    """Keyword arguments such as ``run__workers`` as keys such as ``run.workers``."""
    return {key.replace("__", "."): value for key, value in changes.items()}


def run(recipe, photos, folder, resume=False, precision="no", progress=False):
    return train(recipe, photos, folder, resume, precision, progress)


def assert_same_weights(a, b):
    a, b = (load_file(x) if isinstance(x, Path) else x.state_dict() for x in (a, b))
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


def train_rows(folder):
    """The rows of a history that must be the same however often it was interrupted, by step."""
    rows = [row for row in read_history(folder) if "train" in row]
    return [(row["step"], row["train"], row["lr"]) for row in rows]


def evaluation_rows(folder):
    return [(row["step"], row["evaluation"]) for row in read_history(folder) if "evaluation" in row]


# Nothing is lost


def forked(action, recipes, photos, folder):
    """Run ``forked.py``; return what it reports."""
    file = photos.parent / "recipes.json"
    file.write_text(json.dumps({name: recipe.to_dict() for name, recipe in recipes.items()}))
    script = Path(__file__).with_name("forked.py")
    command = [sys.executable, "-W", "error", script, action, file, photos, folder]
    result = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=1800,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_killed_at_any_moment_a_run_ends_with_the_same_weights(photos, tmp_path):
    # Batch normalisation has running statistics that must be kept as well.
    recipe = sr_recipe(
        preset="paper",
        training__size=24,
        run__log_every=2,
        run__save_every=3,
        stages=[{"steps": 6}, {"steps": 8, "size": 32, "batch_size": 1, "optimizer": "muon"}],
    )
    report = forked("kill", {"sr": recipe}, photos, tmp_path / "runs")
    kills = report["kills"]
    assert len(kills) == 20
    assert sum(kill["half_written"] for kill in kills) >= len(kills) // 3
    assert len({kill["step"] for kill in kills}) >= 3  # at early and late moments
    undisturbed = tmp_path / "runs" / "undisturbed"
    for name in report["runs"]:
        folder = tmp_path / "runs" / name
        for file in ("model.safetensors", "best.safetensors"):
            assert_same_weights(folder / file, undisturbed / file)
        assert train_rows(folder) == train_rows(undisturbed)
        assert evaluation_rows(folder) == evaluation_rows(undisturbed)
        assert not list(folder.glob(".checkpoint-*"))
    assert [step for step, *_ in train_rows(undisturbed)] == [2, 4, 6, 8, 10, 12, 14]
    assert [step for step, _ in evaluation_rows(undisturbed)] == [3, 6, 9, 12, 14]


# A second stage that changes all that it may; it begins after the third step.
STAGES = [
    {"steps": 3, "batch_size": 1, "optimizer": "muon", "loss": {"tv_weight": 1.0}, "style": {"size": 40}},
    {"steps": 3, "size": 40, "learning_rate": 2e-3, "crop": "whole", "network": {"width": 0.2}},
]


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_stages_give_what_runs_of_their_own_give(photos, tmp_path, precision):
    recipe = style_recipe(stages=STAGES)
    first, second = recipe.parts
    run(first, photos, tmp_path / "first", precision=precision)
    last = tmp_path / "first" / "model.safetensors"
    run(replace(second, start_from=str(last)), photos, tmp_path / "second", precision=precision)
    run(recipe, photos, tmp_path / "run", precision=precision)
    assert_same_weights(tmp_path / "run" / "model.safetensors", tmp_path / "second" / "model.safetensors")
    assert_same_weights(tmp_path / "run" / "best.safetensors", tmp_path / "second" / "best.safetensors")
    rows = train_rows(tmp_path / "first") + [
        (step + 3, terms, lr) for step, terms, lr in train_rows(tmp_path / "second")
    ]
    assert train_rows(tmp_path / "run") == rows
    assert [row["stage"] for row in read_history(tmp_path / "run")] == [1, 1, 1, 1, 2, 2, 2, 2]
    assert load_network(tmp_path / "run").layers.down1.conv.out_channels == round(0.2 * 64)


@pytest.mark.parametrize("stop", [2, 3, 4])
def test_a_run_goes_on_in_any_stage_and_between_two(photos, tmp_path, monkeypatch, stop):
    recipe = style_recipe(stages=STAGES, run__save_every=1)
    undisturbed = run(recipe, photos, tmp_path / "undisturbed")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "update", interrupted_at(stop))
        run(recipe, photos, tmp_path / "run")
    assert RunFolder(tmp_path / "run").load()["step"] == stop
    assert_same_weights(resume(tmp_path / "run", progress=False).network, undisturbed.network)
    for name in ("model.safetensors", "best.safetensors"):
        assert_same_weights(tmp_path / "run" / name, tmp_path / "undisturbed" / name)
    assert train_rows(tmp_path / "run") == train_rows(tmp_path / "undisturbed")
    assert evaluation_rows(tmp_path / "run") == evaluation_rows(tmp_path / "undisturbed")


def test_the_best_weights_are_of_the_last_stage(photos, tmp_path, monkeypatch):
    objectives, evaluated, evaluate = [1.0, 3.0, 2.0, 4.0], [], Evaluator.__call__

    def evaluating(self, network):
        values, sample = evaluate(self, network)
        evaluated.append({key: value.clone() for key, value in network.state_dict().items()})
        return values | {"objective": objectives[len(evaluated) - 1]}, sample

    monkeypatch.setattr(Evaluator, "__call__", evaluating)
    stages = [{"steps": 1}, {"steps": 3}]
    result = run(sr_recipe(stages=stages, run__evaluate_every=1), photos, tmp_path / "run")
    kept = load_file(tmp_path / "run" / "best.safetensors")
    assert all(torch.equal(value, evaluated[2][key]) for key, value in kept.items())
    assert best_evaluation(result.history)["step"] == 3


def test_a_finished_run_can_be_given_further_steps(photos, tmp_path, monkeypatch):
    recipe = sr_recipe(training__steps=2)
    run(recipe, photos, tmp_path / "run")
    undisturbed = run(sr_recipe(stages=[{"steps": 2}, {"steps": 3}]), photos, tmp_path / "undisturbed")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "update", interrupted_at(4))
        resume(tmp_path / "run", progress=False, further_steps=3)
    with pytest.raises(ValueError, match=r"run: has not finished its 5 steps; resume it without more"):
        resume(tmp_path / "run", progress=False, further_steps=3)
    again = resume(tmp_path / "run", progress=False)
    assert_same_weights(again.network, undisturbed.network)
    assert [row["step"] for row in again.history if "train" in row] == [1, 2, 3, 4, 5]
    described = RunFolder(tmp_path / "run").description()["recipe"]
    assert from_dict(described).parts == recipe.further(3).parts


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"network": {"width": 0.05}}, r"stage 2: .* has shape .*, expected"),
        ({"size": 72}, "80 x 70 px is too small for pieces of 72 px"),
        ({"style": {"picture": "nothing"}}, "'nothing' is no file and no picture of"),
    ],
)
def test_a_stage_that_cannot_be_made_is_found_before_there_is_a_run(photos, tmp_path, stage, message):
    with pytest.raises((ValueError, AssetError), match=message):
        run(style_recipe(stages=[{}, stage]), photos, tmp_path / "run")
    assert not (tmp_path / "run").exists()


RECIPES = sorted(Path(__file__).parents[2].joinpath("recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_project_trains(path, tmp_path):
    changes = {"loss_network": "pocket", "start_from": "", "training.size": 32, "training.batch_size": 1}
    if "style" in load_recipe(path).to_dict():
        changes |= {"style.picture": "kelim", "style.size": 48}
    recipe = load_recipe(path, "smoke", changes)
    result = run(recipe, photo_files(), tmp_path / "run")
    assert len(recipe.parts) <= result.history[-1]["step"] == recipe.steps < 20
    assert {row["stage"] for row in result.history} == set(range(1, len(recipe.parts) + 1))


@pytest.mark.parametrize(("workers", "optimizer"), [(0, "adam"), (1, "adam"), (0, "muon")])
def test_an_exception_at_any_step_loses_nothing(photos, tmp_path, monkeypatch, workers, optimizer):
    recipe = style_recipe(run__save_every=1, run__workers=workers, training__optimizer=optimizer)
    undisturbed = run(recipe, photos, tmp_path / "undisturbed")
    update = Trainer.update

    def interrupted(self, image, names):
        if self.step == stop:
            raise KeyboardInterrupt
        return update(self, image, names)

    for stop in (2, 5):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Trainer, "update", interrupted)
            run(recipe, photos, tmp_path / "run", resume=stop > 2)
        assert RunFolder(tmp_path / "run").load()["step"] == stop
    assert_same_weights(resume(tmp_path / "run", progress=False).network, undisturbed.network)
    assert train_rows(tmp_path / "run") == train_rows(tmp_path / "undisturbed")


def test_a_signal_saves_and_says_how_to_go_on(photos, tmp_path):
    update = Trainer.update

    def interrupted(self, image, names):
        if self.step == 3:
            signal.raise_signal(signal.SIGINT)
        return update(self, image, names)

    before = signal.getsignal(signal.SIGINT)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(TrainingStopped) as stopped:
        patch.setattr(Trainer, "update", interrupted)
        run(sr_recipe(run__save_every=100), photos, tmp_path / "run")
    assert str(stopped.value) == (
        f"stopped at step 4 of 6; go on with: repro train --resume {tmp_path / 'run'}"
    )
    assert signal.getsignal(signal.SIGINT) is before
    assert RunFolder(tmp_path / "run").load()["step"] == 4


def test_a_signal_in_the_last_step_finds_a_finished_run(photos, tmp_path, monkeypatch):
    update = Trainer.update

    def interrupted(self, image, names):
        if self.step == 5:
            signal.raise_signal(signal.SIGINT)
        return update(self, image, names)

    monkeypatch.setattr(Trainer, "update", interrupted)
    run(sr_recipe(run__log_every=4), photos, tmp_path / "run")
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert [step for step, *_ in train_rows(tmp_path / "run")] == [4, 6]  # the last row is of two steps


def test_a_run_that_goes_on_already_is_not_begun_or_resumed_beside_it(photos, tmp_path, monkeypatch):
    recipe, update = sr_recipe(), Trainer.update
    undisturbed = run(recipe, photos, tmp_path / "undisturbed")
    refused = []

    def beside(self, image, names):
        if self.step in (0, 3):  # before the first checkpoint, and after
            for again in (False, True):
                with pytest.raises(FileExistsError, match="another process is training there") as error:
                    run(recipe, photos, tmp_path / "run", resume=again)
                refused.append(error)
        return update(self, image, names)

    monkeypatch.setattr(Trainer, "update", beside)
    disturbed = run(recipe, photos, tmp_path / "run")
    assert len(refused) == 4
    assert_same_weights(disturbed.network, undisturbed.network)
    assert [row["step"] for row in disturbed.history] == [row["step"] for row in undisturbed.history]


def test_to_resume_a_finished_run_changes_nothing(photos, tmp_path):
    first = run(sr_recipe(), photos, tmp_path / "run")
    again = resume(tmp_path / "run", progress=False)
    assert_same_weights(first.network, again.network)
    assert first.history == again.history


def test_a_finished_run_asks_for_no_batch(photos, tmp_path):
    run(sr_recipe(), photos, tmp_path / "run")
    with RunFolder(tmp_path / "run") as folder:
        trainer = Trainer(sr_recipe(), photos, folder, resume=True, precision="no", progress=False)
        trainer.loader = iter([None])  # what several versions of Accelerate make of an empty loader
        trainer.fit()
    assert trainer.step == 6


def test_a_run_that_was_moved_with_its_photos_goes_on(photos, tmp_path):
    recipe = sr_recipe()
    run(recipe, photos, tmp_path / "run")
    photos.rename(tmp_path / "moved")
    (tmp_path / "run").rename(tmp_path / "moved-run")
    again = run(recipe, tmp_path / "moved", tmp_path / "moved-run", resume=True)
    assert again.history[-1]["step"] == 6


def test_a_run_goes_on_from_another_folder_without_what_it_began_with(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_image(torch.rand(1, 3, 32, 32), Path("drawing.png"))
    run(style_recipe("drawing.png", training__steps=2), "photos", "one")
    two = style_recipe("drawing.png", start_from="one", name="two")
    undisturbed = run(two, "photos", "undisturbed")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "update", interrupted_at(3))
        run(two, "photos", "two")
    Path("one").rename("gone")
    Path("elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert_same_weights(resume(tmp_path / "two", progress=False).network, undisturbed.network)
    described = RunFolder(tmp_path / "two").description()
    assert described["started_from"] == {**described["started_from"], "network": "one", "steps": 2}


def interrupted_at(stop):
    """An update that is interrupted at a step."""
    update = Trainer.update

    def interrupted(self, image, names):
        if self.step == stop:
            raise KeyboardInterrupt
        return update(self, image, names)

    return interrupted


def test_a_run_keeps_the_loss_network_that_it_began_with(photos, tmp_path, monkeypatch):
    recipe = style_recipe(loss_network="auto", training__steps=2)
    run(recipe, photos, tmp_path / "run")
    assert RunFolder(tmp_path / "run").description()["recipe"]["loss_network"] == "pocket"
    monkeypatch.setattr(repro.loss_network, "resolve_auto", lambda: "vgg16")  # has come since
    assert resume(tmp_path / "run", progress=False).history[-1]["step"] == 2
    assert run(recipe, photos, tmp_path / "run", resume=True).history[-1]["step"] == 2


def test_a_start_that_failed_can_be_made_again(photos, tmp_path):
    with pytest.raises(ValueError, match="too small for pieces of 96 px"):
        run(style_recipe(training__size=96), photos, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert run(style_recipe(training__steps=1), photos, tmp_path / "run").history[-1]["step"] == 1


def test_a_run_may_not_lie_among_its_photos(photos, tmp_path):
    with pytest.raises(ValueError, match=r"lies among the photos of .*; give another folder for the run"):
        run(style_recipe(), photos, photos / "runs" / "mine")


# Several processes


def test_two_processes_with_half_the_batch_each_give_the_network_of_one(photos, tmp_path):
    style = photos / "0.png"
    recipes = {
        "modern": style_recipe(style, training__batch_size=4),
        # A weight with which the total variation, a sum over the batch, has a say in every gradient.
        "reference": style_recipe(style, preset="reference", training__batch_size=4, loss__tv_weight=10.0),
        "sr": sr_recipe(training__batch_size=4, stages=[{"steps": 2}, {"steps": 4, "size": 24}]),
    }
    report = forked("share", recipes, photos, tmp_path / "runs")
    assert report["codes"] == {name: [0, 0] for name in recipes}
    # Both stop although only one was told to, and go on from where they were.
    assert (report["stopped"], report["step"], report["resumed"]) == ([130, 130], 2, [0, 0])
    for name in ("modern/two", "modern/stopped", "reference/two", "sr/two"):
        folder = tmp_path / "runs" / name
        assert json.loads((folder / "run.json").read_text())["processes"] == 2
        assert_close_weights(RunFolder(folder).load(), RunFolder(folder.with_name("one")).load())
        of_one = train_rows(folder.with_name("one"))
        for (step, terms, _), (_, known, _) in zip(train_rows(folder), of_one, strict=True):
            assert terms == pytest.approx(known, rel=1e-3), step  # of the whole batch


def test_batch_normalisation_over_several_processes_needs_gpus(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("accelerate.Accelerator.num_processes", 2)
    with pytest.raises(ValueError, match="several processes needs GPUs; use one process"):
        run(style_recipe(preset="paper", training__batch_size=4), photos, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def assert_close_weights(state, known):
    """Compare the weights of checkpoints, apart from those that the loss does not depend on.

    Normalisation takes out what a bias before it adds, and Adam makes whole steps of the rounding noise that
    is its gradient: some millionths of the other gradients, as Adam's second moments tell.
    """
    gradients = [moments["exp_avg_sq"].sqrt() for moments in known["optimizer"]["state"].values()]
    largest = max(gradient.max() for gradient in gradients)
    assert len(gradients) == len(known["network"])
    compared = 0
    for key, gradient in zip(known["network"], gradients, strict=True):
        if not (gradient > 5e-6 * largest).any():
            continue
        matters = gradient > 5e-6 * largest
        difference = (state["network"][key] - known["network"][key]).abs()[matters]
        assert difference.max() < 1e-4, key  # after six steps of up to 1e-3
        compared += int(matters.sum())
    assert compared > 0.95 * sum(gradient.numel() for gradient in gradients)


# Learning


@pytest.fixture
def eight(tmp_path, astronaut):
    """Nine photos of 48 px, one of which will be held out."""
    for i in range(9):
        top, left = 40 * (i // 3), 40 * (i % 3)
        save_image(astronaut[..., top : top + 48, left : left + 48], tmp_path / "eight" / f"{i}.png")
    return tmp_path / "eight"


def test_style_transfer_fits_eight_photos(eight, tmp_path):
    recipe = style_recipe(**{
        "training.steps": 180, "training.batch_size": 2, "training.learning_rate": 5e-3,
        "training.crop": "whole", "training.mirror": False, "network.width": 0.25,
        "run.evaluate_every": 180, "run.save_every": 180,
    })  # fmt: skip
    totals = [terms["total"] for _, terms, _ in train_rows(run(recipe, eight, tmp_path / "run").folder)]
    assert len(totals) == 180
    assert sum(totals[-4:]) < sum(totals[:4]) / 10  # four steps see every photo once


def test_super_resolution_of_the_photos_it_learnt_exceeds_bicubic(eight, tmp_path):
    recipe = sr_recipe(**{
        "training.steps": 200, "training.batch_size": 2, "training.size": 48, "training.learning_rate": 3e-3,
        "network.width": 0.25, "run.evaluate_every": 200, "run.save_every": 200,
    })  # fmt: skip
    network = run(recipe, eight, tmp_path / "run").network
    paths, _ = split(list_photos(eight), 1, recipe.seed)
    assert len(paths) == 8
    hr = torch.cat([load_image(path) for path in paths])
    lr = low_resolution(hr, 4)
    with torch.no_grad():
        ours, bicubic = network(lr).clamp(0, 1), resize(lr, (48, 48)).clamp(0, 1)
    gain = psnr(ours, hr, 4) - psnr(bicubic, hr, 4)
    assert (gain > 0).all()
    assert gain.mean() > 1


# What a step computes


class Spy(LossNetwork):
    """A loss network that notes what it is asked for."""

    def __init__(self, *args):
        super().__init__(*args)
        self.calls = []
        for key, conv in self.convs.items():
            conv.register_forward_hook(lambda *_, key=key: self.calls[-1]["convs"].append(key))

    def forward(self, image, layers=None):
        self.calls.append({"image": image, "layers": layers, "grad": torch.is_grad_enabled(), "convs": []})
        return super().forward(image, layers)


@pytest.fixture
def spied(monkeypatch):
    """The spies that trainings get as loss networks, in order."""
    spies = []

    def make(*args):
        spies.append(Spy(*args))
        return spies[-1]

    monkeypatch.setattr("repro.training.trainer.LossNetwork", make)
    return spies


def test_the_content_pass_has_no_gradient_and_stops_at_the_content_layer(photos, tmp_path, spied):
    run(style_recipe(), photos, tmp_path / "run")
    (spy,) = spied
    contents = [call for call in spy.calls if call["layers"] == ["relu3_3"]]
    assert len(contents) == 6 + 2  # steps and evaluations
    for call in contents:
        assert not call["grad"]
        assert not call["image"].requires_grad
        assert call["convs"][-1] == "conv3_3"
    outputs = [call for call in spy.calls if call["image"].requires_grad]
    assert len(outputs) == 6
    for call in outputs:
        assert call["grad"]
        assert call["convs"][-1] == "conv4_3"
    assert not any(parameter.grad is not None for parameter in spy.parameters())


def test_the_style_picture_is_seen_once_and_its_gram_matrices_stay(photos, tmp_path, spied, monkeypatch):
    grams = []

    def counted(features, gram_matrix=repro.losses.gram_matrix):
        grams.append(gram_matrix(features))
        return grams[-1]

    monkeypatch.setattr(repro.losses, "gram_matrix", counted)
    recipe = style_recipe()
    run(recipe, photos, tmp_path / "run")
    style = load_style(recipe.style.picture, recipe.style.size)
    seen = [c for c in spied[0].calls if c["image"].shape == style.shape and torch.equal(c["image"], style)]
    assert len(seen) == 1
    assert not seen[0]["grad"]
    assert len(grams) == 4 * (1 + 6 + 2)  # layers: style picture, outputs of steps, of evaluations
    assert not any(gram.requires_grad for gram in grams[:4])


@pytest.mark.parametrize("preset", ["modern", "reference"])
def test_low_resolution_input_output_and_target_have_one_scale(photos, tmp_path, spied, monkeypatch, preset):
    """The released code divided the low-resolution pictures by 255 and the high-resolution ones not."""
    seen = {"input": [], "inside": [], "output": [], "target": [], "evaluated": []}

    def spied_network(recipe):
        network = build_network(recipe)
        torch.nn.init.zeros_(network.layers.output.conv.weight)  # bicubic upsampling, or a mean pixel
        torch.nn.init.zeros_(network.layers.output.conv.bias)
        network.register_forward_pre_hook(lambda _, args: seen["input"].append(args[0]))
        network.register_forward_hook(lambda _, args, output: seen["output"].append(output))
        network.layers.register_forward_pre_hook(lambda _, args: seen["inside"].append(args[0]))
        return network

    class SpiedLoss(PerceptualLoss):
        def forward(self, image, content=None, style=None):
            seen["evaluated"].append(image)
            seen["target"].append(content)
            return super().forward(image, content, style)

    monkeypatch.setattr("repro.training.trainer.build_network", spied_network)
    monkeypatch.setattr("repro.training.recipe.PerceptualLoss", SpiedLoss)
    recipe = sr_recipe(preset=preset, training__steps=1, run__evaluate_every=1)
    run(recipe, photos, tmp_path / "run")
    assert {len(calls) for calls in seen.values()} == {2}  # a step and an evaluation
    given, inside, output, target, evaluated = (calls[0] for calls in seen.values())
    mean_pixel = torch.tensor([123.68, 116.779, 103.939]).view(3, 1, 1)
    assert 0.1 < target.mean() < target.max() <= 1
    assert torch.equal(given, low_resolution(target, 4, 1.0))
    assert torch.allclose(inside, 255 * given - mean_pixel)
    assert torch.equal(evaluated, output)
    assert 0.1 < output.mean() < 1
    if preset == "modern":  # differs from the photo by what bicubic upsampling cannot restore
        assert (output - target).square().mean() < 0.1 * target.square().mean()
        assert (output.mean() - target.mean()).abs() < 0.02
    for call in spied[0].calls:  # which itself multiplies by 255, once for all
        assert 0.1 < call["image"].mean() < 1


def test_bf16_trains_and_begins_as_float32_does(photos, tmp_path):
    first = {}
    for precision in ("no", "bf16"):
        result = run(style_recipe(), photos, tmp_path / precision, precision=precision)
        assert json.loads((tmp_path / precision / "run.json").read_text())["precision"] == precision
        first[precision] = train_rows(result.folder)[0][1]
        assert all(value.dtype == torch.float32 for value in result.network.state_dict().values())
        assert evaluation_rows(result.folder)[-1][1]["objective"] < first[precision]["total"]
    assert first["no"].keys() == first["bf16"].keys()
    for name, value in first["no"].items():
        assert first["bf16"][name] == pytest.approx(value, rel=0.05), name
    assert first["bf16"] != first["no"]


# Losses that are not finite


def broken_at(call, term):
    """A loss whose ``term`` is infinite when it is called for that time."""

    class Broken(PerceptualLoss):
        calls = 0

        def forward(self, image, content=None, style=None):
            Broken.calls += 1
            terms = super().forward(image, content, style)
            return terms | ({term: terms[term] * math.inf} if Broken.calls == call else {})

    return Broken


def test_a_term_that_is_not_finite_is_named_and_the_run_can_go_on(photos, tmp_path, monkeypatch):
    recipe = style_recipe()
    undisturbed = run(recipe, photos, tmp_path / "undisturbed")
    paths, _ = split(list_photos(photos), 1, recipe.seed)
    names = [names for _, names, _ in training_loader(paths, recipe.training, recipe.seed, 0, 0, 1)][4]
    with monkeypatch.context() as patch, pytest.raises(FloatingPointError) as error:
        patch.setattr(
            "repro.training.recipe.PerceptualLoss", broken_at(4 + 1 + 1, "style/relu2_2")
        )  # an evaluation
        run(recipe, photos, tmp_path / "run")
    assert "step 5: not finite: style/relu2_2, total;" in str(error.value)
    assert f"photos: {', '.join(names)};" in str(error.value)
    assert RunFolder(tmp_path / "run").load()["step"] == 4
    assert_same_weights(resume(tmp_path / "run", progress=False).network, undisturbed.network)


def test_a_style_picture_that_is_not_finite_stops_at_the_first_step(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "repro.training.trainer.load_style", lambda source, size: torch.full((1, 3, 32, 32), math.inf)
    )
    with pytest.raises(FloatingPointError, match=r"step 1: not finite: style/relu1_2, .*total; photos: "):
        run(style_recipe(), photos, tmp_path / "run")
    assert RunFolder(tmp_path / "run").load() is None


def test_too_large_a_learning_rate_stops_before_anything_is_saved(photos, tmp_path):
    recipe = sr_recipe(training__learning_rate=1e30, run__save_every=1, run__evaluate_every=1)
    with pytest.raises(FloatingPointError, match=r"step 1: not finite on held-out photos: .*objective"):
        run(recipe, photos, tmp_path / "run")
    assert RunFolder(tmp_path / "run").load() is None
    assert not list((tmp_path / "run").glob("*.safetensors"))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_weight_that_is_not_finite_is_never_saved(photos, tmp_path, monkeypatch, value):
    update = Trainer.update

    def damaging(self, image, names):
        terms = update(self, image, names)
        if self.step == 2:
            with torch.no_grad():
                next(self.network.parameters())[0, 0, 0, 0] = value
        return terms

    monkeypatch.setattr(Trainer, "update", damaging)
    with pytest.raises(FloatingPointError, match="step 3: a weight is not finite"):
        run(style_recipe(run__save_every=1, run__evaluate_every=2), photos, tmp_path / "run")
    state = RunFolder(tmp_path / "run").load()
    assert state["step"] == 2
    for tensors in (state["network"], load_file(tmp_path / "run" / "best.safetensors")):
        assert all(tensor.isfinite().all() for tensor in tensors.values())
    assert not (tmp_path / "run" / "model.safetensors").exists()


# What does not fit


def test_a_folder_with_a_run_is_not_begun_again(photos, tmp_path):
    run(sr_recipe(training__steps=1), photos, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(FileExistsError, match=r"run holds a run already; go on with it by resume=True"):
        run(sr_recipe(), photos, tmp_path / "run")
    assert {path: path.read_bytes() for path in before} == before


def test_a_run_goes_on_only_as_it_began(photos, tmp_path):
    folder = tmp_path / "run"
    recipe = style_recipe()
    run(recipe, photos, folder)
    changes = {
        "recipe": (style_recipe(training__learning_rate=2e-3), photos, "no"),
        "style fingerprint": (recipe, photos, "no"),
        "precision": (recipe, photos, "bf16"),
        "photos": (recipe, photos, "no"),
    }
    for what, (other, folder_of_photos, precision) in changes.items():
        with pytest.MonkeyPatch.context() as patch:
            if what == "style fingerprint":
                patch.setattr(
                    "repro.training.trainer.load_style", lambda source, size: torch.rand(1, 3, 32, 32)
                )
            if what == "photos":  # one has changed
                photo = folder_of_photos / "2.png"
                save_image(load_image(photo).flip(-1), photo)
            with pytest.raises(ValueError, match=f"cannot go on, as {what} is not what the run began with"):
                run(other, folder_of_photos, folder, resume=True, precision=precision)


def test_a_run_goes_on_where_the_last_bits_of_the_drawing_are_others(photos, tmp_path, monkeypatch):
    """As on another processor, or with another number of threads."""
    run(style_recipe(), photos, tmp_path / "run")
    drawn = load_style("stained_glass", style_recipe().style.size)
    monkeypatch.setattr("repro.training.trainer.load_style", lambda source, size: (drawn + 1e-4).clamp(0, 1))
    resume(tmp_path / "run", progress=False)


def test_there_must_be_a_run_to_go_on_with(photos, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "none"):
        with pytest.raises(FileNotFoundError, match="holds no run"):
            resume(folder)
        with pytest.raises(FileNotFoundError, match="holds no run"):
            run(sr_recipe(), photos, folder, resume=True)
    assert not (tmp_path / "none").exists()


def test_a_damaged_checkpoint_is_named(photos, tmp_path):
    run(sr_recipe(), photos, tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"checkpoint\.pt: damaged"):
        resume(tmp_path / "run")


def test_a_run_begun_with_files_goes_on_with_files(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "fit", lambda self: None)  # the check comes before
    recipe, paths = sr_recipe(), list_photos(photos)
    run(recipe, paths, tmp_path / "run")
    with pytest.raises(ValueError, match="list of files"):
        resume(tmp_path / "run")
    run(recipe, [str(path) for path in paths[::-1]], tmp_path / "run", resume=True)


def test_photos_that_do_not_do(photos, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no picture in this folder"):
        run(sr_recipe(), tmp_path / "empty", tmp_path / "run")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        run(sr_recipe(), tmp_path / "none", tmp_path / "run")
    with pytest.raises(ValueError, match="cannot hold out 5 of 5 photos"):
        run(sr_recipe(run__held_out=5), photos, tmp_path / "run")
    with pytest.raises(ValueError, match="80 x 70 px is too small for pieces of 72 px"):
        run(sr_recipe(training__size=72), photos, tmp_path / "run")


def test_an_unknown_style_picture_is_named_with_those_there_are(photos, tmp_path):
    with pytest.raises(ValueError, match=r"'no_such_picture' is no file and no picture of: .*stained_glass"):
        run(style_recipe("no_such_picture"), photos, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_photos_that_cannot_be_used_are_counted_and_named_once(photos, tmp_path, capsys, workers):
    (photos / "broken.jpg").write_text("no picture")
    save_image(torch.rand(1, 3, 31, 90), photos / "small.png")
    recipe = sr_recipe(run__workers=workers, training__steps=8)
    result = run(recipe, photos, tmp_path / "run", progress=True)
    _, held_out = split(list_photos(photos), 1, recipe.seed)
    assert held_out[0].name not in ("broken.jpg", "small.png")
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("skipped")]
    assert len(lines) == 2
    assert sum("broken.jpg: not a picture" in line for line in lines) == 1
    assert sum("small.png: 90 x 31 px is too small for pieces of 32 px" in line for line in lines) == 1
    assert [row["skipped"] for row in result.history if "train" in row][-1] == 2


def test_a_held_out_photo_that_cannot_be_read_is_counted_as_well(photos, tmp_path, capsys):
    recipe = sr_recipe(run__held_out=2, training__steps=3)
    _, (broken, _) = split(list_photos(photos), 2, recipe.seed)
    broken.write_text("no picture")
    result = run(recipe, photos, tmp_path / "run", progress=True)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("skipped")]
    assert len(lines) == 1
    assert f"{broken.name}: not a picture" in lines[0]
    assert [row["skipped"] for row in result.history if "train" in row] == [1, 1, 1]


# What is kept


@pytest.fixture(scope="module")
def finished(tmp_path_factory, _astronaut):
    """A finished run: (what train gave, its recipe, its photos)."""
    folder = tmp_path_factory.mktemp("finished")
    photos = write_photos(folder / "photos", _astronaut)
    recipe = style_recipe(training__steps=8, run__evaluate_every=2)
    return run(recipe, photos, folder / "run"), recipe, photos


def test_run_json_says_how_to_make_the_run_again(finished):
    result, recipe, photos = finished
    facts = json.loads((result.folder / "run.json").read_text())
    assert from_dict(facts["recipe"]) == recipe
    train_paths, held_out = split(list_photos(photos), 1, recipe.seed)
    assert facts["photos"] == {
        "folder": str(photos.resolve()),
        "training": len(train_paths),
        "held_out": [held_out[0].name],
        "sha256": data_hash(list_photos(photos)),
    }
    assert facts["loss_network"] == {"name": "pocket", "source": LossNetwork("pocket").source}
    assert facts["precision"] == "no"
    assert facts["processes"] == 1
    assert facts["torch"] == torch.__version__
    assert {"repro", "python", "torchvision", "device"} <= facts.keys()
    commit = facts["git_commit"]
    assert commit is None or set(commit.rstrip("+")) <= set("0123456789abcdef")


def test_history_has_every_term(finished):
    result, _, _ = finished
    terms = {"content/relu3_3", "tv", *(f"style/relu{i}" for i in ("1_2", "2_2", "3_3", "4_3"))}
    rows = train_rows(result.folder)
    assert [step for step, *_ in rows] == list(range(1, 9))
    for _, values, lr in rows:
        assert values.keys() == terms | {"total"}
        assert values["total"] == pytest.approx(sum(values[name] for name in terms))
        assert 0 < lr <= 1e-3
    assert [step for step, _ in evaluation_rows(result.folder)] == [2, 4, 6, 8]
    assert all(values.keys() == terms | {"objective"} for _, values in evaluation_rows(result.folder))
    assert result.history == read_history(result.folder)


@pytest.mark.parametrize("asked", ["auto", "pocket"])
def test_a_training_says_its_loss_network_and_how_to_get_the_papers(asked, photos, tmp_path, capsys):
    run(sr_recipe(training__steps=1, loss_network=asked), photos, tmp_path / "run", progress=True)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("loss network")]
    note = "; VGG-16 itself is called vgg16, and downloaded once" if asked == "auto" else ""
    assert line == f"loss network: pocket{note}"


def test_x8_can_start_from_x4(photos, tmp_path, capsys):
    run(sr_recipe(training__steps=1), photos, tmp_path / "x4")
    options = {"super_resolution__factor": 8, "training__steps": 1, "training__learning_rate": 1e-12}
    recipe = sr_recipe(start_from=str(tmp_path / "x4"), **options)
    run(recipe, photos, tmp_path / "x8", progress=True)
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("x4", "x8"))
    assert {key.split(".")[1] for key in after.keys() - before.keys()} == {"up3"}
    for key, value in before.items():
        torch.testing.assert_close(value, after[key], rtol=0, atol=1e-9)
    assert "has no layers.up3.conv: they begin anew" in capsys.readouterr().err
    with pytest.raises(AssetError, match=r"unknown layers\.up3"):
        run(sr_recipe(start_from=str(tmp_path / "x8")), photos, tmp_path / "again")


def test_a_network_can_start_from_a_narrower_one(photos, tmp_path, capsys):
    save_image(torch.rand(1, 3, 32, 32), tmp_path / "drawing.png")
    picture = str(tmp_path / "drawing.png")
    options = {"training__steps": 1, "training__learning_rate": 1e-12}
    narrow = run(style_recipe(picture, **options), photos, tmp_path / "narrow").network
    wider = {"start_from": str(tmp_path / "narrow"), "network__width": 0.3, **options}
    wide = run(style_recipe(picture, **wider), photos, tmp_path / "wide", progress=True).network
    assert "has fewer filters: the others begin anew" in capsys.readouterr().err
    assert wide.layers.down2.conv.out_channels > narrow.layers.down2.conv.out_channels
    image = torch.rand(1, 3, 24, 24)
    with torch.no_grad():
        torch.testing.assert_close(wide(image), narrow(image), rtol=0, atol=1e-5)
    back = {"start_from": str(tmp_path / "wide"), **options}
    with pytest.raises(AssetError, match=r"has shape .*, expected"):
        run(style_recipe(picture, **back), photos, tmp_path / "back")


def test_final_weights_are_those_of_the_network(finished):
    result, recipe, _ = finished
    assert not result.network.training
    path = result.folder / "model.safetensors"
    assert_same_weights(path, result.network)
    network = build_network(recipe)
    network.load_state_dict(load_file(path))
    image = torch.rand(1, 3, 20, 28)
    with torch.no_grad():
        assert torch.allclose(network.eval()(image), result.network(image), atol=1e-5)
    with safe_open(path, "pt") as file:
        assert from_dict(json.loads(file.metadata()["recipe"])) == recipe
    state = RunFolder(result.folder).load()
    assert all(torch.equal(state["network"][key], value) for key, value in load_file(path).items())


def test_best_weights_are_those_of_the_best_evaluation(photos, tmp_path, monkeypatch):
    objectives, evaluated, evaluate, update = [3.0, 1.0, 2.0, 4.0], [], Evaluator.__call__, Trainer.update

    def evaluating(self, network):
        values, sample = evaluate(self, network)
        evaluated.append({key: value.clone() for key, value in network.state_dict().items()})
        return values | {"objective": objectives[len(evaluated) - 1]}, sample

    def interrupted(self, image, names):
        if self.step == 5:
            raise KeyboardInterrupt
        return update(self, image, names)

    monkeypatch.setattr(Evaluator, "__call__", evaluating)
    recipe = sr_recipe(training__steps=8, run__evaluate_every=2)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "update", interrupted)
        run(recipe, photos, tmp_path / "run")
    resume(tmp_path / "run", progress=False)
    assert len(evaluated) == 4
    kept = load_file(tmp_path / "run" / "best.safetensors")
    assert kept.keys() == evaluated[1].keys()
    for key, value in kept.items():
        assert torch.equal(value, evaluated[1][key])
    assert any(not torch.equal(value, evaluated[2][key]) for key, value in kept.items())


def test_samples_show_photos_above_results(finished):
    result, recipe, photos = finished
    names = sorted(path.name for path in (result.folder / "samples").iterdir())
    assert names == [f"step_{step:06d}.jpg" for step in (2, 4, 6, 8)]
    sample = load_image(result.folder / "samples" / names[-1])
    assert sample.shape == (1, 3, 64, 32)
    _, (path,) = split(list_photos(photos), 1, recipe.seed)
    photo = resize(load_image(path)[..., :, 5:75], (32, 32))
    assert (sample[..., :32, :] - photo).abs().mean() < 0.03  # JPEG
    assert (sample[..., 32:, :] - photo).abs().mean() > 0.03


def test_tensorboard_has_the_same_curves(finished):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    result, _, _ = finished
    events = accumulators.EventAccumulator(str(result.folder / "tensorboard"))
    events.Reload()
    curve = [(event.step, event.value) for event in events.Scalars("train/total")]
    assert curve == [(step, pytest.approx(terms["total"])) for step, terms, _ in train_rows(result.folder)]
    curve = [(event.step, event.value) for event in events.Scalars("evaluation/objective")]
    assert curve == [
        (step, pytest.approx(values["objective"])) for step, values in evaluation_rows(result.folder)
    ]
