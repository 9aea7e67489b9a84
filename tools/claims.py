"""Measure what the chapters claim of their live trainings: on how many machines does it hold?

    python tools/claims.py                    # measure what is missing, then write results/claims.json
    python tools/claims.py 07 08 --runs 20    # of two chapters only, in the first 20 combinations
    python tools/claims.py --runs 0           # only write the table

A short training ends elsewhere with another seed, another number of threads or other instructions of the
processor. Each combination runs in a process of its own, told by environment variables what it may use. It
executes the chapter's own cells without their assertions, and evaluates the claims in the chapter's names. A
measurement that is in the log is not repeated, so the script can be stopped at any time and started again.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOG = ROOT / "_build" / "claims.jsonl"
TABLE = ROOT / "results" / "claims.json"

THREADS = (1, 2, 4)
INSTRUCTIONS = {
    "native": {},
    "default": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "AVX512": {"ATEN_CPU_CAPABILITY": "avx512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "AVX512, bfloat16": {"ATEN_CPU_CAPABILITY": "avx512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"},
}
SEEDS = 20
RUNS = 60


@dataclass(frozen=True)
class Claim:
    """A sentence, and an expression in the chapter's names that is above 0 where it holds.

    Its value is the margin, in ``unit``. A claim that the chapter asserts has to hold in every run, by a wide
    margin; of the others the chapter says how often they held, or nothing.
    """

    sentence: str
    margin: str
    unit: str = "share"
    asserted: bool = False


@dataclass(frozen=True)
class Chapter:
    """The cells, by id, that a chapter needs for its claims."""

    notebook: str
    cells: tuple[str, ...]
    claims: dict[str, Claim]


def fell(what: str, to: float) -> str:
    """Expression for the margin by which a history fell to a share ``to`` of its start."""
    return f"1 - {what}[-1] / ({to} * {what}[0])"


CHAPTERS = {
    "03": Chapter(
        "03_feature_reconstruction",
        ("03-01", "03-03", "03-06", "03-08"),
        {
            "inverted": Claim(
                "at every layer the feature loss fell to less than a tenth of what it was for noise",
                "min(1 - 10 * h[-1] / h[0] for h in (inverted[l].history[f'content/{l}'] for l in layers))",
                asserted=True,
            ),
            "pixels": Claim(
                "the error in pixels rises from relu1_2 over relu2_2 to relu3_3",
                "min(1 - error[a] / error[b] for a, b in zip(layers[:2], layers[1:3]))",
                asserted=True,
            ),
            "deep": Claim(
                "from each deeper layer the error in pixels is above that from relu2_2",
                "min(1 - error['relu2_2'] / error[layer] for layer in layers[2:])",
                asserted=True,
            ),
            "variation": Claim(
                "a larger weight of total variation leaves less of it",
                "min(1 - b / a for a, b in zip(variation, variation[1:]))",
                asserted=True,
            ),
        },
    ),
    "04": Chapter(
        "04_gram_matrices",
        ("gram-01", "gram-13"),
        {
            "rebuilt": Claim(
                "for every choice of layers the style loss fell to less than a tenth",
                "min(1 - 10 * h[-1] / h[0] for h in (r.history['total'] for r in rebuilt.values()))",
                asserted=True,
            )
        },
    ),
    "05": Chapter(
        "05_baseline",
        ("baseline-01", "baseline-03", "baseline-08", "baseline-09"),
        {
            "baseline": Claim(
                "from noise the objective fell to less than a tenth",
                fell("from_noise.history['total']", 0.1),
                asserted=True,
            ),
            "start": Claim(
                "after 40 iterations the objective is lower from the photograph than from noise",
                "1 - totals['from content'][40] / totals['from noise'][40]",
            ),
        },
    ),
    "07": Chapter(
        "07_training_style",
        ("training-01", "training-03", "training-07", "training-09", "training-11", "training-13"),
        {
            "objective": Claim("the objective fell to less than half", fell("series['total']", 0.5)),
            "styles": Claim(
                "each style term fell to less than half",
                "min(1 - 2 * last[n] / first[n] for n in first if n.startswith('style/'))",
            ),
            "content": Claim(
                "at the end content is the largest of the terms",
                "1 - max(v for n, v in last.items() if 'style' in n) / last['content/relu3_3']",
                asserted=True,
            ),
            "variation": Claim(
                "the total variation is larger at the end than at the start", "last['tv'] / first['tv'] - 1"
            ),
            "held_out": Claim(
                "the objective on the held-out photograph fell from step 40 to 160",
                "1 - evaluations[-1] / evaluations[0]",
            ),
            "contrast": Claim(
                "with a third of the contrast the painting differs by less than 2 % of the range",
                "1 - difference / 0.02",
                asserted=True,
            ),
        },
    ),
    "08": Chapter(
        "08_training_super_resolution",
        ("sr-imports", "sr-01", "sr-11", "sr-13", "sr-14", "sr-measured", "sr-18"),
        {
            "psnr": Claim(
                "on the held-out piece the pixel loss has the higher PSNR",
                "pixel['psnr'] - feature['psnr']",
                "dB",
            ),
            "features": Claim(
                "on the held-out piece the feature loss is nearer at relu2_2",
                "1 - feature['feature/relu2_2'] / pixel['feature/relu2_2']",
            ),
            "bicubic": Claim(
                "on the held-out photograph the pixel loss has more PSNR than bicubic",
                "held['pixel loss']['psnr'] - held['bicubic']['psnr']",
                "dB",
            ),
            "psnr_cat": Claim(
                "on the held-out photograph the pixel loss has the higher PSNR",
                "held['pixel loss']['psnr'] - held['feature loss']['psnr']",
                "dB",
            ),
            "features_cat": Claim(
                "on the held-out photograph the feature loss is nearer at relu2_2",
                "1 - held['feature loss']['distance'] / held['pixel loss']['distance']",
            ),
            "features_bicubic": Claim(
                "on the held-out photograph the feature loss is nearer at relu2_2 than bicubic",
                "1 - held['feature loss']['distance'] / held['bicubic']['distance']",
            ),
            "psnr_all": Claim(
                "on all five photographs the pixel loss has the highest PSNR",
                "min(of['pixel loss'][0] - max(of['feature loss'][0], of['bicubic'][0])"
                " for of in scores.values())",
                "dB",
            ),
            "features_all": Claim(
                "on all five photographs the feature loss is the nearest at relu2_2",
                "min(1 - of['feature loss'][1] / min(of['pixel loss'][1], of['bicubic'][1])"
                " for of in scores.values())",
            ),
        },
    ),
    "09": Chapter(
        "09_results",
        ("results-imports", "results-01", "results-03"),
        {
            "photograph": Claim(
                "the network's objective is below the photograph's", "1 - network / content", asserted=True
            ),
            "ten": Claim(
                "the network is better than the baseline after 10 iterations",
                "1 - network / baseline[10]",
                asserted=True,
            ),
            "sixty": Claim(
                "after 60 iterations the baseline is better than the network",
                "1 - baseline[60] / network",
                asserted=True,
            ),
        },
    ),
    "10": Chapter(
        "10_going_further",
        ("further-01", "further-11", "further-13", "further-14"),
        {
            "before": Claim(
                "before the first step great_wave is nearer to the new objective than random weights",
                "1 - before['from great_wave'] / before['from scratch']",
            ),
            "halfway": Claim(
                "from great_wave the objective is lower after 15 steps than from scratch after 30",
                "1 - started[len(started) // 2] / scratch[-1]",
                asserted=True,
            ),
            "end": Claim(
                "after 30 steps the objective is lower from great_wave",
                "1 - started[-1] / scratch[-1]",
                asserted=True,
            ),
        },
    ),
}


def combinations(count: int) -> list[dict[str, Any]]:
    """The first combinations: every seed in turn, every number of threads with every set of instructions.

    Where a chapter chooses the precision of a training, it is bfloat16 in the last of the sets.
    """
    machines = [*itertools.product(THREADS, [*INSTRUCTIONS, "bfloat16"])]
    return [
        {"seed": i % SEEDS, "threads": machines[i % len(machines)][0], "set": machines[i % len(machines)][1]}
        for i in range(count)
    ]


def environment(combination: dict[str, Any]) -> dict[str, str]:
    chosen = INSTRUCTIONS.get(combination["set"], {})
    own = {
        "OMP_NUM_THREADS": str(combination["threads"]),
        "OMP_WAIT_POLICY": "passive",
        "MPLBACKEND": "agg",
        "TQDM_DISABLE": "1",
        "REPRO_CACHE": str(LOG.parent / "claims-cache" / str(os.getpid())),
    }
    return {**os.environ, **chosen, **own}


class WithoutAssertions(ast.NodeTransformer):
    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        return ast.copy_location(ast.Pass(), node)


def seeds_of_the_chapters(count: int) -> list[int]:
    """Seeds that hold out the same photograph as the chapters' seed, 5, which is the first of them."""
    from repro.sample_photos import photo_files
    from repro.training.data import split

    def held_out(seed: int) -> list[Path]:
        return split(photo_files(), 1, seed)[1]

    chosen = (seed for seed in itertools.count(5) if held_out(seed) == held_out(5))
    return [*itertools.islice(chosen, count)]


