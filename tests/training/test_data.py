"""Crops are the same for the same seed, every photo once an epoch; what cannot be used is named."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from repro.images import center_crop, resize
from repro.picture_files import load_image, save_image
from repro.presets import MODERN
from repro.training.data import RandomCrops, data_hash, list_photos, split, training_loader


@pytest.fixture
def photos(tmp_path, astronaut):
    """Four different small photos in a folder with a subfolder."""
    for i, name in enumerate(("a.png", "b.png", "sub/c.png", "d.png")):
        save_image(astronaut[..., 10 * i : 10 * i + 60, : 70 + i], tmp_path / "photos" / name)
    return list_photos(tmp_path / "photos")


def test_what_is_no_file_is_no_photo(photos, tmp_path):
    folder = tmp_path / "photos"
    (folder / "a folder.png").mkdir()
    (folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert list_photos(folder) == photos
    odd = Path(os.fsdecode(bytes(folder) + b"/\xe9.png"))  # not UTF-8
    odd.write_bytes(photos[0].read_bytes())
    assert len(list_photos(folder)) == 5
    assert data_hash(list_photos(folder)) != data_hash(photos)


def test_photos_of_one_name_in_two_folders_are_held_out_alike(photos, tmp_path):
    copies = [tmp_path / sub / f"{name}.png" for sub in ("x", "y") for name in "abc"]
    for i, path in enumerate(copies):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(photos[i % 4].read_bytes())
    assert split(copies, 2) == split(copies[::-1], 2)
    assert data_hash(copies) == data_hash(copies[::-1])


def test_one_photo_that_can_be_used_is_enough(photos, tmp_path):
    broken = [tmp_path / f"broken{i}.jpg" for i in range(40)]
    for path in broken:
        path.write_text("no picture")
    crops = RandomCrops([*broken, photos[0]], 8, 100)
    assert all(crops.draw(i).path == photos[0] for i in range(0, 100, 7))


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
    with pytest.raises(ValueError, match=r"no photo can be used, .*broken"):
        nothing[0]


def test_a_piece_of_one_colour_is_drawn_again(tmp_path):
    sky = torch.ones(1, 3, 64, 64)
    sky[..., 32:] = torch.rand(1, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    save_image(sky, tmp_path / "sky.png")
    crops = RandomCrops([tmp_path / "sky.png"], 16, 40, crop="patch")
    drawn = [crops.draw(i) for i in range(40)]
    assert all(crop.image.std((1, 2)).max() > 0.01 for crop in drawn)
    save_image(sky[..., :32], tmp_path / "white.png")
    with pytest.raises(ValueError, match=r"white\.png: 8 pieces of it, each of one colour"):
        RandomCrops([tmp_path / "white.png"], 16, 1, crop="whole")[0]
    both = RandomCrops([tmp_path / "sky.png", tmp_path / "white.png"], 64, 4, crop="whole")
    assert {both.draw(i).path.name for i in range(4)} == {"sky.png"}


def test_every_photo_comes_once_an_epoch(tmp_path, astronaut):
    paths = []
    for i in range(5):
        paths.append(tmp_path / f"{i}.png")
        save_image(torch.rand(1, 3, 20, 24), paths[-1])
    crops = RandomCrops(paths, 16, 10, crop="whole", mirror=False)
    drawn = [crops.draw(i).path for i in range(10)]
    assert sorted(drawn[:5]) == sorted(drawn[5:]) == paths
    assert drawn[:5] != paths or drawn[5:] != paths


def test_ways_to_cut(photos):
    image = load_image(photos[0])
    whole = RandomCrops(photos[:1], 32, 1, crop="whole", mirror=False)[0]
    assert torch.allclose(whole, resize(image, (32, 32))[0])
    patch = RandomCrops(photos[:1], 32, 1, crop="patch", mirror=False)[0]
    windows = image[0].unfold(1, 32, 1).unfold(2, 32, 1).permute(1, 2, 0, 3, 4)
    assert (windows == patch).all(dim=(2, 3, 4)).sum() == 1  # pixels as they are
    with pytest.raises(ValueError, match="'random', 'zoom', 'patch' or 'whole'"):
        RandomCrops(photos, 32, 1, crop="centre")


def test_zoom_enlarges_half_of_the_pieces_up_to_four_times(tmp_path):
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    save_image(noise, tmp_path / "noise.png")

    def roughness(crop):
        pieces = RandomCrops([tmp_path / "noise.png"], 32, 200, crop=crop, scale=(1.0, 1.0))
        return torch.stack([pieces[i].diff(dim=-1).std() for i in range(200)])

    zoomed, random = roughness("zoom"), roughness("random")
    assert random.std() < 0.01  # all of them the whole photo at half of its size
    enlarged = (zoomed - random.mean()).abs() > 0.01
    assert 70 < enlarged.sum() < 130
    four_times = center_crop(noise[..., :8, :8], 32).diff(dim=-1).std()
    assert four_times / 2 < zoomed.min() < 2 * four_times


def test_a_photo_that_is_too_small_is_skipped(photos, tmp_path):
    save_image(torch.rand(1, 3, 30, 90), tmp_path / "small.png")
    crops = RandomCrops([tmp_path / "small.png", photos[0]], 40, 4)
    drawn = [crops.draw(i) for i in range(4)]
    assert {crop.path for crop in drawn} == {photos[0]}
    assert sum(len(crop.skipped) > 0 for crop in drawn) == 2
    assert "small.png: 90 x 30 px is too small for pieces of 40 px" in "".join(
        drawn[0].skipped + drawn[1].skipped
    )


TRAINING = replace(MODERN.style.training, steps=6, batch_size=2, size=16)


def _batches(photos, first=0, workers=0, training=TRAINING, seed=5):
    loader = training_loader(photos, training, seed, first, workers, processes=1)
    return [(image, list(names), list(skipped)) for image, names, skipped in loader]


def _same(a, b):
    return len(a) == len(b) and all(
        torch.equal(x, y) and rest == other for (x, *rest), (y, *other) in zip(a, b, strict=True)
    )


def test_a_loader_gives_all_batches_of_a_run(photos):
    batches = _batches(photos)
    assert len(batches) == 6
    crops = RandomCrops(photos, 16, 12, seed=5, scale=(0.6, 1.0))
    for i, (image, names, skipped) in enumerate(batches):
        assert torch.equal(image, torch.stack([crops[2 * i], crops[2 * i + 1]]))
        assert names == [crops.draw(2 * i).path.name, crops.draw(2 * i + 1).path.name]
        assert skipped == ["", ""]
    assert not _same(batches, _batches(photos, seed=6))


@pytest.mark.parametrize("first", [1, 3, 5, 6])
def test_a_loader_goes_on_where_another_one_stopped(photos, first):
    assert _same(_batches(photos, first), _batches(photos)[first:])


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # on a machine of few cores
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")  # Python 3.12
@pytest.mark.parametrize("workers", [1, 3])
def test_batches_do_not_depend_on_the_number_of_workers(photos, workers):
    assert _same(_batches(photos, 2, workers), _batches(photos, 2))


def test_loading_leaves_the_random_state_alone(photos):
    before = torch.get_rng_state()
    _batches(photos)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loader_says_what_it_skipped(photos, tmp_path):
    small, broken = tmp_path / "small.png", tmp_path / "broken.png"
    save_image(torch.rand(1, 3, 9, 30), small)
    broken.write_text("no picture")
    batches = _batches([small, broken, photos[0]])
    assert {name for _, names, _ in batches for name in names} == {photos[0].name}
    lines = set("\n".join(line for _, _, skipped in batches for line in skipped).split("\n")) - {""}
    assert lines == {
        f"{small}: 30 x 9 px is too small for pieces of 16 px",
        f"{broken}: not a picture in a format that Pillow reads",
    }


def test_a_loader_refuses_what_cannot_be_trained_on(photos):
    with pytest.raises(ValueError, match="a batch of 2 cannot be divided among 4 processes"):
        training_loader(photos, TRAINING, 0, 0, 0, processes=4)
    with pytest.raises(ValueError, match=r"no photo can be used, .* too small for pieces of 64 px"):
        training_loader(photos, replace(TRAINING, size=64), 0, 0, 1, processes=1)


def test_workers_leave_interrupts_to_the_main_process(photos):
    loader = training_loader(photos, TRAINING, 0, 0, 1, processes=1)
    before = signal.getsignal(signal.SIGINT)
    try:
        loader.worker_init_fn(0)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
