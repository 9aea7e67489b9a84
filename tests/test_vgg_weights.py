"""Weights are found, checked and converted; what cannot be had is said in one line."""

from urllib.error import URLError

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torchvision.models import VGG16_Weights

from repro.atomic_files import sha256
from repro.downloads import cache_dir
from repro.errors import AssetError
from repro.pretrained import digest, save_weights
from repro.vgg_weights import convolutions, find_loss_weights, load_loss_weights
from tiny_vgg import tensors, write

# The positions of the convolutions in torchvision's VGG-16, between ReLUs and pooling layers.
TORCHVISION = {
    "conv1_1": 0, "conv1_2": 2, "conv2_1": 5, "conv2_2": 7, "conv3_1": 10, "conv3_2": 12, "conv3_3": 14,
    "conv4_1": 17, "conv4_2": 19, "conv4_3": 21, "conv5_1": 24, "conv5_2": 26, "conv5_3": 28,
}  # fmt: skip


def torchvision_state():
    """Return random weights under torchvision's names."""
    state = {}
    for key, value in tensors().items():
        layer, kind = key.split(".")
        state[f"features.{TORCHVISION[layer]}.{kind}"] = value
    return {**state, "classifier.0.weight": torch.zeros(2, 2)}


def _offline(monkeypatch):
    def fail(self, *args, **options):
        raise URLError("Name or service not known")

    monkeypatch.setattr(VGG16_Weights, "get_state_dict", fail)


def test_weights_come_back_as_saved():
    path = write()
    loaded, source = load_loss_weights("vgg16")
    assert loaded.keys() == tensors().keys()
    assert all(torch.equal(loaded[key], value) for key, value in tensors().items())
    assert source == f"vgg16_caffe.safetensors sha256:{sha256(path)}"


def test_the_deepest_file_is_taken():
    assert find_loss_weights("vgg16") is None
    short = write("relu2_2", "vgg16_caffe_relu2_2.safetensors")
    assert find_loss_weights("vgg16") == short
    full = write("relu5_3")
    assert find_loss_weights("vgg16") == full
    assert find_loss_weights("vgg16-torchvision") is None


def test_weights_that_do_not_match_their_digest():
    path = write()
    changed = tensors()
    changed["conv3_1.bias"][0] += 1
    save_file(changed, path, metadata={"digest": digest(tensors())})
    with pytest.raises(AssetError, match="do not match their own hash"):
        load_loss_weights("vgg16")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.pop("conv1_1.weight"), "no conv1_1.weight"),
        (lambda t: t.pop("conv2_1.bias"), "conv2_1.bias is missing"),
        (lambda t: t.update({"conv2_1.weight": torch.zeros(4, 9, 3, 3)}), r"conv2_1.weight has shape"),
        (lambda t: t["conv2_2.weight"].fill_(float("nan")), "conv2_2 holds values that are not finite"),
    ],
)
def test_wrong_tensors_are_named(damage, message):
    wrong = tensors()
    damage(wrong)
    save_weights(wrong, cache_dir() / "vgg16_caffe.safetensors", {})
    with pytest.raises(AssetError, match=message):
        load_loss_weights("vgg16")


def test_damaged_file():
    path = write()
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(AssetError, match="damaged"):
        load_loss_weights("vgg16")


@pytest.mark.parametrize("name", ["vgg16", "vgg16-torchvision"])
def test_offline_is_one_line_and_leaves_nothing(monkeypatch, name):
    _offline(monkeypatch)
    with pytest.raises(AssetError, match=r"could not download .*Name or service not known") as error:
        load_loss_weights(name)
    assert "\n" not in str(error.value)
    assert "pocket" in str(error.value)
    assert list(cache_dir().iterdir()) == []


def test_a_cache_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(AssetError, match="cannot be written to") as error:
        load_loss_weights("vgg16")
    assert "\n" not in str(error.value)


def test_a_cache_that_cannot_be_written_to(monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryDirectory", refuse)
    with pytest.raises(AssetError, match=r"cannot be written to \(Permission denied\)"):
        load_loss_weights("vgg16")


def test_a_download_is_converted_and_kept(monkeypatch):
    asked = []

    def get_state_dict(self, **options):
        asked.append(options)
        return torchvision_state()

    monkeypatch.setattr(VGG16_Weights, "get_state_dict", get_state_dict)
    loaded, _ = load_loss_weights("vgg16")
    assert [(options["check_hash"], options["weights_only"]) for options in asked] == [(True, True)]
    assert torch.equal(loaded["conv1_1.weight"], tensors()["conv1_1.weight"].flip(1))
    assert torch.equal(loaded["conv5_3.bias"], tensors()["conv5_3.bias"])
    with safe_open(cache_dir() / "vgg16_caffe.safetensors", framework="pt") as file:
        assert file.metadata()["source"] == VGG16_Weights.IMAGENET1K_FEATURES.url
    assert len(list(cache_dir().iterdir())) == 1
    _offline(monkeypatch)
    again, _ = load_loss_weights("vgg16")
    assert digest(again) == digest(loaded)


def test_convolutions_leaves_out_the_classifier():
    plain = convolutions(torchvision_state(), caffe=False)
    assert plain.keys() == tensors().keys()
    assert all(torch.equal(plain[key], value) for key, value in tensors().items())


def test_pocket_is_small():
    path = find_loss_weights("pocket")
    if path is None:
        pytest.skip("src/repro/weights/pocket.safetensors is not there")
    loaded, _ = load_loss_weights("pocket")
    assert sum(value.numel() for value in loaded.values()) <= 1_200_000
    assert path.stat().st_size <= 3_000_000
