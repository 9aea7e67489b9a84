"""Crops are the same for the same seed; what cannot be read is named; distortions do as they are called."""

import numpy as np
import pytest
import torch

from repro.data import DISTORTIONS, RandomCrops, data_hash, distort, list_photos, split
from repro.images import save_image


@pytest.fixture
def photos(tmp_path, astronaut):
    """Four different small photos in a folder with a subfolder."""
    for i, name in enumerate(("a.png", "b.png", "sub/c.png", "d.png")):
        save_image(astronaut[..., 10 * i : 10 * i + 60, : 70 + i], tmp_path / "photos" / name)
    return list_photos(tmp_path / "photos")


def test_list_photos_finds_pictures_in_order(photos, tmp_path):
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    assert [path.name for path in list_photos(tmp_path / "photos")] == ["a.png", "b.png", "d.png", "c.png"]
    with pytest.raises(FileNotFoundError, match="no such folder"):
        list_photos(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no picture"):
        list_photos(tmp_path / "empty")


def test_data_hash_is_of_names_and_contents(photos):
    first = data_hash(photos)
    assert data_hash(photos[::-1]) == first
    assert data_hash(photos[:-1]) != first
    photos[0].write_bytes(photos[0].read_bytes() + b"x")
    changed = data_hash(photos)
    assert changed != first
    renamed = photos[0].rename(photos[0].with_name("aa.png"))
    assert data_hash([renamed, *photos[1:]]) != changed


def test_split_is_the_same_whatever_the_order(photos):
    train, held_out = split(photos, 1)
    assert (train, held_out) == split(photos[::-1], 1)
    assert len(held_out) == 1
    assert sorted(train + held_out) == sorted(photos)
    assert len({split(photos, 1, seed)[1][0] for seed in range(20)}) > 1
    for number in (0, 4, 5):
        with pytest.raises(ValueError, match="cannot hold out"):
            split(photos, number)


def test_crops_are_reproducible(photos):
    crops, again, other = (RandomCrops(photos, 16, 12, seed) for seed in (3, 3, 4))
    assert len(crops) == 12
    for i in reversed(range(12)):  # the order of access does not matter
        assert crops[i].shape == (3, 16, 16)
        assert crops[i].dtype == torch.float32
        assert 0 <= crops[i].min() <= crops[i].max() <= 1
        assert torch.equal(crops[i], again[i])
    assert any(not torch.equal(crops[i], other[i]) for i in range(12))
    assert len({crops[i].sum().item() for i in range(12)}) == 12
    with pytest.raises(IndexError):
        crops[12]


def test_crops_of_full_scale_are_the_photo_or_its_mirror(tmp_path, astronaut):
    save_image(astronaut, tmp_path / "a.png")
    crops = RandomCrops([tmp_path / "a.png"], 128, 12, scale=(1.0, 1.0))
    mirrored = 0
    for i in range(12):
        straight, flipped = ((crops[i] - x[0]).abs().max() < 1 / 255 for x in (astronaut, astronaut.flip(-1)))
        assert straight or flipped
        mirrored += bool(flipped)
    assert 0 < mirrored < 12


def test_a_photo_that_cannot_be_read_is_skipped_with_a_warning(photos, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_text("no picture")
    crops = RandomCrops([broken, photos[0]], 8, 8)
    with pytest.warns(UserWarning, match=r"skipped .*broken\.jpg: not a picture"):
        items = [crops[i] for i in range(8)]
    assert all(item.shape == (3, 8, 8) for item in items)
    nothing = RandomCrops([broken], 8, 1)
    with pytest.warns(UserWarning), pytest.raises(RuntimeError, match="could not be read"):
        nothing[0]


@pytest.mark.parametrize("kind", DISTORTIONS)
def test_distortions_grow_with_their_strength(astronaut, kind):
    errors = []
    for strength in (0.0, 1.0):
        images = [distort(astronaut, kind, strength, np.random.default_rng(seed)) for seed in range(4)]
        for image in images:
            assert image.shape == astronaut.shape
            assert image.dtype == torch.float32
            assert image.min() >= 0
            assert image.max() <= 1 + 1e-6
        errors.append(sum((image - astronaut).square().mean().item() for image in images))
    assert 0 < errors[0] < errors[1]
    again = distort(astronaut, kind, 1.0, np.random.default_rng(3))
    assert torch.equal(again, images[3])


def test_distortions_by_what_they_keep(astronaut):
    rng = np.random.default_rng(0)
    grey = torch.full((1, 3, 40, 40), 0.4)
    for kind in ("blur", "shift", "rescale"):
        assert torch.allclose(distort(grey, kind, 1.0, rng), grey, atol=1e-5), kind
    noise = distort(grey, "noise", 0.0, rng) - grey
    assert noise.std() == pytest.approx(0.01, rel=0.05)
    with pytest.raises(ValueError, match="unknown distortion 'melt'"):
        distort(astronaut, "melt", 0.5, rng)
