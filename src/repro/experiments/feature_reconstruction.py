"""Figure 3: images that have the same features as a photo at one layer, found from noise.

The deeper the layer, the less of the pixels comes back: the paper's figure shows colour, texture and exact
shape go while content and layout stay. Here the loss is measured too.
"""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from ..figures import Table, show_groups
from ..losses import feature_reconstruction_loss, pixel_loss
from ..metrics import psnr
from ..optimize_image import invert_features
from .support.common import Result, describe, describe_pictures, load_loss_network, rounded, settings, squares

LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_1", "relu5_3")  # the paper: from relu2_2 on
SEED = 0
# By eye: with less there is grain at the deeper layers, with more a grey fog; the first ones need hardly any.
TV_WEIGHTS = {"relu1_2": 1e-6, "relu2_2": 1e-5}
TV_WEIGHT = 5e-5  # at the others
SETTINGS: dict[str, dict[str, Any]] = {
    "smoke": {"photos": ["chelsea"], "size": 32, "iterations": 8},
    "book": {"photos": ["chelsea"], "size": 192, "iterations": 100},
    "paper": {"photos": ["chelsea", "coffee"], "size": 224, "iterations": 500},
}


def run(scale: str = "book", loss_network: str = "auto") -> Result:
    """Invert the features of photos at each layer that the loss network has.

    Returns:
        ``data["rows"]``, for each photo and layer ``pixel_rms``, the root mean square of the difference of
        pixels on the scale 0..1; ``psnr`` (dB, RGB); ``feature_error``, the feature reconstruction loss at
        the layer over the mean square of the photo's features there; ``start_feature_error``, that of the
        noise. Pictures ``PHOTO`` and ``PHOTO/LAYER``.

    Raises:
        ValueError: unknown scale or loss network.
        repro.errors.AssetError: the loss network's weights cannot be had.
    """
    chosen = settings(SETTINGS, scale)
    network = load_loss_network(loss_network, LAYERS)
    photos = squares(chosen["photos"], chosen["size"])
    pictures, rows = dict(photos), []
    for name, photo in photos.items():
        for layer in network.layers:
            tv_weight = TV_WEIGHTS.get(layer, TV_WEIGHT)
            found = invert_features(photo, layer, network, chosen["iterations"], tv_weight, SEED)
            target = network(photo, [layer])[layer]
            energy = target.square().mean().item()
            own = network(found.image, [layer])[layer]
            rows.append(
                {
                    "photo": name,
                    "layer": layer,
                    "pixel_rms": rounded(pixel_loss(found.image, photo).sqrt().item()),
                    "psnr": rounded(psnr(found.image, photo, channel="rgb").item()),
                    "feature_error": rounded(feature_reconstruction_loss(own, target).item() / energy),
                    "start_feature_error": rounded(found.history[f"content/{layer}"][0] / energy),
                    "iterations": len(found.history["total"]) - 1,
                }
            )
            pictures[f"{name}/{layer}"] = found.image
    made_with = {
        "seed": SEED,
        "tv_weight": {layer: TV_WEIGHTS.get(layer, TV_WEIGHT) for layer in network.layers},
        "loss_network": describe(network),
        "photos": describe_pictures(photos),
    }
    return Result({"settings": chosen, "rows": rows}, pictures, made_with)


def table(result: Result) -> Table:
    """Return for each photo and layer how near the picture comes in pixels, and how near in features."""
    rows = [
        [row["photo"], row["layer"], f"{row['psnr']:.1f}"]
        + [f"{row[key]:.2g}" for key in ("feature_error", "start_feature_error")]
        for row in result.data["rows"]
    ]
    titles = ["photo", "layer", "PSNR, dB", "feature error", "that of noise"]
    return Table(titles, rows, "llrrr", result.origin)


def plot(result: Result) -> Figure:
    """Draw each photo, then what each layer gives, with both errors."""
    rows = {f"{row['photo']}/{row['layer']}": row for row in result.data["rows"]}
    groups: dict[str, dict[str, Tensor]] = {name: {} for name in result.data["settings"]["photos"]}
    for name, picture in result.pictures.items():
        if row := rows.get(name):
            errors = f"pixels {row['pixel_rms']:.3f}, features {row['feature_error']:.2g}"
            groups[row["photo"]][f"{row['layer']}\n{errors}"] = picture
        else:
            groups[name][f"{name}\n"] = picture
    return show_groups(list(groups.values()), columns=4, width=9.6)
