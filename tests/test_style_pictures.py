"""A style picture is resolved by name or file, loaded, described and credited in the same way."""

from urllib.error import URLError

import pooch
import pytest
import torch

from repro.downloads import cache_dir
from repro.errors import AssetError
from repro.patterns import PATTERNS, draw
from repro.picture_files import load_image, save_image
from repro.style_pictures import PAINTINGS, load_style, style_picture


def test_style_picture_from_a_file(tmp_path, astronaut):
    path = tmp_path / "style.png"
    save_image(astronaut[..., :64], path)  # (1, 3, 128, 64)
    style = load_style(str(path), 96)
    assert style.shape == (1, 3, 96, 48)
    assert torch.equal(style, load_image(path, 96))


def test_style_picture_drawn():
    assert torch.equal(load_style("kelim", 64), draw("kelim", 64))


def test_style_picture_of_a_painter_from_the_cache(astronaut, monkeypatch):
    path = cache_dir() / "paintings" / "great_wave.png"
    save_image(astronaut, path)
    asked = []

    def retrieve(url, known_hash, fname, path):
        asked.append((known_hash, fname, path))
        return str(path / "great_wave.png")

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    style = load_style("great_wave", 64)
    assert asked == [
        (f"sha256:{PAINTINGS['great_wave'].sha256}", "great_wave.jpg", cache_dir() / "paintings")
    ]
    assert torch.equal(style, load_image(path, 64))


def test_style_picture_that_cannot_be_had(tmp_path, monkeypatch):
    for picture in ("", "great_weave", str(tmp_path)):
        with pytest.raises(
            ValueError,
            match=rf"style picture '{picture}' is no file and no picture of: great_wave, .*stained_glass",
        ):
            load_style(picture, 256)
    tmp_path.joinpath("notes.txt").write_text("no picture")
    with pytest.raises(ValueError, match=r"notes\.txt: not a picture"):
        load_style(str(tmp_path / "notes.txt"), 256)

    def offline(*arguments, **options):
        raise OSError("no connection")

    monkeypatch.setattr("pooch.retrieve", offline)
    with pytest.raises(AssetError, match=r"Great Wave.*no connection"):
        load_style("great_wave", 256)


def test_paintings_that_cannot_be_downloaded(monkeypatch):
    def fail(*args, **options):
        raise URLError("no route\nto host")

    monkeypatch.setattr("pooch.retrieve", fail)
    with pytest.raises(AssetError, match="Starry Night: could not download") as error:
        load_style("starry_night", 256)
    assert "\n" not in str(error.value)


def test_every_kind_is_described_and_credited(tmp_path, astronaut):
    wave, rug = style_picture("great_wave"), style_picture("kelim")
    assert wave.summary == "The Great Wave off Kanagawa, Katsushika Hokusai, 1831"
    assert list(wave.credit) == ["title", "author", "year", "license"]
    assert rug.summary == f"Kelim: {PATTERNS['kelim'].description}"
    assert rug.credit == {"title": "Kelim", "author": "drawn by this project", "license": "MIT"}
    mine = style_picture(tmp_path / "mine.png")
    assert (mine.summary, mine.credit) == ("mine.png", {"title": "mine.png"})
    assert (wave.is_here, rug.is_here, mine.is_here) == (False, True, False)
    save_image(astronaut, tmp_path / "mine.png")
    save_image(astronaut, cache_dir() / "paintings" / "great_wave.jpg")
    assert wave.is_here
    assert mine.is_here
