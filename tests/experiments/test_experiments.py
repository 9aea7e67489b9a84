"""Every experiment at smoke scale with pocket, from the call to the files; the command; what is refused."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from matplotlib.text import Text
from PIL import Image

import tiny_vgg
from repro import cli, experiments
from repro.experiments import ablations
from repro.experiments.objective_curve import crossing
from repro.experiments.support import trained_styles
from repro.experiments.support.common import Result
from repro.patterns import PATTERNS
from repro.picture_files import save_image
from repro.pretrained import shipped
from small_networks import sr_recipe, style_recipe, write

MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:home|root|tmp|Users|work|usr|opt|private|var)/")
NEEDS_STYLE = ("objective_curve", "style_objectives", "speed", "style_gallery")


@pytest.fixture(scope="module")
def style(tmp_path_factory):
    """A style network with random weights, trained (so it says) on a drawn picture."""
    return write(style_recipe("random"), tmp_path_factory.mktemp("networks") / "random.safetensors")


@pytest.fixture(scope="module")
def smoke(tmp_path_factory, style):
    """A function that reproduces an experiment at smoke scale with pocket, once for all the tests."""
    done = {}

    def run(name):
        if name not in done:
            options = {"styles": [str(style)]} if name in NEEDS_STYLE else {}
            folder = tmp_path_factory.mktemp(name) / "results"
            done[name] = experiments.reproduce(name, "smoke", "pocket", folder, **options)
        return done[name]

    return run


def _content(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize("name", experiments.EXPERIMENTS)
def test_every_experiment_writes_numbers_and_a_picture(name, smoke):
    path = smoke(name)
    content = _content(path)
    assert path.name == f"{name}.smoke.json"
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, f"{name}.smoke.png"]
    with Image.open(path.with_suffix(".png")) as picture:
        assert min(picture.size) > 100
        assert len(picture.convert("RGB").resize((64, 64)).getcolors(4096)) > 8
    assert content["command"].startswith(f"repro reproduce {name} --scale smoke --loss-network pocket")
    assert content["seconds"] > 0
    assert content["data"]["settings"]
    for key in ("repro", "git_commit", "python", "torch", "torchvision", "device", "title", "paper"):
        assert key in content
    assert not MACHINE_PATH.search(path.read_text())
    if name not in ("receptive_field", "cost"):
        assert "pocket.safetensors sha256:" in json.dumps(content["made_with"])
        assert '"layers": ["relu' in json.dumps(content["made_with"])


@pytest.mark.parametrize("name", ["feature_reconstruction", "perceptual_agreement"])
def test_the_same_again(name, smoke):
    first, second = _content(smoke(name)), experiments.module(name).run("smoke", "pocket")
    assert first["data"] == second.data
    assert first["made_with"] == second.made_with


def test_feature_reconstruction_comes_near_and_loses_pixels_with_depth(smoke):
    rows = _content(smoke("feature_reconstruction"))["data"]["rows"]
    assert [row["layer"] for row in rows] == ["relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_1"]
    assert all(row["feature_error"] < row["start_feature_error"] / 4 for row in rows)
    assert rows[0]["pixel_rms"] < rows[1]["pixel_rms"] < rows[-1]["pixel_rms"]
    for row in rows:
        assert row["psnr"] == pytest.approx(-20 * torch.tensor(row["pixel_rms"]).log10().item(), abs=0.05)


def test_style_reconstruction_lowers_every_layer(smoke):
    data = _content(smoke("style_reconstruction"))["data"]
    assert [row["layers"] for row in data["rows"][:5]] == ["relu1_2", "relu2_2", "relu3_3", "relu4_3", "all"]
    assert len(data["rows"]) == 10
    for row in data["rows"]:
        assert all(row["end"][layer] < row["start"][layer] / 2 for layer in row["end"])
        assert len(row["end"]) == (4 if row["layers"] == "all" else 1)


def test_perceptual_agreement_is_a_share_and_symmetric(smoke):
    data = _content(smoke("perceptual_agreement"))["data"]
    matrix = torch.tensor(data["matrix"])
    assert torch.equal(matrix, matrix.T)
    assert torch.equal(matrix.diagonal(), torch.ones(len(matrix)))
    assert data["agreement"][data["reference"]] == {"share": 1.0, "standard_error": 0.0}
    assert data["weaker_is_closer"]["pixels"]["share"] > 0.7


def test_layers_end_where_the_weights_end():
    tiny_vgg.write("relu3_3")
    result = experiments.module("feature_reconstruction").run("smoke", "auto")
    assert [row["layer"] for row in result.data["rows"]] == ["relu1_2", "relu2_2", "relu3_3"]
    assert result.made_with["loss_network"]["name"] == "vgg16"
    assert result.made_with["loss_network"]["layers"] == ["relu1_2", "relu2_2", "relu3_3"]


def test_lpips_judges_where_it_is_here(lpips_is_here):
    result = experiments.module("perceptual_agreement").run("smoke", "pocket")
    assert result.data["reference"] == "lpips"
    assert result.data["agreement"]["lpips"]["share"] == 1
    assert 0 < result.data["agreement"]["pixels"]["share"] <= 1
    assert len(result.made_with["lpips"]["weights"]) == 64


def test_both_networks_judge_where_both_are_here():
    tiny_vgg.write("relu3_3")
    data = experiments.module("perceptual_agreement").run("smoke", "auto").data
    assert data["reference"] == "vgg16/relu3_3"
    assert "lpips" not in data["judges"]
    assert {"pixels", "vgg16/relu3_3", "pocket/relu5_1"} <= set(data["judges"])
    assert "vgg16/relu4_3" not in data["judges"]


def test_the_objective_is_that_of_the_network_as_far_as_the_layers_reach(style):
    tiny_vgg.write("relu3_3")
    described = trained_styles.trained_style(style, "vgg16").describe()
    assert list(described["style_layers"]) == ["relu1_2", "relu2_2", "relu3_3"]
    assert described["loss_network"]["name"] == "vgg16"


def test_total_variation_weighs_as_in_training_at_every_size(style):
    trained = trained_styles.trained_style(style, "pocket")
    small = torch.rand(1, 3, trained.trained_at, trained.trained_at)
    large = torch.rand(1, 3, 2 * trained.trained_at, 2 * trained.trained_at)
    assert trained.loss_for(small) == trained.loss
    assert trained.loss_for(large).tv_weight == pytest.approx(trained.loss.tv_weight / 4)
    stripes = torch.tensor([0.0, 0.0, 1.0, 1.0])[torch.arange(2 * trained.trained_at) % 4]
    terms = []
    for image in (small, large):
        pattern = stripes[: image.shape[-1]].expand_as(image)
        terms.append(trained.objective(image)(pattern)["tv"].item())
    assert terms[0] > 0
    assert terms[1] == pytest.approx(terms[0], rel=0.1)  # borders


def test_the_objective_of_the_photo_and_the_crossing(smoke):
    found = _content(smoke("objective_curve"))["data"]["sizes"][0]
    means = found["baseline"]["mean"]
    assert len(means) == len(found["baseline"]["deviation"]) == 7
    assert means == sorted(means, reverse=True)
    assert crossing([5.0, 3.0, 2.0], 3.0) == 1
    assert crossing([5.0, 3.0, 2.0], 9.0) == 0
    assert crossing([5.0, 3.0, 2.0], 1.0) is None


def test_photos_of_the_curve_may_come_from_a_folder(tmp_path, astronaut, style):
    for name in ("a/x.png", "b/x.png", "c.png"):
        save_image(astronaut, tmp_path / name)
    result = experiments.module("objective_curve").run("smoke", "pocket", data=tmp_path, styles=[str(style)])
    assert result.data["sizes"][0]["photos"] == ["a/x.png", "b/x.png"]
    assert len(result.made_with["photos"]["sha256"]) == 64


def test_sizes_of_the_curve_may_be_chosen(style):
    run = experiments.module("objective_curve").run
    data = run("smoke", "pocket", styles=[str(style)], sizes=[24, 40]).data
    assert data["settings"]["photos"] == {24: 2, 40: 2}
    assert [(found["size"], len(found["photos"])) for found in data["sizes"]] == [(24, 2), (40, 2)]


def test_fewer_photos_of_a_large_size(style, monkeypatch):
    curve = experiments.module("objective_curve")
    monkeypatch.setitem(curve.SETTINGS, "smoke", {"photos": {24: 2, 40: 1}, "iterations": 3})
    result = curve.run("smoke", "pocket", styles=[str(style)])
    assert [len(found["crossings"]) for found in result.data["sizes"]] == [2, 1]
    assert [found["network"]["deviation"] == 0 for found in result.data["sizes"]] == [False, True]


def test_times_for_the_papers_iterations_follow_from_one(smoke):
    for found in _content(smoke("speed"))["data"]["sizes"]:
        one, own = found["baseline_iteration"]["median"], found["network"]["median"]
        assert found["baseline"] == {n: pytest.approx(int(n) * one, rel=1e-4) for n in ("100", "300", "500")}
        assert found["speedup"]["500"] == pytest.approx(500 * one / own, rel=1e-4)
        assert found["share_of_peak"] > 0


def test_names_scales_and_options_are_checked(tmp_path):
    with pytest.raises(ValueError, match=r"unknown experiment 'fig3'; known: all, feature_reconstruction"):
        experiments.choose(["fig3"])
    with pytest.raises(ValueError, match=r"unknown scale 'huge'; known: smoke, book, paper"):
        experiments.reproduce("cost", "huge", folder=tmp_path)
    with pytest.raises(ValueError, match=r"unknown scale 'huge'"):
        experiments.module("cost").run("huge")
    with pytest.raises(ValueError, match="--network is for none of cost"):
        experiments.reproduce("cost", "smoke", folder=tmp_path, networks=["x"])
    with pytest.raises(ValueError, match="--sizes is for none of objective_curve"):
        experiments.reproduce("objective_curve", "smoke", folder=tmp_path, sizes=[32])
    with pytest.raises(ValueError, match="unknown loss network 'vgg19'"):
        experiments.module("style_reconstruction").run("smoke", "vgg19")
    assert list(tmp_path.iterdir()) == []


def test_all_stands_for_all_once():
    assert experiments.choose(["cost", "all"]) == [
        "cost",
        *(n for n in experiments.EXPERIMENTS if n != "cost"),
    ]


def test_a_result_is_not_replaced_by_itself(tmp_path):
    (tmp_path / "cost.smoke.png").write_text("mine")
    with pytest.raises(
        FileExistsError, match=r"cost\.smoke\.png exists; give another folder or overwrite=True"
    ):
        experiments.reproduce("cost", "smoke", folder=tmp_path)
    assert (tmp_path / "cost.smoke.png").read_text() == "mine"


def test_a_result_with_nan_is_not_written(tmp_path, monkeypatch, smoke):
    cost = experiments.module("cost")
    result = Result({**_content(smoke("cost"))["data"], "broken": float("nan")})
    monkeypatch.setattr(cost, "run", lambda scale, loss_network: result)
    with pytest.raises(ValueError, match="not JSON compliant"):
        experiments.reproduce("cost", "smoke", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_a_style_network_one_line_says_so(monkeypatch):
    monkeypatch.setattr(trained_styles, "shipped", lambda task: [])
    for name in NEEDS_STYLE:
        with pytest.raises(ValueError, match=r"of no style .* the style picture is on this machine; train"):
            experiments.module(name).run("smoke", "pocket")


def test_without_a_painting_the_drawn_styles_are_taken(monkeypatch):
    """So that everything can be reproduced without a download."""
    names = trained_styles.style_networks()
    assert names
    assert set(names) < set(PATTERNS)
    assert {"great_wave"} <= set(shipped("style")) - set(names)
    assert trained_styles.first_style() == trained_styles.FIRST in names
    monkeypatch.setattr(trained_styles, "FIRST", "none such")
    assert trained_styles.first_style() == names[0]
    assert trained_styles.style_networks(["great_wave"]) == ["great_wave"]


def test_a_network_for_the_other_task_is_refused(tmp_path, style):
    other = write(sr_recipe(), tmp_path / "x4.safetensors")
    with pytest.raises(ValueError, match="is no network for style transfer"):
        experiments.module("speed").run("smoke", "pocket", styles=[str(other)])
    with pytest.raises(ValueError, match="is no network for super-resolution"):
        experiments.module("super_resolution").run("smoke", "pocket", networks=[str(style)])


def test_two_networks_of_one_name_are_refused_before_the_work(tmp_path, style):
    """A result keeps its pictures and numbers by name."""
    again = write(style_recipe("random"), tmp_path / "again.safetensors", seed=1)
    for name in ("style_gallery", "style_objectives"):
        with pytest.raises(ValueError, match=r"random\.safetensors and .*again\.safetensors are both called"):
            experiments.module(name).run("smoke", "pocket", styles=[str(style), str(again)])
    for called in ("x4", "bicubic"):
        networks = [str(write(sr_recipe(called), tmp_path / f"{i}.safetensors", seed=i)) for i in (1, 2)]
        with pytest.raises(ValueError, match=f"there is another method called {called!r}"):
            experiments.module("super_resolution").run("smoke", "pocket", networks=networks)


def test_networks_are_described_by_name_not_by_place(style):
    described = trained_styles.trained_style(style, "pocket").describe()
    assert described["name"] == "random"
    assert described["style"] == "kelim"
    assert described["loss_network"]["layers"] == ["relu1_2", "relu2_2", "relu3_3", "relu4_3"]
    assert str(style) not in json.dumps(described)


def test_a_plot_needs_no_more_than_what_is_written(smoke):
    from matplotlib import pyplot as plt

    for name in ("cost", "perceptual_agreement", "objective_curve", "speed"):
        plt.close(experiments.module(name).plot(Result(_content(smoke(name))["data"])))


@pytest.mark.parametrize("name", experiments.EXPERIMENTS)
def test_a_table_needs_no_more_than_what_is_written(name, smoke):
    result = Result(_content(smoke(name))["data"])
    table = experiments.module(name).table(result)
    assert table.caption == ""
    assert table.rows
    assert {len(row) for row in table.rows} == {len(table.titles)}
    lines = str(table).splitlines()
    assert len(lines) == 2 + len(table.rows)
    assert {line.count("|") for line in lines} == {len(table.titles) + 1}


def test_legends_of_the_ablations_cover_neither_lines_nor_titles():
    from matplotlib import pyplot as plt

    stored = Path(__file__).parents[2] / "results" / "ablations.book.json"
    pictures = dict.fromkeys(["base", *ablations.ABLATIONS], torch.zeros(1, 3, 8, 8))
    figure = ablations.plot(Result(_content(stored)["data"], pictures))
    figure.canvas.draw()
    legends = [axis.get_legend() for axis in figure.axes if axis.get_legend()]
    titles = [text for text in figure.findobj(Text) if text.get_text() in ablations.ABLATIONS]
    plt.close(figure)
    assert (len(legends), len(titles)) == (4, 5)
    for legend in legends:
        covered = legend.get_window_extent()
        assert not covered.overlaps(legend.axes.get_window_extent())
        assert not any(covered.overlaps(title.get_window_extent()) for title in titles)


def test_the_command_writes_results(tmp_path):
    names = ("perceptual_agreement", "super_resolution")
    command = [sys.executable, "-W", "error", "-m", "repro", "reproduce", *names, "--scale", "smoke"]
    command += ["-o", str(tmp_path), "--loss-network", "pocket"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    wrote = [f"Wrote {tmp_path}/{n}.smoke.json and {n}.smoke.png." for n in names]
    assert done.stderr.splitlines() == [wrote[0], "Loss network: pocket.", wrote[1], "Loss network: pocket."]
    assert len(list(tmp_path.iterdir())) == 4


@pytest.fixture
def command(monkeypatch, capsys):
    """The command in this process: returns exit code and the lines on stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["repro", "reproduce", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit:
            cli.main()
        return exit.value.code or 0, capsys.readouterr().err.splitlines()

    return run


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fig3",), "unknown experiment 'fig3'"),
        (("cost", "--scale", "big"), "unknown scale 'big'"),
        (("cost", "--data", "nowhere"), "--data is for none of cost"),
        (("super_resolution", "--scale", "smoke", "--data", "nowhere"), "nowhere: no such folder"),
        (("super_resolution", "--scale", "paper"), "repro data get set5"),
        (("speed", "--scale", "smoke", "--style", "nowhere"), "nowhere: no file, no run, and no network"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(arguments, words, tmp_path, command):
    code, lines = command(*arguments, "-o", tmp_path)
    assert code == 2
    assert len(lines) == 1
    assert lines[0].startswith("repro: ")
    assert words in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_the_command_does_not_replace_results_unasked(tmp_path, command):
    (tmp_path / "cost.smoke.json").write_text("mine")
    code, lines = command("cost", "--scale", "smoke", "-o", tmp_path)
    assert code == 2
    assert lines == [f"repro: {tmp_path}/cost.smoke.json exists; give another folder or --overwrite"]
    assert command("cost", "--scale", "smoke", "-o", tmp_path, "--overwrite")[0] == 0
    assert json.loads((tmp_path / "cost.smoke.json").read_text())["name"] == "cost"


def test_one_that_cannot_be_done_does_not_stop_the_others(tmp_path, command):
    names = ("speed", "perceptual_agreement")
    code, lines = command(*names, "--scale", "smoke", "-o", tmp_path, "--style", "nowhere")
    assert code == 2
    assert lines[0].startswith("speed: nowhere: no file")
    assert lines[-1] == "repro: 1 of 2 could not be done: speed"
    assert lines[-2] == "Loss network: pocket; VGG-16 itself is called vgg16, and downloaded once."
    assert (tmp_path / "perceptual_agreement.smoke.json").is_file()
