"""Make ``pocket``: distil a loss network into a narrow one, and write its weights with a card beside them.

    python tools/distill_pocket/distill.py photos/ -o pocket.safetensors

The student has VGG-16's topology with few channels, and at each layer that it taps a 1x1 convolution and a
ReLU that predict the teacher's channels. It learns on pairs of a photo and the photo distorted, because a
loss network is used to compare pictures: beside the features themselves it has to get the *difference* of
the two right, which is small against either.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from teachers import evaluate, feature_rms, make_teacher
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from repro.atomic_files import atomic_path
from repro.degradations import DISTORTIONS, distort
from repro.loss_network import CAFFE, LossNetwork
from repro.losses import gram_matrix
from repro.pretrained import digest, save_weights
from repro.training.data import RandomCrops, data_hash, list_photos, split
from repro.vgg_weights import CHANNELS, LAYERS

RECIPE = Path(__file__).with_name("pocket.toml")
CHECKPOINT_STEPS = 250  # between two checkpoints


class Student(nn.Module):
    """The narrow VGG while it learns: with batch normalisation, which :meth:`export` folds away.

    Args:
        widths: channels of the five blocks.
        scales: for each tapped layer the root mean square of the teacher's features there, so that the
            heads learn numbers of order one.
    """

    def __init__(self, widths: Sequence[int], scales: Mapping[str, float]) -> None:
        super().__init__()
        self.scales = dict(scales)
        deepest = max(LAYERS.index(layer) for layer in scales)
        channels, convs, norms, heads = 3, {}, {}, {}
        for layer in LAYERS[: deepest + 1]:
            width = widths[int(layer[4]) - 1]
            convs[layer] = nn.Conv2d(channels, width, 3, padding=1, bias=False)
            norms[layer] = nn.BatchNorm2d(width, momentum=0.02)
            nn.init.kaiming_normal_(convs[layer].weight, nonlinearity="relu")
            channels = width
            if layer in scales:
                heads[layer] = nn.Conv2d(width, CHANNELS[layer], 1)
                nn.init.constant_(heads[layer].bias, 0.3)  # a head that starts below zero would never learn
        self.convs, self.norms, self.heads = nn.ModuleDict(convs), nn.ModuleDict(norms), nn.ModuleDict(heads)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return the predicted features of (N, 3, H, W) by layer, in units of ``scales``."""
        x = CAFFE(image)
        features = {}
        for layer, conv in self.convs.items():
            if layer.endswith("_1") and layer != "relu1_1":
                x = F.max_pool2d(x, 2)
            x = F.relu(self.norms[layer](conv(x)))
            if layer in self.heads:
                features[layer] = F.relu(self.heads[layer](x)).float()
        return features

    @torch.no_grad()
    def export(self) -> dict[str, Tensor]:
        """Return the weights of the plain network: normalisation folded in, heads on the teacher's scale."""
        tensors = {}
        for layer, conv in self.convs.items():
            norm = self.norms[layer]
            gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            tensors[f"conv{layer[4:]}.weight"] = (conv.weight * gain.view(-1, 1, 1, 1)).half()
            tensors[f"conv{layer[4:]}.bias"] = (norm.bias - norm.running_mean * gain).half()
            if layer in self.heads:
                for kind in ("weight", "bias"):
                    value = getattr(self.heads[layer], kind) * self.scales[layer]
                    tensors[f"head{layer[4:]}.{kind}"] = value.half()
        return tensors


class PhotoPairs(Dataset):
    """Random crops of photos with a distorted copy each, (2, 3, size, size); reproducible from the seed."""

    def __init__(self, paths: Sequence[Path], size: int, length: int, seed: int) -> None:
        self.crops, self.seed = RandomCrops(paths, size, length, seed), seed

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int) -> Tensor:
        image = self.crops[index][None]
        rng = np.random.default_rng((self.seed, index, 1))
        kind = DISTORTIONS[rng.integers(len(DISTORTIONS))]
        return torch.cat([image, distort(image, kind, rng.uniform(), rng)])


