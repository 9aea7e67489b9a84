"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# The same examples on every run and machine, however slow it is.
settings.register_profile("repro", derandomize=True, deadline=None, max_examples=25)
settings.load_profile("repro")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path, monkeypatch):
    """Keep the tests away from the user's cache."""
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "repro-cache"))


@pytest.fixture(scope="session")
def _astronaut():
    from skimage.data import astronaut

    pixels = torch.from_numpy(astronaut()).permute(2, 0, 1)[None].float() / 255
    return torch.nn.functional.avg_pool2d(pixels, 4)


@pytest.fixture
def astronaut(_astronaut):
    """A photograph, (1, 3, 128, 128), in [0, 1]; a fresh copy for every test."""
    return _astronaut.clone()


def _folder(variable: str, default: str) -> Path:
    """The folder named by an environment variable, else one beside the repository; skip if it is absent."""
    path = Path(os.environ.get(variable) or ROOT.parent / "shared" / default)
    if not path.is_dir():
        pytest.skip(f"no folder of test {default}: set {variable}")
    return path


@pytest.fixture
def test_data():
    """The folder with ``set5``, ``set14``, ``bsd100``, ``photos``, ..."""
    return _folder("REPRO_TEST_DATA", "data")


@pytest.fixture
def vgg16_file():
    """The first seven convolutions of the real VGG-16 as a safetensors file."""
    path = _folder("REPRO_TEST_WEIGHTS", "weights") / "vgg16_caffe_relu3_3.safetensors"
    if not path.is_file():
        pytest.skip(f"{path.name} is not in the folder REPRO_TEST_WEIGHTS")
    return path
