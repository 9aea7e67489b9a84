"""The command line end to end, in a process of its own: results, one-line errors, exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from repro import __version__, cli, images, picture_files
from repro.optimize_image import OptimizedImage
from repro.presets import REFERENCE, STYLE_LAYERS
from repro.training import train
from repro.training.recipe import load_recipe
from repro.training.runtime import default_precision
from repro.vgg_weights import find_loss_weights
from small_networks import style_recipe, write


def repro(*arguments, **kwargs):
    command = [sys.executable, "-W", "error", "-m", "repro", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=1800, **kwargs)


@pytest.fixture
def photo(tmp_path, astronaut):
    picture_files.save_image(astronaut, tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def style_file(tmp_path):
    return write(style_recipe("rug"), tmp_path / "weights" / "style.safetensors")


def assert_one_line_error(result, *words):
    assert result.returncode == 2, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("repro:")]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in lines[0]


def test_transfer_style_writes_a_picture_and_lowers_the_objective(photo, tmp_path):
    output = tmp_path / "result.png"
    result = repro(
        "transfer-style", photo, photo, "-o", output, "--size", 64, "--style-size", 48, "--iterations", 5,
        "--loss-network", "pocket",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert picture_files.load_image(output).shape == (1, 3, 64, 64)
    line = next(line for line in result.stderr.splitlines() if line.startswith("Objective"))
    before, after = float(line.split()[1]), float(line.split()[3])
    assert after < before / 2


def test_options_of_transfer_style_are_those_of_the_function(photo, tmp_path, monkeypatch):
    asked = []

    def transfer_style(content, style, network, loss, *rest, progress):
        asked.append((max(content.shape), max(style.shape), network.name, loss, *rest))
        return OptimizedImage(content, {"total": [2.0, 1.0]})

    monkeypatch.setattr("repro.optimize_image.transfer_style", transfer_style)
    options = ("--iterations", 7, "--size", 40, "--style-size", 24, "--style-weight", 3, "--seed", 9)
    options += ("--content-weight", 2, "--start", "content", "--loss-network", "pocket")
    assert here(monkeypatch, "transfer-style", photo, photo, "-o", tmp_path / "a.png", *options) == 0
    loss = replace(
        REFERENCE.style.loss,
        content_layers={"relu3_3": 2.0},
        style_layers=dict.fromkeys(STYLE_LAYERS, 3.0),
    )
    assert asked == [(40, 24, "pocket", loss, 7, "content", 9)]


def test_the_seed_decides_the_picture(photo, tmp_path):
    pixels = []
    for name, seed in (("a.png", 1), ("b.png", 1), ("c.png", 2)):
        result = repro(
            "invert", photo, "-o", tmp_path / name, "--layer", "relu2_2", "--size", 32, "--iterations", 2,
            "--seed", seed, "--loss-network", "pocket",
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        pixels.append(images.to_array(picture_files.load_image(tmp_path / name)))
    assert (pixels[0] == pixels[1]).all()
    assert (pixels[0] != pixels[2]).any()


def test_info_names_the_weights_and_the_cache(tmp_path):
    result = repro("info")
    assert result.returncode == 0, result.stderr
    assert "pocket is taken" in result.stdout
    assert "vgg16-torchvision" in result.stdout


def test_info_keeps_a_long_path_on_one_line_in_a_narrow_terminal(tmp_path):
    cache = tmp_path / "a folder" / ("long" * 20) / "cache"
    result = repro("info", env=os.environ | {"COLUMNS": "60", "REPRO_CACHE": str(cache)})
    assert result.returncode == 0, result.stderr
    shown = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert shown["cache"] == str(cache)
    assert shown["pocket"].startswith(f"{find_loss_weights('pocket')} (relu")


def test_auto_takes_vgg16_where_it_is_and_says_which_layers(photo, tmp_path, vgg16_file, monkeypatch):
    monkeypatch.setenv("REPRO_CACHE", str(vgg16_file.parent))
    result = repro("transfer-style", photo, photo, "-o", tmp_path / "r.png", "--size", 32, "--iterations", 1)
    assert result.returncode == 0, result.stderr
    assert "Loss network: vgg16" in result.stderr
    assert "no relu4_3" in result.stderr


def test_nothing_is_overwritten_unless_told(photo, tmp_path):
    output = tmp_path / "out.png"
    output.write_bytes(b"mine")
    arguments = ("invert", photo, "-o", output, "--size", 16, "--iterations", 1, "--layer", "relu1_2")
    assert_one_line_error(repro(*arguments), "out.png", "--overwrite")
    assert output.read_bytes() == b"mine"
    assert repro(*arguments, "--overwrite").returncode == 0
    assert picture_files.load_image(output).shape == (1, 3, 16, 16)


def test_bad_input_is_one_line_and_exit_code_2(photo, tmp_path):
    text = tmp_path / "text.jpg"
    text.write_text("not a picture")
    pixel = tmp_path / "pixel.png"
    Image.new("RGB", (1, 1)).save(pixel)
    out = tmp_path / "o.png"
    assert_one_line_error(repro("invert", tmp_path / "none.jpg", "-o", out), "none.jpg", "no such file")
    assert_one_line_error(repro("invert", text, "-o", out), "text.jpg", "not a picture")
    assert_one_line_error(repro("invert", pixel, "-o", out, "--size", 1), "too small")
    assert_one_line_error(repro("invert", photo, "-o", out, "--layer", "relu9_9"), "relu9_9", "relu5_3")
    assert_one_line_error(repro("invert", photo, "-o", out, "--layer", "relu5_3", "--loss-network", "pocket"),
                          "relu5_3", "relu3_3")  # fmt: skip
    assert_one_line_error(repro("invert", photo, "-o", out, "--loss-network", "vgg99"), "vgg99", "pocket")
    assert_one_line_error(repro("invert", photo, "-o", tmp_path / "o.xyz"), ".xyz")
    before = photo.read_bytes()
    replace = ("-o", photo, "--overwrite", "--loss-network", "pocket", "--iterations", 1, "--size", 32)
    assert_one_line_error(repro("invert", photo, *replace), "would replace", "photo.png")
    assert_one_line_error(repro("transfer-style", pixel, photo, *replace), "would replace", "photo.png")
    assert photo.read_bytes() == before
    assert not out.exists()


RECIPE = """
task = "super-resolution"
loss_network = "pocket"
network = { width = 0.1, num_blocks = 1 }
training = { steps = 60, batch_size = 2, size = 32 }
run = { held_out = 1, log_every = 1, save_every = 1000, evaluate_every = 1000, workers = 1 }
"""


@pytest.fixture
def photos(tmp_path, astronaut):
    for i in range(4):
        picture_files.save_image(
            astronaut[..., 12 * i : 12 * i + 70, : 80 + i], tmp_path / "photos" / f"{i}.png"
        )
    return tmp_path / "photos"


def start(*arguments):
    """Begin a training in a group of processes of its own, as a terminal does."""
    environment = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "repro", "train", *map(str, arguments)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        start_new_session=True,
    )


def wait_for_steps(process, folder, number):
    history = folder / "history.jsonl"
    while not history.exists() or len(history.read_text().splitlines()) < number:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)


def assert_stopped(process, folder):
    """Check that it left cleanly; return the step that it came to."""
    _, errors = process.communicate(timeout=1800)
    assert process.returncode == 130, errors
    (line,) = [line for line in errors.splitlines() if line.startswith("repro:")]
    assert line.endswith(f"; go on with: repro train --resume {folder}")
    assert "Traceback" not in errors
    step = torch.load(folder / "checkpoint.pt", weights_only=True)["step"]
    assert line.startswith(f"repro: stopped at step {step} of 60;")
    return step


def test_an_interrupted_training_goes_on_to_the_same_network(photos, tmp_path, monkeypatch):
    recipe, folder = tmp_path / "small.toml", tmp_path / "run"
    recipe.write_text(RECIPE)
    process = start(recipe, "--photos", photos, "-o", folder, "--precision", "no")
    wait_for_steps(process, folder, 3)
    os.killpg(process.pid, signal.SIGINT)  # Ctrl-C reaches the process that reads photos as well
    first = assert_stopped(process, folder)

    process = start("--resume", folder)
    wait_for_steps(process, folder, first + 3)
    os.killpg(process.pid, signal.SIGTERM)
    second = assert_stopped(process, folder)
    assert 3 <= first < second < 60

    process = start("--resume", folder)
    _, errors = process.communicate(timeout=1800)
    assert process.returncode == 0, errors
    assert errors.splitlines()[-1].startswith("60 steps; objective on held-out photos ")
    assert errors.splitlines()[-1].endswith(f"The run is in {folder}.")

    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    undisturbed = train(load_recipe(recipe), photos, tmp_path / "undisturbed", precision="no", progress=False)
    weights = load_file(folder / "model.safetensors")
    assert weights.keys() == undisturbed.network.state_dict().keys()
    for key, value in undisturbed.network.state_dict().items():
        assert torch.equal(weights[key], value), key


def here(monkeypatch, *arguments):
    """Run the command in this process; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["repro", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0


def test_train_takes_values_from_the_scale_and_the_command_line(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    precision = "bf16" if default_precision() == "no" else "no"
    arguments = (
        "train", "--photos", "photos", "--style", "kelim", "--preset", "reference",
        "--scale", "smoke", "--steps", 2, "--loss-network", "pocket", "--set", "network.width=0.1",
        "--set", "training.size=32", "--set", "name = mine", "--precision", precision,
    )  # fmt: skip
    assert here(monkeypatch, *arguments) == 0
    facts = json.loads((tmp_path / "runs" / "mine" / "run.json").read_text())
    recipe = facts["recipe"]
    assert (recipe["preset"], recipe["style"]["picture"], recipe["network"]["width"]) == (
        "reference", "kelim", 0.1
    )  # fmt: skip
    assert (recipe["training"]["steps"], recipe["training"]["size"]) == (2, 32)
    assert recipe["run"]["held_out"] == 2  # of the scale
    assert facts["precision"] == precision
    assert (tmp_path / "runs" / "mine" / "model.safetensors").is_file()


def test_a_run_of_a_preset_is_called_as_its_folder(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = [
        "--scale",
        "smoke",
        "--loss-network",
        "pocket",
        "--set",
        "network.width=0.1",
        "--precision",
        "no",
    ]
    arguments = ["train", "--photos", "photos", "--style", "kelim", *small, "-o", "runs/my rug"]
    assert here(monkeypatch, *arguments) == 0
    assert json.loads((tmp_path / "runs/my rug/run.json").read_text())["recipe"]["name"] == "my rug"
    assert here(monkeypatch, "publish", "runs/my rug", "-o", "networks", "--license", "MIT") == 0
    assert json.loads((tmp_path / "networks/my rug.json").read_text())["license"] == "MIT"
    assert (tmp_path / "networks/my rug.jpg").is_file()


def test_train_says_in_one_line_what_does_not_fit(photos, tmp_path, monkeypatch, capsys):
    recipe, run = tmp_path / "small.toml", tmp_path / "run"
    recipe.write_text(RECIPE)
    (tmp_path / "empty").mkdir()
    run.mkdir()
    (run / "history.jsonl").write_text('{"step": 1}\n')
    small = (recipe, "--photos", photos, "-o", tmp_path / "new", "--precision", "no")
    cases = [
        ((), ["RECIPE.toml", "--style PICTURE", "--photos FOLDER", "--resume FOLDER"]),
        ((recipe,), ["--photos FOLDER"]),
        ((tmp_path / "none.toml", "--photos", photos), ["none.toml: no such recipe"]),
        ((recipe, "--photos", tmp_path / "none"), ["none: no such folder"]),
        ((recipe, "--photos", tmp_path / "empty"), ["empty: no picture in this folder"]),
        ((*small, "--set", "training.speed=3"), ["unknown key 'speed'", "learning_rate"]),
        ((*small, "--set", "training.steps"), ["expected KEY=VALUE"]),
        ((*small, "--set", "run.held_out=4"), ["cannot hold out 4 of 4 photos"]),
        ((*small, "--set", "loss.tv_weight=-1"), ["loss.tv_weight must be at least 0, got -1"]),
        ((*small, "--precision", "half"), ["unknown precision 'half'", "bf16"]),
        ((*small, "-o", recipe), ["small.toml is a file, not a folder"]),
        ((*small, "-o", run), ["holds a run already", "--resume"]),
        ((*small[1:], "--style", "nothing", "--loss-network", "pocket", "--set", "run.held_out=1"),
         ["'nothing' is no file", "stained_glass"]),
        (("--resume", tmp_path / "new"), ["holds no run"]),
        (("--resume", run, "--scale", "smoke"), ["takes all but --steps", "give nothing else"]),
        (("style", "--photos", photos), ["style: no such recipe", "RECIPE.toml", "--style PICTURE"]),
        ((*small, "--super-resolution", 4), ["takes neither a recipe nor --style"]),
        ((*small[1:], "--super-resolution", 3), ["super_resolution.factor must be 4 or 8, got 3"]),
    ]  # fmt: skip
    for arguments, words in cases:
        assert here(monkeypatch, "train", *arguments) == 2, arguments
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("repro: ")
        for word in words:
            assert word in line
    assert not (tmp_path / "new").exists()


def test_an_interruption_while_it_starts_is_one_line(photo, tmp_path, monkeypatch, capsys):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("repro.picture_files.load_image", interrupted)
    assert here(monkeypatch, "invert", photo, "-o", tmp_path / "a.png") == 130
    assert capsys.readouterr().err == "Aborted.\n"


COMMANDS = [
    command.name or command.callback.__name__.replace("_", "-") for command in cli.app.registered_commands
]


def test_help_and_completion_load_no_torch():
    """In one process, as what counts is what is loaded, and each one would take its time to start."""
    code = """
import contextlib, io, os, sys
from repro import cli

def ended(*arguments):
    sys.argv = ["repro", *arguments]
    with contextlib.redirect_stdout(io.StringIO()) as output:
        try:
            cli.main()
        except SystemExit as leave:
            assert not leave.code, leave.code
    return output.getvalue()

for command in sys.argv[1:]:
    assert "Usage" in ended(command, "--help"), command
assert "Usage" in ended("--help") and "get" in ended("data", "--help")
os.environ |= {"_REPRO_COMPLETE": "complete_bash", "COMP_WORDS": "repro sty", "COMP_CWORD": "1"}
assert ended().split() == ["stylize", "styles"]
heavy = {"torch", "numpy", "scipy", "PIL", "matplotlib"}
print(*sorted({name.partition(".")[0] for name in sys.modules} & heavy))
"""
    command = [sys.executable, "-c", code, *COMMANDS]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert (result.returncode, result.stdout) == (0, "\n"), result.stderr


def test_a_network_is_loaded_without_scipy(style_file, photo, tmp_path):
    code = "import sys; from repro import cli\ntry:\n    cli.main()\nexcept SystemExit:\n    pass\n"
    code += "print('scipy' in sys.modules, 'matplotlib' in sys.modules, 'huggingface_hub' in sys.modules)"
    command = [sys.executable, "-c", code, "stylize", photo, "--style", style_file, "-o", tmp_path / "a.png"]
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=240)
    assert result.stdout == "False False False\n", result.stderr
    assert (tmp_path / "a.png").is_file()


def test_version(monkeypatch, capsys):
    assert here(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"repro {__version__}\n"


def test_only_expected_errors_are_one_line(photo, tmp_path, monkeypatch, capsys):
    arguments = ("invert", photo, "-o", tmp_path / "a.png", "--layer", "relu9_9", "--loss-network", "pocket")
    assert here(monkeypatch, *arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    monkeypatch.setattr(sys, "argv", ["repro", "--debug", *map(str, arguments)])
    with pytest.raises(ValueError, match="relu9_9"):
        cli.main()

    def mistaken(*arguments):
        return torch.zeros(2).reshape(3) if mistake is RuntimeError else int("three")

    for mistake in (RuntimeError, ValueError):
        monkeypatch.setattr("repro.picture_files.load_image", mistaken)
        monkeypatch.setattr(sys, "argv", ["repro", *map(str, arguments)])
        with pytest.raises(mistake):
            cli.main()


def test_a_package_that_is_missing_is_named_with_its_extra(photo, style_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    assert here(monkeypatch, "styles", style_file, "--sheet", photo, "-o", tmp_path / "a.png") == 2
    expected = (
        "repro: this needs matplotlib; get it with: pip install 'perceptual-losses-repro[experiments]'\n"
    )
    assert capsys.readouterr().err == expected


def test_a_scorecard_of_no_folder_is_one_line(tmp_path, monkeypatch, capsys):
    assert here(monkeypatch, "scorecard", tmp_path / "none") == 2
    assert capsys.readouterr().err.startswith(f"repro: {tmp_path / 'none'}: no such folder")
