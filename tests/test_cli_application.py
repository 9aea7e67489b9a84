"""`repro stylize`, `upscale` and `styles` end to end: files, formats, names, errors among many."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

import repro
from repro import cli
from repro.images import resize, to_array
from repro.picture_files import load_image, load_picture, save_image
from repro.pretrained import shipped
from small_networks import sr_recipe, style_recipe, write


@pytest.fixture
def style(tmp_path):
    return write(style_recipe("rug"), tmp_path / "weights" / "style.safetensors")


@pytest.fixture
def x4(tmp_path):
    return write(sr_recipe(), tmp_path / "weights" / "x4.safetensors")


@pytest.fixture
def photo(tmp_path, astronaut):
    save_image(astronaut[..., :70, :90], tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command in this process; return its exit code, the output and the lines of errors."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["repro", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output, errors = capsys.readouterr()
        assert "Traceback" not in errors
        return ended.value.code or 0, output, errors.splitlines()

    return call


def test_stylize_in_a_process_of_its_own(photo, style, tmp_path):
    command = ["-W", "error", "-m", "repro", "stylize", photo, "--style", style, "-o", tmp_path / "a.png"]
    result = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, timeout=1800
    )
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
    assert result.stderr == f"Wrote {tmp_path / 'a.png'}.\n"
    expected = to_array(repro.stylize(load_image(photo), style))
    assert abs(to_array(load_image(tmp_path / "a.png")).astype(int) - expected).max() <= 1


def test_a_photo_passes_few_rooms(run, photo, style, tmp_path):
    """Counted are the units of the table of imports that a function with the picture as an argument is in."""
    passed = set()

    def note(frame, event, argument):
        name = frame.f_globals.get("__name__", "")
        pictures = (torch.Tensor, Image.Image)
        if event == "call" and name.startswith("repro.") and frame.f_code.co_name != "<module>":
            given = frame.f_locals.values()
            passed.update(name.split(".")[1] for value in given if isinstance(value, pictures))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        assert run("stylize", photo, "--style", style, "-o", tmp_path / "a.png")[0] == 0
    finally:
        sys.setprofile(before)
    assert passed == {"cli", "picture_files", "images", "inference", "tiles", "transform_nets", "blocks"}


def test_weights_are_read_once_and_no_card_is(run, photo, tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(
        "repro.pretrained.safe_open", lambda path, **how: read.append(path) or safe_open(path, **how)
    )
    monkeypatch.setattr("repro.pretrained.card", lambda name: read.append(name))
    assert run("stylize", photo, "--style", "stained_glass", "-o", tmp_path / "a.png")[0] == 0
    assert [path.name for path in read] == ["stained_glass.safetensors"]


def test_options_of_stylize_are_those_of_the_function(run, photo, style, tmp_path):
    out = tmp_path / "a.png"
    options = ("--strength", 0.5, "--preserve-color", "--size", 80, "--tile", 64, "-o", out)
    assert run("stylize", photo, "--style", style, *options)[0] == 0
    expected = repro.stylize(load_image(photo, 80), style, 0.5, True, 64)
    assert load_image(out).shape == expected.shape == (1, 3, 62, 80)
    assert (load_image(out) - expected).abs().max() < 0.003
    assert run("stylize", photo, "--style", style, "--strength", 0, "-o", out, "--overwrite")[0] == 0
    assert torch.equal(load_image(out), load_image(photo))


def test_upscale_and_its_switch(run, photo, x4, tmp_path):
    image = resize(load_image(photo), (20, 31))
    save_image(image, tmp_path / "small.png")
    for name, options, flag in (
        ("default.png", (), None),
        ("without.png", ("--no-histogram-matching",), False),
    ):
        out = tmp_path / name
        assert run("upscale", tmp_path / "small.png", "--network", x4, "-o", out, *options)[0] == 0
        expected = repro.upscale(load_image(tmp_path / "small.png"), network=x4, match_histogram=flag)
        assert load_image(out).shape == (1, 3, 80, 124)
        assert (load_image(out) - expected).abs().max() < 0.003


def test_names_beside_the_photos_and_in_a_folder(run, photo, style, x4, tmp_path):
    Image.fromarray(to_array(load_image(photo))).convert("P").save(tmp_path / "anim.gif")
    code, _, errors = run("stylize", photo, tmp_path / "anim.gif", "--style", style)
    assert (code, errors) == (0, ["Wrote 2 of 2 pictures."])
    assert (tmp_path / "photo_rug.png").is_file()
    assert (tmp_path / "anim_rug.png").is_file()
    assert run("upscale", photo, "--network", x4, "-o", tmp_path / "new" / "folder")[0] == 0
    assert load_image(tmp_path / "new" / "folder" / "photo_x4.png").shape == (1, 3, 280, 360)
    assert run("stylize", photo, "--style", style, "-o", tmp_path / "other" / "a.jpg")[0] == 0
    assert (tmp_path / "other" / "a.jpg").is_file()


def test_one_bad_photo_among_many(run, photo, style, tmp_path):
    text = tmp_path / "text.jpg"
    text.write_text("not a picture")
    second = tmp_path / "second.png"
    second.write_bytes(photo.read_bytes())
    code, _, errors = run(
        "stylize", text, photo, tmp_path / "none.png", second, "--style", style, "-o", tmp_path / "out"
    )
    assert code == 2
    assert errors[:2] == [
        f"repro: {text}: not a picture in a format that Pillow reads",
        f"repro: {tmp_path / 'none.png'}: no such file",
    ]
    assert errors[2] == "Wrote 2 of 4 pictures."
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["photo_rug.png", "second_rug.png"]


def test_nothing_is_overwritten_unless_told(run, photo, style, tmp_path):
    out = tmp_path / "a.png"
    out.write_bytes(b"mine")
    code, _, errors = run("stylize", photo, "--style", style, "-o", out)
    assert (code, errors) == (2, [f"repro: {out} exists; give another name or --overwrite"])
    assert out.read_bytes() == b"mine"
    assert run("stylize", photo, "--style", style, "-o", out, "--overwrite")[0] == 0
    assert load_image(out).shape == (1, 3, 70, 90)
    before = photo.read_bytes()
    code, _, errors = run("stylize", photo, "--style", style, "-o", photo, "--overwrite")
    assert (code, len(errors)) == (2, 1)
    assert f"would replace the photo {photo}" in errors[0]
    assert photo.read_bytes() == before
    result = photo.with_name("photo_rug.png")
    assert run("stylize", photo, "--style", style)[0] == 0
    before = result.read_bytes()  # of another one it is the photo
    code, _, errors = run("stylize", photo, result, "--style", style, "--overwrite")
    assert (code, errors[-1]) == (2, "Wrote 1 of 2 pictures.")
    assert result.read_bytes() == before


def test_where_nothing_can_be_written_nothing_is_done(run, photo, style, tmp_path):
    (tmp_path / "file").write_text("no folder")
    for output in (tmp_path / "file", tmp_path / "file" / "b.png"):
        code, _, errors = run("stylize", photo, "--style", style, "-o", output)
        assert code == 2
        assert errors == [f"repro: {tmp_path / 'file'} is a file, not a folder; give another name"]
    output = tmp_path / "file" / "sub"
    code, _, errors = run("stylize", photo, "--style", style, "-o", output)
    assert code == 2
    assert errors == [
        f"repro: {tmp_path / 'file'} is a file, so {output} cannot be written; give another name"
    ]


def test_an_error_of_one_photo_names_it(run, photo, style, tmp_path, monkeypatch):
    bad = tmp_path / "nan.tif"
    Image.fromarray(np.array([[0.5, np.nan]], dtype=np.float32)).save(bad)
    code, _, errors = run("stylize", bad, photo, "--style", style, "-o", tmp_path / "out")
    assert code == 2
    assert errors[0].startswith(f"repro: {bad}: photo: expected values in [0, 1]")
    assert errors[1] == "Wrote 1 of 2 pictures."

    def no_memory(*arguments):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")

    monkeypatch.setattr("repro.inference.run_in_tiles", no_memory)
    code, _, errors = run("stylize", photo, "--style", style, "-o", tmp_path / "b.png")
    assert (code, errors) == (2, [f"repro: {photo}: not enough memory; give a smaller --tile or size"])
    monkeypatch.setattr("repro.figures.show", no_memory)
    monkeypatch.setattr("repro.inference.run_in_tiles", lambda network, photo, *_: photo)
    code, _, errors = run("styles", style, "--sheet", photo, "-o", tmp_path / "b.png")
    assert code == 2 and len(errors) == 1 and errors[0].startswith("repro: not enough memory; give a smaller")


def test_two_photos_of_one_name_do_not_replace_each_other(run, photo, style, tmp_path):
    other = tmp_path / "other" / "photo.png"
    other.parent.mkdir()
    other.write_bytes(photo.read_bytes())
    code, _, errors = run("stylize", photo, other, "--style", style, "-o", tmp_path / "out", "--overwrite")
    assert code == 2
    assert "is the result of another photo" in errors[0]
    assert errors[1] == "Wrote 1 of 2 pictures."


def test_orientation_and_quality_of_a_jpeg_file_are_kept(run, style, x4, astronaut, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = tmp_path / "phone.jpg"
    Image.fromarray(to_array(astronaut[..., :40, :60])).save(photo, quality=60, exif=exif)
    assert run("stylize", photo, "--style", style)[0] == 0
    assert run("upscale", photo, "--network", x4)[0] == 0
    for name, size in (("phone_rug.jpg", (60, 40)), ("phone_x4.jpg", (240, 160))):
        image, alpha, quality = load_picture(tmp_path / name)
        assert (image.shape[-2:], alpha, quality) == (size, None, 60)
        with Image.open(tmp_path / name) as file:
            assert file.getexif().get(0x0112, 1) == 1


def test_alpha_is_kept_and_grows_with_the_picture(run, style, x4, astronaut, tmp_path):
    alpha = torch.zeros(1, 1, 24, 32)
    alpha[..., 8:, :] = 1
    save_image(resize(astronaut, (24, 32)), tmp_path / "a.png", alpha=alpha)
    assert run("stylize", tmp_path / "a.png", "--style", style)[0] == 0
    assert run("upscale", tmp_path / "a.png", "--network", x4)[0] == 0
    assert torch.equal(load_picture(tmp_path / "a_rug.png").alpha, alpha)
    large = load_picture(tmp_path / "a_x4.png").alpha
    assert large.shape == (1, 1, 96, 128)
    assert large[..., :24, :].max() == 0
    assert large[..., 40:, :].min() == 1


def test_what_cannot_be_done_at_all_is_one_line(run, photo, style, x4, tmp_path):
    photo.with_name("there.png").write_bytes(b"mine")
    original = photo.read_bytes()
    cases = [
        (("stylize", photo, "--style", "no_such"), "no_such: no file, no run, and no network of the package"),
        (("stylize", photo, "--style", x4), "is no network for style transfer"),
        (("stylize", photo, photo, "--style", style, "-o", tmp_path / "a.png"), "need a folder, not a file"),
        (("stylize", photo, "--style", style, "-o", tmp_path / "a.gif"), "unknown suffix '.gif'"),
        (("stylize", photo, "--style", style, "-o", tmp_path / "a.heic"), "unknown suffix '.heic'"),
        (("upscale", photo, "--network", "x3"), "x3: no file, no run, and no network of the package (x4, "),
        (("upscale", photo, "--device", "gpu"), "unknown device 'gpu'; choose auto, cpu, cuda or mps"),
        (("upscale", photo, "--network", style), "is no network for super-resolution"),
        (("styles", "-o", tmp_path / "a.png"), "give --sheet PHOTO"),
        (("styles", style, "--sheet", photo), "give the sheet a file"),
        (("styles", style, "--sheet", photo, "-o", photo, "--overwrite"), "the result would replace"),
        (("styles", style, "--sheet", photo, "-o", style), "unknown suffix '.safetensors'"),
        (
            ("styles", style, "--sheet", photo, "-o", photo.with_name("there.png")),
            "exists; give another name",
        ),
        (
            ("styles", style, "--sheet", photo, "-o", tmp_path / "a.png", "--size", 20),
            "too narrow for a name",
        ),
        (("styles", style, "--sheet", tmp_path / "none.jpg", "-o", tmp_path / "a.png"), "no such file"),
        (("styles", x4), "is no network for style transfer"),
    ]
    for arguments, words in cases:
        code, output, errors = run(*arguments)
        assert (code, output) == (2, ""), arguments
        (line,) = errors
        assert line.startswith("repro: ")
        assert words in line
    assert not list(tmp_path.glob("a.*"))
    assert photo.read_bytes() == original


def test_styles_are_listed_and_shown_on_a_photo(run, photo, style, tmp_path):
    wave = write(style_recipe("wave"), tmp_path / "wave.safetensors", seed=1)
    code, output, errors = run("styles", style, wave)
    assert (code, errors) == (0, [])
    lines = output.splitlines()
    assert [line.split()[0] for line in lines] == [str(style), str(wave)]
    assert all("Kelim: A flat-woven rug" in line for line in lines)

    sheet = tmp_path / "sheet.png"
    assert run("styles", style, wave, "--sheet", photo, "-o", sheet, "--size", 90)[0] == 0
    picture = load_image(sheet)
    # Two rows of two, each about as large as asked for, and white where the fourth would be.
    assert 170 <= picture.shape[-1] <= 190
    assert 2 * 70 < picture.shape[-2] < 2 * 70 + 60
    assert picture[..., -50:-10, -50:-10].min() == 1
    code, output, errors = run("styles")
    assert code == 0
    assert len(output.splitlines()) == len(shipped("style"))


@pytest.mark.parametrize(
    ("said", "count"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
    ids=["nothing said", "count", "policy"],
)
def test_threads_soon_sleep_unless_the_environment_says_how_they_wait(said, count):
    """PyTorch reads it when it is loaded, so it has to be said before."""
    code = (
        "import os, sys; from repro import cli; loaded = 'torch' in sys.modules; "
        "cli.app = lambda: print(loaded, os.environ.get('GOMP_SPINCOUNT')); cli.main()"
    )
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("GOMP", "OMP"))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=inherited | said)
    assert done.stdout.split() == ["False", count], done.stderr
