"""The command line end to end, in a process of its own: results, one-line errors, exit codes."""

import os
import subprocess
import sys

import pytest
from PIL import Image

from repro import assets, images


def repro(*arguments, **kwargs):
    command = [sys.executable, "-W", "error", "-m", "repro.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, **kwargs)


@pytest.fixture
def photo(tmp_path, astronaut):
    images.save_image(astronaut, tmp_path / "photo.png")
    return tmp_path / "photo.png"


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
    assert images.load_image(output).shape == (1, 3, 64, 64)
    line = next(line for line in result.stderr.splitlines() if line.startswith("Objective"))
    before, after = float(line.split()[1]), float(line.split()[3])
    assert after < before / 2


def test_the_seed_decides_the_picture(photo, tmp_path):
    pixels = []
    for name, seed in (("a.png", 1), ("b.png", 1), ("c.png", 2)):
        result = repro(
            "invert", photo, "-o", tmp_path / name, "--layer", "relu2_2", "--size", 32, "--iterations", 2,
            "--seed", seed, "--loss-network", "pocket",
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        pixels.append(images.to_array(images.load_image(tmp_path / name)))
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
    assert shown["pocket"].startswith(f"{assets.find_loss_weights('pocket')} (relu")


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
    assert images.load_image(output).shape == (1, 3, 16, 16)


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
    assert not out.exists()