def measure(chapter: Chapter, combination: dict[str, Any]) -> dict[str, float]:
    """Execute a chapter's cells in this process; return the margin of each claim."""
    import matplotlib.pyplot as plt

    from repro import optimize_image

    plt.show = lambda: plt.close("all")
    own_noise = optimize_image.white_noise
    optimize_image.white_noise = lambda shape, seed=0: own_noise(shape, seed + combination["seed"])
    seed = seeds_of_the_chapters(combination["seed"] + 1)[-1]
    path = ROOT / "notebooks" / f"{chapter.notebook}.ipynb"
    cells = {cell["id"]: cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]}
    names: dict[str, Any] = {"__name__": "__main__"}
    try:
        for key in chapter.cells:
            source = re.sub(r'"seed": 5\b', f'"seed": {seed}', "".join(cells[key]["source"]))
            if combination["set"] == "bfloat16":
                source = source.replace('precision="no"', 'precision="bf16"')
            tree = WithoutAssertions().visit(ast.parse(source))
            exec(compile(tree, key, "exec"), names)
        return {name: float(eval(claim.margin, names)) for name, claim in chapter.claims.items()}
    finally:
        optimize_image.white_noise = own_noise


def logged() -> list[dict[str, Any]]:
    return [json.loads(line) for line in LOG.read_text().splitlines()] if LOG.is_file() else []


