"""A trained network becomes a file with a card and comes back from it; what is damaged is named."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import repro
from repro.errors import AssetError
from repro.images import center_crop
from repro.picture_files import load_image, save_image
from repro.pretrained import card, digest, read_weights, shipped
from repro.sample_photos import photo, photo_files
from repro.style_pictures import PAINTINGS, load_style
from repro.training import train
from repro.training.publish import HISTORY_ROWS, publish
from repro.training.recipe import from_dict, load_recipe
from repro.training.run_folder import RunFolder, fingerprint, same_fingerprint
from repro.training.starting_weights import origin
from repro.transform_nets import load_network
from small_networks import write

WEIGHTS = Path(repro.__file__).parent / "weights"
SMALL = {"network.width": 0.1, "network.num_blocks": 1, "training.size": 32, "training.steps": 4}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of four steps."""
    overrides = {**SMALL, "loss_network": "pocket", "style.picture": "kelim", "style.size": 32, "name": "rug"}
    recipe = load_recipe("style", "smoke", overrides)
    folder = tmp_path_factory.mktemp("runs") / "rug"
    return train(recipe, photo_files(), folder, precision="no", progress=False)


def test_a_run_is_published_and_loaded_again(run, tmp_path):
    path = publish(run.folder, tmp_path)
    assert path == tmp_path / "rug.safetensors"
    for suffix in (".safetensors", ".json", ".jpg"):  # it may be the style picture
        there = tmp_path / suffix / f"rug{suffix}"
        there.parent.mkdir()
        there.write_bytes(b"mine")
        with pytest.raises(
            FileExistsError, match=rf"rug{suffix} exists; give another folder or overwrite=True"
        ):
            publish(run.folder, there.parent)
        assert [file.read_bytes() for file in there.parent.iterdir()] == [b"mine"]
        assert publish(run.folder, there.parent, overwrite=True).is_file()
    image = torch.rand(1, 3, 40, 52, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        best, published = load_network(run.folder)(image), load_network(path)(image)
    assert best.shape == published.shape == image.shape
    assert (best - published).abs().max() < 2e-3  # float16
    assert not load_network(path).training
    assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}


def test_the_card_says_how_it_was_made(run, tmp_path):
    written = json.loads(publish(run.folder, tmp_path).with_suffix(".json").read_text())
    tensors = load_file(tmp_path / "rug.safetensors")
    assert written["weights_digest"] == digest(tensors)
    assert written["parameters"] == sum(value.numel() for value in tensors.values())
    assert written["recipe"]["training"]["steps"] == 4
    assert written["photos"] == {"training": 3, "held_out": 2, "sha256": written["photos"]["sha256"]}
    assert written["loss_network"]["name"] == "pocket"
    assert written["evaluation"]["objective"] == min(written["evaluations"]["objective"])
    assert written["history"]["step"] == [1, 2, 3, 4]
    (stage,) = written["stages"]
    assert stage.pop("seconds") > 0
    assert stage == {
        "steps": 4,
        "batch_size": 2,
        "size": 32,
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "schedule": "cosine",
    }
    assert len(written["history"]["total"]) == 4 <= HISTORY_ROWS
    assert written["style"] == {"title": "Kelim", "author": "drawn by this project", "license": "MIT"}
    assert written["license"] is None
    thumbnail = load_image(tmp_path / "rug.jpg")
    with torch.no_grad():
        result = load_network(run.folder)(center_crop(photo("astronaut"), 256)).clamp(0, 1)
    assert (thumbnail - result).abs().mean() < 0.02  # JPEG
    assert str(run.folder.parent) not in json.dumps(written)


