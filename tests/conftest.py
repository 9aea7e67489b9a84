"""Fixtures shared by all tests."""

import os
import shutil
import subprocess
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
    """Keep the tests away from the user's caches."""
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "repro-cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch-home"))


@pytest.fixture(scope="session")
def _torch_home_with_alexnet(tmp_path_factory):
    from torchvision.models import AlexNet_Weights, alexnet

    home = tmp_path_factory.mktemp("torch-home")
    (home / "hub" / "checkpoints").mkdir(parents=True)
    file = home / "hub" / "checkpoints" / AlexNet_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    torch.manual_seed(0)
    torch.save(alexnet().state_dict(), file)
    return home


@pytest.fixture
def lpips_is_here(_torch_home_with_alexnet, monkeypatch):
    """LPIPS can be computed, with an AlexNet of random weights."""
    from repro.metrics import lpips_network

    monkeypatch.setenv("TORCH_HOME", str(_torch_home_with_alexnet))
    lpips_network.cache_clear()
    yield
    lpips_network.cache_clear()


@pytest.fixture(scope="session")
def _astronaut():
    from skimage.data import astronaut

    pixels = torch.from_numpy(astronaut()).permute(2, 0, 1)[None].float() / 255
    return torch.nn.functional.avg_pool2d(pixels, 4)


@pytest.fixture
def astronaut(_astronaut):
    """A photograph, (1, 3, 128, 128), in [0, 1]; a fresh copy for every test."""
    return _astronaut.clone()


@pytest.fixture(scope="session")
def project_files():
    """The text of every file of the project, by its path from the root; skip if git cannot tell."""
    if shutil.which("git") is None or not ROOT.joinpath(".git").exists():
        pytest.skip("not a git checkout, so which files belong to the project is not known")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    contents = {name: ROOT.joinpath(name).read_bytes() for name in names if ROOT.joinpath(name).is_file()}
    # A file with a zero byte at its beginning is binary, as git sees it.
    return {name: content.decode() for name, content in contents.items() if b"\0" not in content[:8192]}


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