def table(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """For each claim: in how many runs it held, and the smallest margin."""
    found: dict[str, Any] = {}
    for key, chapter in CHAPTERS.items():
        runs = [row["margins"] for row in rows if row["chapter"] == key]
        for name, claim in chapter.claims.items() if runs else ():
            values = [run[name] for run in runs]
            held = sum(value > 0 for value in values)
            found[f"{key}_{name}"] = {
                "chapter": int(key),
                "claim": claim.sentence,
                "runs": len(values),
                "held": held,
                "share": round(held / len(values), 3),
                "smallest_margin": round(min(values), 4),
                "median_margin": round(sorted(values)[len(values) // 2], 4),
                "unit": claim.unit,
                "asserted": claim.asserted,
            }
    return found


def write_table() -> None:
    from repro.training.provenance import provenance

    rows = logged()
    content = {
        "name": "claims",
        "title": "What the chapters say of their live trainings, on simulated machines",
        "command": "python tools/claims.py",
        "seconds": round(sum(row["seconds"] for row in rows)),
        **provenance(),
        "data": {
            "seeds": len({row["seed"] for row in rows}),
            "threads": list(THREADS),
            "instructions": {**INSTRUCTIONS, "bfloat16": "native, and the trainings in bfloat16"},
            "claims": table(rows),
        },
    }
    TABLE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", default=list(CHAPTERS), help="such as 07; default all")
    parser.add_argument("--runs", type=int, default=RUNS, help="how many combinations")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # a combination, for a process of its own
    chosen = parser.parse_args()
    if chosen.one:
        combination = json.loads(chosen.one)
        for key in chosen.chapters:
            started = time.process_time()
            margins = measure(CHAPTERS[key], combination)
            seconds = round(time.process_time() - started, 1)
            row = {"chapter": key, **combination, "seconds": seconds, "margins": margins}
            with LOG.open("a") as log:
                log.write(json.dumps(row) + "\n")
        return
    LOG.parent.mkdir(exist_ok=True)
    for combination in combinations(chosen.runs):
        done = {row["chapter"] for row in logged() if combination.items() <= row.items()}
        missing = [key for key in chosen.chapters if key not in done]
        if missing:
            command = [sys.executable, __file__, *missing, "--one", json.dumps(combination)]
            subprocess.run(command, env=environment(combination), check=True, stdout=subprocess.DEVNULL)
            print(combination, *missing, flush=True)
    write_table()


if __name__ == "__main__":
    main()
