"""Time of one training step on the CPU beside a plain loop's, in one run: `python benchmarks/train_step.py`.

Both use random weights for the loss network and random pictures, so nothing has to be downloaded. The two
take turns, and each time is the median of its rounds. Half precision is timed where the machine has
instructions for it.
"""

import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
from common import parser, random_vgg, write
from plain import sr_step, style_step

from repro.picture_files import save_image
from repro.pretrained import save_weights
from repro.training.recipe import load_recipe
from repro.training.run_folder import RunFolder
from repro.training.runtime import default_precision
from repro.training.trainer import Trainer


def our_step(task: str, precision: str, size: int, batch: int, photos: Path, folder: Path):
    """Return a function that makes one step of `repro`'s loop on a batch that is there already."""
    overrides = {
        "loss_network": "vgg16",
        "training.size": size,
        "training.batch_size": batch,
        "run.held_out": 1,
        "run.workers": 0,
    }
    if task == "style":
        overrides |= {"style.picture": "kelim", "style.size": size}
    trainer = Trainer(load_recipe(task, None, overrides), photos, RunFolder(folder), False, precision, False)
    trainer.network.train()
    image = torch.rand(batch, 3, size, size, device=trainer.accelerator.device)
    return lambda: trainer.update(image, ["random"])


def main() -> None:
    os.environ["ACCELERATE_USE_CPU"] = "true"  # the plain loop is one for the CPU
    options = parser(__doc__)
    options.add_argument("--size", type=int, default=256)
    options.add_argument("--batch", type=int, default=4)
    options.add_argument("--rounds", type=int, default=5)
    arguments = options.parse_args()
    size, batch = arguments.size, arguments.batch
    precisions = sorted({"no", default_precision()}, reverse=True)  # float32 first
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for i in range(3):
            save_image(torch.rand(1, 3, size, size), folder / "photos" / f"{i}.png")
        save_weights(random_vgg(), folder / "cache" / "vgg16_caffe.safetensors", {})
        os.environ["REPRO_CACHE"] = str(folder / "cache")
        for task, plain in (("style", style_step), ("super-resolution", sr_step)):
            steps = {"plain": plain(size, batch)}
            for precision in precisions:
                steps[precision] = our_step(
                    task, precision, size, batch, folder / "photos", folder / f"{task}-{precision}"
                )
            times: dict[str, list[float]] = {kind: [] for kind in steps}
            for turn in range(arguments.rounds + 1):
                for kind, step in steps.items():
                    started = time.perf_counter()
                    step()
                    if turn:  # the first one warms up
                        times[kind].append(time.perf_counter() - started)
            seconds = {kind: statistics.median(values) for kind, values in times.items()}
            rows.append(
                {"task": task, "size": size, "batch": batch}
                | {f"seconds_{kind}": round(value, 4) for kind, value in seconds.items()}
                | {f"ratio_{kind}": round(seconds["plain"] / seconds[kind], 2) for kind in precisions}
            )
            print(json.dumps(rows[-1]), flush=True)
    write(arguments.output, {"rows": rows})


if __name__ == "__main__":
    main()
