"""Weights and pictures: what they are, where they come from, under which licence, and where they are kept.

Embedded files come with the package. The rest is downloaded once into the cache folder,
``$REPRO_CACHE`` or the system's cache folder, checked against its hash, and never needed again.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import pooch
import torch
from torch import Tensor

from .files import sha256
from .images import from_array, load_image, resize_longest
from .weight_files import AssetError, digest, read_safetensors, save_weights


@dataclass(frozen=True)
class Asset:
    """A file that the project uses but does not carry.

    Attributes:
        file: its name in the cache.
        url: where it is downloaded from.
        sha256: of the file at that address.
        title: of the work.
        author: of the work, as it is to be credited.
        year: when it was made.
        licence: under which it may be used.
    """

    file: str
    url: str
    sha256: str
    title: str
    author: str
    year: str
    licence: str


_FAST_NEURAL_STYLE = (
    "https://raw.githubusercontent.com/jcjohnson/fast-neural-style/"
    "813c83441953ead2adb3f65f4cc2d5599d735fa7/images/styles/"
)
_PUBLIC_DOMAIN = "public domain (the author died more than 70 years ago)"

# Styles of the paper's Fig. 6 and of the released code, as that carries them.
PAINTINGS = {
    "great_wave": Asset(
        "great_wave.jpg",
        _FAST_NEURAL_STYLE + "wave.jpg",
        "14bcf58a39b7095168f27756d76d0c615bb8954acc5eae9e62c66a9684c2ee2b",
        "The Great Wave off Kanagawa",
        "Katsushika Hokusai",
        "1831",
        _PUBLIC_DOMAIN,
    ),
    "starry_night": Asset(
        "starry_night.jpg",
        _FAST_NEURAL_STYLE + "starry_night.jpg",
        "0592ab0f7b51b3ce72608a95e53880bd93971e5b48f93a0ce8dfd3cbccf3d098",
        "The Starry Night",
        "Vincent van Gogh",
        "1889",
        _PUBLIC_DOMAIN,
    ),
    "composition_vii": Asset(
        "composition_vii.jpg",
        _FAST_NEURAL_STYLE + "composition_vii.jpg",
        "8f992ed4aecd6dd56972d7bc8166761de7c94e670ee6effa8fd05f3daeb33409",
        "Composition VII",
        "Wassily Kandinsky",
        "1913",
        _PUBLIC_DOMAIN,
    ),
    "the_scream": Asset(
        "the_scream.jpg",
        _FAST_NEURAL_STYLE + "the_scream.jpg",
        "f3075cddeb974a9ee1d6418f7f33fd05185a7ac7dcb4288bd2805d499a9dcaee",
        "The Scream",
        "Edvard Munch",
        "1893",
        _PUBLIC_DOMAIN,
    ),
    "udnie": Asset(
        "udnie.jpg",
        _FAST_NEURAL_STYLE + "udnie.jpg",
        "c3d3d4b9e325b485820d1a91df3bad591c2bab86919412e9f1b424e862cf204a",
        "Udnie (Young American Girl, The Dance)",
        "Francis Picabia",
        "1913",
        _PUBLIC_DOMAIN,
    ),
}

# Photographs inside scikit-image's wheel, and whom to credit.
PHOTOS = {
    "astronaut": "Eileen Collins, NASA; public domain",
    "chelsea": "Chelsea the cat, Stefan van der Walt; CC0",
    "coffee": "Coffee cup, Rachel Michetti; CC0",
    "motorcycle": "Motorcycle, Middlebury stereo 2014, Daniel Scharstein; CC0",
    "rocket": "Falcon 9 launch, SpaceX; public domain",
}

# The whole files of torchvision carry 121 million numbers that no loss uses; only the convolutions are kept.
_TORCHVISION_ENTRY = {"vgg16": "IMAGENET1K_FEATURES", "vgg16-torchvision": "IMAGENET1K_V1"}
_CACHE_NAME = {"vgg16": "vgg16_caffe", "vgg16-torchvision": "vgg16_torchvision"}
_FEATURES_INDEX = {
    "conv1_1": 0, "conv1_2": 2, "conv2_1": 5, "conv2_2": 7, "conv3_1": 10, "conv3_2": 12, "conv3_3": 14,
    "conv4_1": 17, "conv4_2": 19, "conv4_3": 21, "conv5_1": 24, "conv5_2": 26, "conv5_3": 28,
}  # fmt: skip


def cache_dir() -> Path:
    """Return the cache folder: ``$REPRO_CACHE`` if set, else the system's. It may not exist yet."""
    return Path(os.environ.get("REPRO_CACHE") or pooch.os_cache("repro")).expanduser()


