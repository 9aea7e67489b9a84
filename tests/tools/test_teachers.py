"""The teachers' features by the student's names, and an evaluation whose answers are known beforehand."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from teachers import CollaborativeVGG19, evaluate, feature_rms, make_teacher
from torch import nn

import tiny_vgg
from repro.downloads import cache_dir
from repro.picture_files import save_image

CLOSE = {"rtol": 1e-4, "atol": 1e-2}  # of features up to some hundreds: another memory format, another order


def test_rms_of_3_and_4():
    features = torch.tensor([[[[3.0, -4.0]]]])
    assert feature_rms(lambda image: {"relu1_2": features}, None) == pytest.approx({"relu1_2": 12.5**0.5})


def test_teacher_gives_features_by_the_students_names(astronaut):
    network = tiny_vgg.network()
    recipe = {"teacher": [{"network": "vgg16", "layers": {"relu1_2": "relu2_1", "relu2_2": "relu2_2"}}]}
    features = make_teacher(recipe, astronaut)(astronaut)
    assert features.keys() == {"relu1_2", "relu2_2"}
    expected = network(astronaut)
    torch.testing.assert_close(features["relu1_2"], expected["relu2_1"], **CLOSE)
    torch.testing.assert_close(features["relu2_2"], expected["relu2_2"], **CLOSE)


def test_rms_of_puts_a_second_teacher_on_the_scale_of_the_first(astronaut):
    network = tiny_vgg.network()
    recipe = {
        "teacher": [
            {"network": "vgg16", "layers": {"relu2_2": "relu2_2"}},
            {"network": "vgg16", "layers": {"relu4_3": "relu3_1"}, "rms_of": "relu2_2"},
        ]
    }
    teacher = make_teacher(recipe, astronaut)
    rms = feature_rms(teacher, astronaut)
    assert rms["relu4_3"] == pytest.approx(rms["relu2_2"], rel=1e-5)
    dark = 0.5 * astronaut  # the factor stays what it was on the sample
    own = feature_rms(network, astronaut)
    expected = network(dark)["relu3_1"] * (own["relu2_2"] / own["relu3_1"])
    torch.testing.assert_close(teacher(dark)["relu4_3"], expected, **CLOSE)


def test_a_teacher_that_is_not_there_is_named(astronaut):
    with pytest.raises(FileNotFoundError, match=r"vgg19\.safetensors.*put the teacher's weights there"):
        make_teacher({"teacher": [{"file": "vgg19.safetensors", "layers": {}}]}, astronaut)


def _write_vgg19():
    """Put a compressed VGG-19 with 2 channels and heads of 3 in the cache, and return its weights."""
    shapes, channels = {"conv0": (3, 3, 1)}, 3
    for block, count in enumerate((2, 2, 4, 4, 1), 1):
        shapes[f"conv{block}1_aux"] = (3, 2, 1)
        for i in range(1, count + 1):
            shapes[f"conv{block}{i}"], channels = (2, channels, 3), 2
    tensors = {}
    for key, (filters, channels, size) in shapes.items():
        tensors[f"{key}.weight"] = torch.randn(filters, channels, size, size)
        tensors[f"{key}.bias"] = torch.rand(filters)
    cache_dir().mkdir(parents=True, exist_ok=True)
    save_file(tensors, cache_dir() / "vgg19.safetensors")
    return tensors


def _layer(tensors, key, activation=True):
    weight = tensors[f"{key}.weight"]
    size = weight.shape[2]
    conv = nn.Conv2d(weight.shape[1], len(weight), size, padding=size // 2, padding_mode="reflect")
    conv.load_state_dict({"weight": weight, "bias": tensors[f"{key}.bias"]})
    return nn.Sequential(conv, nn.ReLU() if activation else nn.Identity())


def test_compressed_vgg19_is_its_convolutions_with_mirrored_edges_and_a_head(astronaut):
    tensors = _write_vgg19()
    network = CollaborativeVGG19(cache_dir() / "vgg19.safetensors")
    reference = nn.Sequential(
        _layer(tensors, "conv0", activation=False), _layer(tensors, "conv11"), _layer(tensors, "conv12"),
        nn.MaxPool2d(2), _layer(tensors, "conv21"), _layer(tensors, "conv21_aux"),
    )  # fmt: skip
    features = network(astronaut, ["relu2_1", "relu5_1"])
    assert features.keys() == {"relu2_1", "relu5_1"}
    assert features["relu5_1"].shape == (1, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(features["relu2_1"], reference(astronaut))


@pytest.fixture
def photos(tmp_path, astronaut):
    for i, gamma in enumerate((1.0, 1.5)):
        image = F.interpolate(astronaut, scale_factor=2, mode="bilinear").clamp(0, 1) ** gamma
        save_image(image, tmp_path / f"{i}.png")
    return sorted(tmp_path.glob("*.png"))


def pixels(image):
    """A teacher whose features are the pixels."""
    return {"relu1_2": image}


class Network:
    """What ``evaluate`` needs of a network: its layers, and features from images."""

    layers = ("relu1_2",)

    def __init__(self, features):
        self.features = features

    def __call__(self, image):
        return {"relu1_2": self.features(image)}


def test_a_network_agrees_with_itself(photos):
    found = evaluate(Network(lambda image: image), pixels, photos, 8)
    assert found == {"relu1_2": {"explained_variance": 1, "agreement": 1, "pixel_agreement": 1}}


def test_mean_features_explain_no_variance(photos):
    mean = Network(lambda image: image.mean(dim=(2, 3), keepdim=True).expand_as(image))
    assert evaluate(mean, pixels, photos, 4)["relu1_2"]["explained_variance"] == 0


def test_a_network_that_ranks_the_other_way_never_agrees(photos):
    def closeness(image):
        distance = (image - image[:1]).square().mean(dim=(1, 2, 3), keepdim=True)
        return torch.where(distance > 0, 1 / distance, 0)

    found = evaluate(Network(closeness), pixels, photos, 8)["relu1_2"]
    assert found["agreement"] == 0
    assert found["pixel_agreement"] == 1
