"""Small networks with random weights, and their files as training writes them."""

import torch

from repro.training.recipe import build_network, load_recipe, save_network

SMALL = {"network.width": 0.1, "network.num_blocks": 1}


def style_recipe(name="small", **options):
    options = {f"network.{key}": value for key, value in options.items()}
    return load_recipe("style", overrides={**SMALL, "name": name, "style.picture": "kelim", **options})


def sr_recipe(name="x4", factor=4, feature=True, pixel=False):
    overrides = {**SMALL, "name": name, "super_resolution.factor": factor}
    if not feature:
        overrides["loss.content_layers"] = {}
    if pixel or not feature:
        overrides["loss.pixel_weight"] = 1.0
    return load_recipe("super-resolution", overrides=overrides)


def write(recipe, path, seed=0):
    """Write the network of a recipe with random weights; return the path."""
    torch.manual_seed(seed)
    save_network(build_network(recipe), recipe, path)
    return path