def _sample(recipe: Mapping, train_paths: Sequence[Path]) -> Tensor:
    pairs = PhotoPairs(train_paths, recipe["training"]["size"], 32, recipe["seed"])
    return torch.cat([pairs[i][:1] for i in range(32)])


def loss_terms(student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
    """Return the four terms at one layer, each without unit.

    Args:
        student, teacher: (2 N, C, H, W), photos first, then their distorted copies in the same order.

    Returns:
        By name: ``features``, the squared error over the variance of the teacher's channels; ``difference``,
        the squared error of (photo - distorted) over the energy of the teacher's difference; ``distance``,
        the squared error of the logarithm of the distance between photo and distorted copy, which is all
        that a comparison of two pictures sees; ``gram``, the squared error of the Gram matrices over their
        energy.
    """
    variance = teacher.var(dim=(0, 2, 3)).mean()
    photo, distorted = teacher.chunk(2)
    own_photo, own_distorted = student.chunk(2)
    difference, own = photo - distorted, own_photo - own_distorted
    energy = difference.square().mean(dim=(1, 2, 3)) + 1e-4 * variance
    own_energy = own.square().mean(dim=(1, 2, 3)) + 1e-4 * variance
    gram, own_gram = gram_matrix(teacher), gram_matrix(student)
    return {
        "features": (student - teacher).square().mean() / variance,
        "difference": ((own - difference).square().mean(dim=(1, 2, 3)) / energy).mean(),
        "distance": (own_energy / energy).log().square().mean(),
        "gram": ((own_gram - gram).square().sum(dim=(1, 2)) / gram.square().sum(dim=(1, 2))).mean(),
    }


def distill(
    recipe_path: Path, train_paths: Sequence[Path], folder: Path, steps: int | None = None
) -> dict[str, Tensor]:
    """Train a student as a recipe says and return its weights (float16, by key).

    Saves its state in ``folder`` every ``CHECKPOINT_STEPS`` and goes on from there when called again; an
    interrupted run ends on the weights of an undisturbed one.

    Args:
        recipe_path: a TOML file, such as ``pocket.toml``.
        train_paths: the photos to train on.
        folder: for checkpoint and log.
        steps: in place of the recipe's number.
    """
    recipe = _read(recipe_path)
    setting, weights, seed = recipe["training"], recipe["loss"], recipe["seed"]
    steps = steps or setting["steps"]
    torch.manual_seed(seed)
    sample = _sample(recipe, train_paths)
    teacher = make_teacher(recipe, sample)
    scales = feature_rms(teacher, sample)
    pairs = PhotoPairs(train_paths, setting["size"], steps * setting["photos"], seed)
    student = Student(recipe["widths"], scales).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(student.parameters(), lr=setting["learning_rate"])
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min(1, (i + 1) / 200) * 0.5 * (1 + math.cos(math.pi * i / steps))
    )
    made_with = {"recipe": recipe, "photos": data_hash(train_paths), "steps": steps}
    checkpoint, first, before = Path(folder) / "checkpoint.pt", 0, 0.0
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        if state["made_with"] != made_with:
            raise ValueError(
                f"{folder}: holds a run of another recipe or of other photos; give another --run-folder"
            )
        student.load_state_dict(state["student"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        first, before = state["step"], state["seconds"]
    remaining = torch.utils.data.Subset(pairs, range(first * setting["photos"], len(pairs)))
    loader = DataLoader(remaining, setting["photos"], num_workers=1, persistent_workers=False)
    log, started = [], time.perf_counter() - before
    for step, batch in enumerate(tqdm(loader, desc="distil", unit="step", disable=None), first + 1):
        # With small batches the running statistics differ from the batch's: end on what will be exported.
        student.train(step <= 0.85 * steps)
        images = batch.transpose(0, 1).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            target = teacher(images)
            predicted = student(images)
        terms: dict[str, Tensor] = {}
        for layer, features in predicted.items():
            known = target[layer].float() / scales[layer]
            if layer == "relu1_2":  # every second row and column says as much, at a quarter of the cost
                features, known = features[..., ::2, ::2], known[..., ::2, ::2]
            for name, value in loss_terms(features, known).items():
                terms[f"{name}/{layer}"] = weights[name] * value
        loss = sum(terms.values())
        if not bool(torch.isfinite(loss)):
            bad = [name for name, value in terms.items() if not bool(torch.isfinite(value))]
            raise FloatingPointError(f"step {step}: not finite: {', '.join(bad)}")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        log.append({name: round(value.item(), 4) for name, value in terms.items()})
        if step % CHECKPOINT_STEPS == 0 or step == steps:
            mean = {name: round(sum(row[name] for row in log) / len(log), 4) for name in log[0]}
            with open(Path(folder) / "log.jsonl", "a") as file:
                seconds = round(time.perf_counter() - started, 1)
                file.write(json.dumps({"step": step, "seconds": seconds, **mean}) + "\n")
            log.clear()
            state = {
                "student": student.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "step": step,
                "seconds": seconds,
                "made_with": made_with,
            }
            with atomic_path(checkpoint) as temporary:
                torch.save(state, temporary)
    return student.export()


def _read(path: Path) -> dict[str, Any]:
    try:
        recipe = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a TOML file ({error})") from None
    missing = [key for key in ("name", "seed", "widths", "teacher", "training", "loss") if key not in recipe]
    if not missing:
        wanted = ("steps", "photos", "size", "learning_rate", "held_out")
        missing = [f"training.{key}" for key in wanted if key not in recipe["training"]]
    if missing:
        raise ValueError(
            f"{path}: no recipe of a loss network (it has no {', '.join(missing)}); {RECIPE} is one, "
            "and repro train takes those of other networks"
        )
    return recipe


def run(recipe_path: Path, photos: Path, output: Path, folder: Path, steps: int | None = None) -> None:
    """Distil as a recipe says, write the weights to ``output`` and a card (JSON) beside them."""
    recipe = _read(recipe_path)
    paths = list_photos(photos)
    train_paths, held_out = split(paths, recipe["training"]["held_out"], recipe["seed"])
    Path(folder).mkdir(parents=True, exist_ok=True)
    tensors = distill(recipe_path, train_paths, folder, steps)
    save_weights(tensors, output, {"name": recipe["name"]})
    network = LossNetwork(recipe["name"], tensors=tensors)
    log = [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text().splitlines()]
    card = {
        "name": recipe["name"],
        "what": "a narrow VGG-16 with heads that predict the teacher's channels, to try things at once and "
        "offline; no substitute for VGG-16",
        "parameters": sum(value.numel() for value in tensors.values()),
        "weights_digest": digest(tensors),
        "recipe": recipe,
        "steps": log[-1]["step"],
        "seconds": log[-1]["seconds"],
        "device": "CPU",
        "torch": torch.__version__,
        "photos": {"training": len(train_paths), "held_out": len(held_out), "sha256": data_hash(paths)},
        "evaluation": {
            "pairs": 400,
            "photos": "held out, centre square at 160 px",
            "layers": evaluate(network, make_teacher(recipe, _sample(recipe, train_paths)), held_out, 400),
        },
        "license": "MIT",
        "credits": "teachers: VGG-16, Simonyan and Zisserman (CC BY 4.0); compressed VGG-19, Wang et al. "
        "2020 (MIT)",
    }
    with atomic_path(output.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(card, indent=2) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Distil a loss network into a narrow one.")
    parser.add_argument("photos", type=Path, help="a folder of photos")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--recipe", type=Path, default=RECIPE, help="default: %(default)s")
    parser.add_argument(
        "--run-folder",
        type=Path,
        default=Path("runs/distill"),
        help="for checkpoint and log; default: %(default)s",
    )
    parser.add_argument("--steps", type=int, help="in place of the recipe's number")
    given = parser.parse_args(arguments)
    if given.output.suffix != ".safetensors" or given.output.exists():
        parser.error(f"{given.output}: give a new file with the suffix .safetensors")
    run(given.recipe, given.photos, given.output, given.run_folder, given.steps)
    print(f"Wrote {given.output} and {given.output.with_suffix('.json').name}.")


if __name__ == "__main__":
    main()
