"""How far Adam and Muon come in the same number of steps: `python benchmarks/optimizers.py photos/`.

Small style networks are trained from random weights, alike but for the optimizer and its learning rate, and
evaluated on photos that are held out. Without a folder they train on the few photos that come with
scikit-image, which tells whether it runs.
"""

import json
import tempfile
from pathlib import Path

from common import parser, write

from repro.sample_photos import photo_files
from repro.training import train
from repro.training.data import data_hash, list_photos
from repro.training.recipe import Recipe, load_recipe
from repro.training.runtime import default_precision

STYLES = ("stained_glass", "brush_strokes")
OPTIMIZERS = (("adam", 1e-3), ("adam", 2e-3), ("muon", 2e-3))


def recipe(
    style: str, optimizer: str, learning_rate: float, steps: int, loss_network: str, held_out: int
) -> Recipe:
    layers = dict.fromkeys(("relu1_2", "relu2_2", "relu3_3"), 1.0)
    return load_recipe(
        "style",
        overrides={
            "loss_network": loss_network,
            "style.picture": style,
            "style.size": 384,
            "loss.style_layers": layers,
            "loss.tv_weight": 5e-5,
            "network.width": 0.5,
            "training.steps": steps,
            "training.size": 128,
            "training.batch_size": 2,
            "training.optimizer": optimizer,
            "training.learning_rate": learning_rate,
            "run.evaluate_every": max(1, steps // 3),
            "run.held_out": held_out,
        },
    )


def main() -> None:
    options = parser(__doc__)
    options.add_argument("photos", type=Path, nargs="?")
    options.add_argument("--steps", type=int, default=300)
    options.add_argument("--loss-network", default="auto")
    arguments = options.parse_args()
    paths = list_photos(arguments.photos) if arguments.photos else photo_files()
    precision, network, held_out = default_precision(), arguments.loss_network, min(16, len(paths) // 4)
    rows = []
    for style in STYLES:
        for optimizer, learning_rate in OPTIMIZERS:
            chosen = recipe(style, optimizer, learning_rate, arguments.steps, network, held_out)
            with tempfile.TemporaryDirectory() as folder:
                trained = train(chosen, paths, Path(folder) / "run", precision=precision)
            evaluated = [row for row in trained.history if "evaluation" in row]
            row = {"style": style, "optimizer": optimizer, "learning_rate": learning_rate}
            row["objective"] = {r["step"]: round(r["evaluation"]["objective"]) for r in evaluated}
            rows.append(row)
            print(json.dumps(row), flush=True)
    photos = {"number": len(paths), "sha256": data_hash(paths)}
    figures = {"precision": precision, "photos": photos, "recipe": chosen.to_dict(), "rows": rows}
    write(arguments.output, figures)


if __name__ == "__main__":
    main()
