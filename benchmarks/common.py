"""What the benchmarks share: weights that take as long as the real ones, and the file of their figures."""

import argparse
import json
import sys
from pathlib import Path

import torch

from repro.atomic_files import atomic_path
from repro.training.provenance import provenance
from repro.vgg_weights import BLOCKS


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser of the command line with the option for the output file."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("-o", "--output", type=Path, help="write the figures to this JSON file")
    return made


def write(output: Path | None, figures: dict, device: str | None = None) -> None:
    """Write the figures of a benchmark and how they came about to ``output``; nothing if it is None."""
    if output is not None:
        content = {"command": " ".join(["python", *sys.argv]), **provenance(device), **figures}
        with atomic_path(output) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n")


def random_vgg() -> dict[str, torch.Tensor]:
    """Return random weights of VGG-16's first four blocks, by key."""
    tensors, channels = {}, 3
    for block, count, filters in BLOCKS[:4]:
        for i in range(1, count + 1):
            weight = torch.randn(filters, channels, 3, 3) * (2 / (9 * channels)) ** 0.5
            tensors |= {f"conv{block}_{i}.weight": weight, f"conv{block}_{i}.bias": torch.zeros(filters)}
            channels = filters
    return tensors
