"""Figure 4: images with the Gram matrices of a style picture, at one layer and at all of them."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from ..devices import device
from ..figures import Table, show_groups
from ..optimize_image import reconstruct_style
from ..patterns import draw
from ..presets import STYLE_LAYERS
from .support.common import Result, describe, describe_pictures, load_loss_network, rounded, settings

SEED = 0
# The loss at relu4_3 is by far the smallest: with as much total variation as the others it comes out grey.
TV_WEIGHTS = {"relu4_3": 1e-8}
TV_WEIGHT = 1e-6  # at the others, and at all together
STYLES = ("stained_glass", "brush_strokes")
SETTINGS: dict[str, dict[str, Any]] = {
    "smoke": {"styles": list(STYLES), "size": 32, "iterations": 8},
    "book": {"styles": list(STYLES), "size": 192, "iterations": 100},
    "paper": {"styles": list(STYLES), "size": 256, "iterations": 500},
}


def run(scale: str = "book", loss_network: str = "auto") -> Result:
    """Reconstruct the style of drawn pictures from each style layer of the loss network and from all.

    Returns:
        ``data["rows"]``, for each style and choice of layers for every layer used ``start`` and ``end`` of
        the style reconstruction loss, as weighted in the objective. Pictures ``STYLE`` and ``STYLE/LAYER``,
        with ``all`` for the sum over layers.

    Raises:
        ValueError: unknown scale or loss network.
        repro.errors.AssetError: the loss network's weights cannot be had.
    """
    chosen = settings(SETTINGS, scale)
    network = load_loss_network(loss_network, STYLE_LAYERS)
    styles = {name: draw(name, chosen["size"]).to(device()) for name in chosen["styles"]}
    choices = {layer: [layer] for layer in network.layers} | {"all": list(network.layers)}
    pictures, rows = {}, []
    for name, style in styles.items():
        pictures[name] = style
        for choice, layers in choices.items():
            tv_weight = TV_WEIGHTS.get(choice, TV_WEIGHT)
            found = reconstruct_style(style, layers, network, None, chosen["iterations"], tv_weight, SEED)
            values = {layer: found.history[f"style/{layer}"] for layer in layers}
            rows.append(
                {
                    "style": name,
                    "layers": choice,
                    "start": {layer: rounded(value[0]) for layer, value in values.items()},
                    "end": {layer: rounded(value[-1]) for layer, value in values.items()},
                    "iterations": len(found.history["total"]) - 1,
                }
            )
            pictures[f"{name}/{choice}"] = found.image
    made_with = {
        "seed": SEED,
        "tv_weight": {choice: TV_WEIGHTS.get(choice, TV_WEIGHT) for choice in choices},
        "loss_network": describe(network),
        "styles": describe_pictures(styles),
    }
    return Result({"settings": chosen, "rows": rows}, pictures, made_with)


def table(result: Result) -> Table:
    """Return for each style and choice of layers the share of the style loss that is left at the end."""
    rows = [
        [row["style"], row["layers"], f"{100 * sum(row['end'].values()) / sum(row['start'].values()):.2g} %"]
        for row in result.data["rows"]
    ]
    return Table(["style", "layers", "style loss left"], rows, "llr", result.origin)


def plot(result: Result) -> Figure:
    """Draw each style's picture, then what each layer gives, then what all give together."""
    groups = []
    for style in result.data["settings"]["styles"]:
        group = {style.replace("_", " "): result.pictures[style]}
        for name, picture in result.pictures.items():
            if name.startswith(f"{style}/"):
                group[name.partition("/")[2]] = picture
        groups.append(group)
    return show_groups(groups, columns=3, width=7.2)