def photo(name: str, size: int | None = None) -> Tensor:
    """Return a free photograph that comes with scikit-image; no network is used.

    Args:
        name: one of :data:`PHOTOS`.
        size: the longest side in pixels; default as it is.

    Returns:
        (1, 3, H, W) in [0, 1].
    """
    if name not in PHOTOS:
        raise ValueError(f"unknown photo {name!r}; known: {', '.join(PHOTOS)}")
    from skimage import data

    pixels = data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(data, name)()
    image = from_array(pixels[..., :3])
    return image if size is None else resize_longest(image, size)


def photo_files() -> list[Path]:
    """Return the files of :data:`PHOTOS`, for a training run that needs nothing else."""
    from skimage import data

    files = {"motorcycle": "motorcycle_left.png", "rocket": "rocket.jpg"}
    return [Path(data.__file__).parent / files.get(name, f"{name}.png") for name in PHOTOS]


def painting(name: str, size: int | None = None) -> Tensor:
    """Return a painting of :data:`PAINTINGS`, downloaded into the cache the first time.

    Raises:
        ValueError: unknown name.
        AssetError: it is not in the cache and cannot be downloaded.
    """
    if name not in PAINTINGS:
        raise ValueError(f"unknown painting {name!r}; known: {', '.join(PAINTINGS)}")
    asset = PAINTINGS[name]
    try:
        path = pooch.retrieve(
            asset.url, f"sha256:{asset.sha256}", fname=asset.file, path=cache_dir() / "paintings"
        )
    except Exception as error:
        raise AssetError(
            f"{asset.title}: could not download {asset.url} into {cache_dir()} ({_reason(error)})"
        ) from None
    return load_image(path, size)


def find_loss_weights(name: str) -> Path | None:
    """Return the file on this machine with the weights of a loss network, or None.

    For "vgg16" any ``vgg16_caffe*.safetensors`` in the cache will do, also one that stops at an earlier
    layer; the one that goes deepest is taken.
    """
    if name == "pocket":
        path = Path(str(resources.files("repro") / "weights" / "pocket.safetensors"))
        return path if path.is_file() else None
    found = sorted(cache_dir().glob(f"{_CACHE_NAME[name]}*.safetensors"))
    return max(found, key=lambda path: path.stat().st_size, default=None)


def find_alexnet() -> Path | None:
    """Return torchvision's file of AlexNet, which :func:`repro.metrics.lpips` needs, or None if not here.

    It is looked for where torch keeps its downloads: ``$TORCH_HOME/hub/checkpoints``, or the same in the
    system's cache folder.
    """
    from torchvision.models import AlexNet_Weights

    path = _torch_downloads() / Path(AlexNet_Weights.IMAGENET1K_V1.url).name
    return path if path.is_file() else None


def alexnet() -> Path:
    """Return the file of :func:`find_alexnet`; 233 MB are downloaded through torchvision when it is not here.

    Raises:
        AssetError: not here and no download possible.
    """
    from torchvision.models import AlexNet_Weights

    if (path := find_alexnet()) is None:
        entry = AlexNet_Weights.IMAGENET1K_V1
        try:
            entry.get_state_dict(check_hash=True, progress=False, map_location="cpu", weights_only=True)
        except Exception as error:  # no network, a proxy's answer, a wrong hash: all end the same way
            raise AssetError(
                f"LPIPS: could not download {entry.url} ({_reason(error)}); connect and try again, "
                f"or put the file into {_torch_downloads()}"
            ) from None
        path = _torch_downloads() / Path(entry.url).name
    return path


