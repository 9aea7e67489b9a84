"""How far Adam and Muon come in the same number of steps: `python benchmarks/optimizers.py photos/`.

Small style networks are trained from random weights, alike but for the optimizer and its learning rate, and
judged on photos that are held out.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from repro.atomic_files import atomic_path
from repro.training import train
from repro.training.data import data_hash, list_photos
from repro.training.provenance import provenance
from repro.training.recipe import Recipe, load_recipe
from repro.training.runtime import default_precision

STYLES = ("stained_glass", "brush_strokes")
OPTIMIZERS = (("adam", 1e-3), ("adam", 2e-3), ("muon", 2e-3))


def recipe(style: str, optimizer: str, learning_rate: float, steps: int, loss_network: str) -> Recipe:
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
            "run.evaluate_every": steps // 3,
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--loss-network", default="vgg16")
    parser.add_argument("-o", "--output", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()
    paths, precision, rows = list_photos(arguments.photos), default_precision(), []
    for style in STYLES:
        for optimizer, learning_rate in OPTIMIZERS:
            chosen = recipe(style, optimizer, learning_rate, arguments.steps, arguments.loss_network)
            with tempfile.TemporaryDirectory() as folder:
                trained = train(chosen, arguments.photos, Path(folder) / "run", precision=precision)
            judged = [row for row in trained.history if "evaluation" in row]
            row = {"style": style, "optimizer": optimizer, "learning_rate": learning_rate}
            row["objective"] = {r["step"]: round(r["evaluation"]["objective"]) for r in judged}
            rows.append(row)
            print(json.dumps(row), flush=True)
    if arguments.output:
        command = f"benchmarks/{Path(sys.argv[0]).name} photos/ -o results/{arguments.output.name}"
        content = {
            "command": command,
            **provenance(),
            "precision": precision,
            "photos": {"number": len(paths), "sha256": data_hash(paths)},
            "recipe": chosen.to_dict(),
            "rows": rows,
        }
        with atomic_path(arguments.output) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
