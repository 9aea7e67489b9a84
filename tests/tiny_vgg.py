"""A VGG-16 with few channels and random weights: what the tests use where the real one is not needed."""

import torch

from repro.downloads import cache_dir
from repro.loss_network import LossNetwork
from repro.pretrained import save_weights
from repro.vgg_weights import LAYERS

WIDTHS = {"1": 4, "2": 5, "3": 6, "4": 7, "5": 8}


def tensors(deepest="relu5_3", seed=0):
    """Return random weights by key, ``conv1_1.weight`` and so on, as far as ``deepest``."""
    rng = torch.Generator().manual_seed(seed)
    result, channels = {}, 3
    for layer in LAYERS[: LAYERS.index(deepest) + 1]:
        width = WIDTHS[layer[4]]
        weight = torch.randn(width, channels, 3, 3, generator=rng) * (2 / (9 * channels)) ** 0.5
        result[f"conv{layer[4:]}.weight"] = weight
        result[f"conv{layer[4:]}.bias"] = 0.1 * torch.randn(width, generator=rng)
        channels = width
    return result


def write(deepest="relu5_3", file="vgg16_caffe.safetensors"):
    """Put random weights where "vgg16" is looked for, and return the path."""
    path = cache_dir() / file
    save_weights(tensors(deepest), path, {"source": "random"})
    return path


def network(layers=None, pooling="max", deepest="relu5_3"):
    """Return a loss network called "vgg16" with random weights."""
    write(deepest)
    return LossNetwork("vgg16", layers, pooling)