def test_the_best_weights_are_published_not_the_last(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    recipe = from_dict(RunFolder(folder).description()["recipe"])
    write(recipe, folder / "model.safetensors", seed=1)
    published, best = load_file(publish(folder, tmp_path)), load_file(folder / "best.safetensors")
    assert all(torch.equal(published[key], value.half()) for key, value in best.items())


def test_the_origin_of_a_network_counts_the_steps_of_the_network_it_started_from():
    several = [name for name in shipped() if card(name)["started_from"]]
    assert several
    for name in several:
        assert origin(name)["steps"] == card(name)["steps"] + card(name)["started_from"]["steps"]


def test_of_a_style_picture_only_the_name_is_published(tmp_path):
    picture = tmp_path / "drawing.png"
    save_image(torch.rand(1, 3, 40, 40), picture)
    overrides = {**SMALL, "loss_network": "pocket", "style.picture": str(picture), "style.size": 32}
    recipe = load_recipe("style", "smoke", overrides)
    train(recipe, photo_files(), tmp_path / "run", precision="no", progress=False)
    path = publish(tmp_path / "run", tmp_path / "networks", license="CC0")
    written = path.with_suffix(".json").read_text()
    assert json.loads(written)["style"] == {"title": "drawing.png"}
    assert json.loads(written)["license"] == "CC0"
    assert load_network(path).recipe["style"]["picture"] == "drawing.png"
    assert str(tmp_path) not in written and str(tmp_path) not in path.read_bytes().decode("latin-1")


def test_a_run_starts_from_a_trained_network_and_its_card_says_so(run, tmp_path):
    overrides = {
        **SMALL,
        "loss_network": "pocket",
        "style.picture": "stained_glass",
        "style.size": 32,
        "name": "window",
        "start_from": str(run.folder),
        "training.learning_rate": 1e-12,
    }
    folder = tmp_path / "window"
    train(load_recipe("style", "smoke", overrides), photo_files(), folder, precision="no", progress=False)
    first, second = (load_network(path).state_dict() for path in (run.folder, folder))
    for key in first:
        torch.testing.assert_close(first[key], second[key], rtol=0, atol=1e-9)
    written = json.loads(publish(folder, tmp_path).with_suffix(".json").read_text())
    best = json.loads(publish(run.folder, tmp_path).with_suffix(".json").read_text())["steps"]
    assert written["started_from"] == {"network": "rug", "weights": digest(first), "steps": best}
    assert written["recipe"]["start_from"] == "rug"
    assert str(tmp_path) not in json.dumps(written)
    assert origin(folder)["steps"] == best + written["steps"]
    assert origin(tmp_path / "window.safetensors")["steps"] is None

    assert origin(tmp_path / "rug.safetensors")["network"] == "rug.safetensors"

    overrides |= {"network.width": 0.05, "name": "narrower"}
    with pytest.raises(AssetError, match=r"rug: layers\..* has shape"):
        train(load_recipe("style", "smoke", overrides), photo_files(), tmp_path / "narrower", progress=False)
    overrides |= {"start_from": "nothing"}
    with pytest.raises(ValueError, match="nothing: no file, no run"):
        train(load_recipe("style", "smoke", overrides), photo_files(), tmp_path / "narrower", progress=False)
    assert not (tmp_path / "narrower").exists()


def test_a_long_history_is_thinned(run, tmp_path):
    folder = RunFolder(tmp_path / "long")
    folder.create(RunFolder(run.folder).description())
    for name in ("best.safetensors", "model.safetensors"):
        (folder.path / name).write_bytes((run.folder / name).read_bytes())
    for step in range(1, 1001):
        folder.log({"stage": 1, "step": step, "seconds": float(step), "train": {"total": 1 / step}})
    folder.log({"stage": 1, "step": 1000, "seconds": 1000.0, "evaluation": {"objective": 1.0}})
    folder.close()
    written = json.loads(publish(folder.path, tmp_path).with_suffix(".json").read_text())
    assert written["history"]["step"] == list(range(1, 1001, 5))
    assert len(written["history"]["step"]) == HISTORY_ROWS


def test_a_run_that_has_not_finished_is_not_published(run, tmp_path):
    folder = RunFolder(tmp_path / "half")
    folder.create(RunFolder(run.folder).description())
    with pytest.raises(FileNotFoundError, match="has not finished"):
        publish(folder.path, tmp_path)


def test_of_a_run_without_its_history_nothing_is_published(run, tmp_path):
    folder = tmp_path / "lost"
    shutil.copytree(run.folder, folder)
    (folder / "history.jsonl").unlink()
    with pytest.raises(ValueError, match=r"lost: its history\.jsonl has no evaluation"):
        publish(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    weights = digest(load_network(run.folder).state_dict())
    assert origin(folder) == {"network": "lost", "weights": weights, "steps": None}


def test_what_cannot_be_loaded_is_named(run, tmp_path):
    with pytest.raises(ValueError, match=r"nothing: no file, no run, and no network of the package"):
        load_network("nothing")
    with pytest.raises(ValueError, match="no file, no run"):
        load_network(tmp_path)
    path = publish(run.folder, tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(AssetError, match="damaged"):
        load_network(path)
    tensors = load_file(run.folder / "best.safetensors")
    save_file(tensors, path)
    with pytest.raises(AssetError, match="no network of this project"):
        load_network(path)
    path.write_bytes(whole[:-2] + bytes([whole[-2] ^ 1, whole[-1]]))
    with pytest.raises(AssetError, match="was changed"):
        load_network(path)


def test_the_networks_of_the_package_match_their_cards():
    assert "pocket" not in shipped()  # a loss network
    for name in shipped():
        network, written = load_network(name), card(name)
        assert written["name"] == name
        assert digest(read_weights(WEIGHTS / f"{name}.safetensors")[0]) == written["weights_digest"]
        assert from_dict(written["recipe"]) == recipe_of(name)
        assert load_image(WEIGHTS / f"{name}.jpg").shape == (1, 3, 256, 256)
        assert written["license"] == "MIT"
        picture = written["recipe"].get("style", {}).get("picture")
        if picture in PAINTINGS:
            assert written["style"]["author"] == PAINTINGS[picture].author
        elif picture:  # drawn as it was when the network was trained
            drawn = load_style(picture, written["recipe"]["style"]["size"])
            assert same_fingerprint(fingerprint(drawn), written["style_fingerprint"])
        assert sum(value.numel() for value in network.state_dict().values()) == written["parameters"]
        side = 24
        factor = network.factor
        with torch.no_grad():
            result = network(torch.full((1, 3, side, side), 0.5))
        assert result.shape == (1, 3, factor * side, factor * side)
        assert bool(result.isfinite().all())
    with pytest.raises(ValueError, match="no network of the name 'nothing'"):
        card("nothing")


def recipe_of(name):
    """The recipe in the repository, from which the network can be trained again."""
    return load_recipe(Path(__file__).parents[2] / "recipes" / f"{name}.toml")