def _torch_downloads() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def load_loss_weights(name: str) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of a loss network by key and a line that says where they come from.

    Keys are ``conv1_1.weight`` (O, I, 3, 3), ``conv1_1.bias`` (O,), ... and for distilled networks
    ``head1_2.weight`` (C, O, 1, 1), ... ; "vgg16" is downloaded through torchvision when it is not here.

    Raises:
        AssetError: not here and no download possible, or the file is damaged.
    """
    path = find_loss_weights(name) or _download_vgg16(name)
    tensors, metadata = read_safetensors(path)
    if "digest" in metadata and metadata["digest"] != digest(tensors):
        raise AssetError(f"{path}: the weights do not match their own hash; delete the file")
    _check_shapes(path, tensors)
    return tensors, f"{path.name} sha256:{sha256(path)}"


def _check_shapes(path: Path, tensors: Mapping[str, Tensor]) -> None:
    if "conv1_1.weight" not in tensors:
        raise AssetError(f"{path}: holds no weights of a VGG-16 (no conv1_1.weight)")
    channels = 3
    for key in _FEATURES_INDEX:
        if f"{key}.weight" not in tensors:
            break
        weight, bias = tensors[f"{key}.weight"], tensors.get(f"{key}.bias")
        if weight.ndim != 4 or weight.shape[1:] != (channels, 3, 3):
            raise AssetError(
                f"{path}: {key}.weight has shape {tuple(weight.shape)}, expected (*, {channels}, 3, 3)"
            )
        if bias is None or bias.shape != weight.shape[:1]:
            raise AssetError(f"{path}: {key}.bias is missing or does not fit {key}.weight")
        if not (bool(weight.isfinite().all()) and bool(bias.isfinite().all())):
            raise AssetError(f"{path}: {key} holds values that are not finite")
        channels = weight.shape[0]


def _download_vgg16(name: str) -> Path:
    """Download torchvision's file once, keep its convolutions in the cache, and return that file."""
    if name == "pocket":
        raise AssetError("the embedded weights of 'pocket' are missing: install the package again")
    from torchvision.models import VGG16_Weights

    entry = VGG16_Weights[_TORCHVISION_ENTRY[name]]
    target = cache_dir() / f"{_CACHE_NAME[name]}.safetensors"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=".download-", dir=target.parent)
    except OSError as error:
        raise AssetError(
            f"loss network {name!r}: the cache {target.parent} cannot be written to ({_reason(error)}); "
            "set REPRO_CACHE to a folder that can, or use the loss network 'pocket'"
        ) from None
    # A copy that torchvision has kept already is used; a new one is not worth half a gigabyte of disk.
    kept = _torch_downloads()
    with folder as temporary:
        try:
            state = entry.get_state_dict(
                model_dir=str(kept) if (kept / Path(entry.url).name).is_file() else temporary,
                check_hash=True,
                map_location="cpu",
                weights_only=True,
            )
        except Exception as error:  # no network, a proxy's answer, a wrong hash: all end the same way
            raise AssetError(
                f"loss network {name!r}: could not download {entry.url} ({_reason(error)}); connect and try "
                f"again, put {target.name} into {target.parent}, or use 'pocket', which needs no download"
            ) from None
    save_weights(convolutions(state, caffe=name == "vgg16"), target, {"source": entry.url})
    return target


def convolutions(state: Mapping[str, Tensor], caffe: bool) -> dict[str, Tensor]:
    """Take VGG-16's convolutions out of a torchvision state, named ``conv1_1.weight`` and so on.

    Args:
        state: torchvision's ``features.0.weight``, ...
        caffe: the input channels of the first convolution are turned from torchvision's RGB to the BGR of
            the original weights. torchvision's entry expects 0..1 minus a mean, times 255: the Caffe scale.
    """
    tensors = {
        f"{key}.{kind}": state[f"features.{index}.{kind}"].float()
        for key, index in _FEATURES_INDEX.items()
        for kind in ("weight", "bias")
    }
    if caffe:
        tensors["conv1_1.weight"] = tensors["conv1_1.weight"].flip(1)
    return tensors


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return str(reason).split("\n")[0] or type(error).__name__
