"""The weights of VGG-16: one table of its architecture, and where weights come from.

Those of ``pocket`` come with the package. Others are downloaded through torchvision once, cut down to the
convolutions, kept in the cache folder, and checked whenever they are read.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from torch import Tensor

from .atomic_files import sha256
from .downloads import cache_dir, reason_of, torch_downloads
from .errors import AssetError
from .pretrained import digest, read_safetensors, save_weights

# The convolutions of each block (Simonyan and Zisserman 2015, configuration D) and their channels.
BLOCKS = (("1", 2, 64), ("2", 2, 128), ("3", 3, 256), ("4", 3, 512), ("5", 3, 512))
LAYERS = tuple(f"relu{block}_{i}" for block, count, _ in BLOCKS for i in range(1, count + 1))
CHANNELS = {f"relu{block}_{i}": channels for block, count, channels in BLOCKS for i in range(1, count + 1)}

# The whole files of torchvision carry 121 million numbers that no loss uses; only the convolutions are kept.
_TORCHVISION_ENTRY = {"vgg16": "IMAGENET1K_FEATURES", "vgg16-torchvision": "IMAGENET1K_V1"}
_CACHE_NAME = {"vgg16": "vgg16_caffe", "vgg16-torchvision": "vgg16_torchvision"}


def features_index(layer: str) -> int:
    """Return the index of a layer's convolution in torchvision's ``features``, where a ReLU follows each one.

    A block ends in a pooling layer, which has an index as well.
    """
    return 2 * LAYERS.index(layer) + int(layer[4]) - 1


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
    for layer in LAYERS:
        key = layer.replace("relu", "conv")
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
            f"loss network {name!r}: the cache {target.parent} cannot be written to ({reason_of(error)}); "
            "set REPRO_CACHE to a folder that can, or use the loss network 'pocket'"
        ) from None
    # A copy that torchvision has kept already is used; a new one is not worth half a gigabyte of disk.
    kept = torch_downloads()
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
                f"loss network {name!r}: could not download {entry.url} ({reason_of(error)}); connect and "
                f"try again, put {target.name} into {target.parent}, or use 'pocket', which needs no download"
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
        f"conv{layer[4:]}.{kind}": state[f"features.{features_index(layer)}.{kind}"].float()
        for layer in LAYERS
        for kind in ("weight", "bias")
    }
    if caffe:
        tensors["conv1_1.weight"] = tensors["conv1_1.weight"].flip(1)
    return tensors
