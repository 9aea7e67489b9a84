"""Table 1: seconds for the baseline and for one pass of the network, and the speed-up.

An iteration of the baseline takes the same time whatever came before, as the paper's own table shows (3.17,
9.52 and 15.86 s for 100, 300 and 500 of them). So as many as the scale says are measured, and the times for
the paper's numbers follow from the time of one. An iteration is an evaluation of the objective with its
gradient, which is what the released code counts; L-BFGS needs a few more of them than it makes steps. It is
timed from one evaluation to the next: SciPy prepares for a second or more before it comes to the second one,
once a run, which says nothing of an iteration.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..devices import device
from ..figures import Table, panels
from ..optimize_image import optimize_image, white_noise
from .scorecard import paper_numbers
from .support.common import Result, describe_pictures, rounded, seconds, settings, spread, squares
from .support.network_analysis import multiplications
from .support.trained_styles import first_style, trained_style

SEED = 0
PHOTO = "astronaut"
SETTINGS: dict[str, dict[str, Any]] = {
    "smoke": {"sizes": [32, 64], "measured_iterations": 2, "baseline_repeats": 2, "network_repeats": 3},
    "book": {"sizes": [128, 256], "measured_iterations": 8, "baseline_repeats": 3, "network_repeats": 15},
    "paper": {
        "sizes": [256, 512, 1024],
        "measured_iterations": 20,
        "baseline_repeats": 5,
        "network_repeats": 15,
    },
}


def run(scale: str = "book", loss_network: str = "auto", styles: Sequence[str] | None = None) -> Result:
    """Measure baseline and network on one photo at several sizes, each after a run to warm up.

    Args:
        styles: as of :func:`repro.experiments.objective_curve.run`.

    Returns:
        ``data["sizes"]``, for each size ``baseline_iteration`` and ``network``, seconds as median and range;
        ``baseline``, seconds for the paper's numbers of iterations; ``speedup``, these over the network's;
        ``multiplications`` of the network's convolutions, and ``share_of_peak``, how many it does a second
        over those of a product of large matrices or of a convolution of many channels, whichever is faster.

    Raises:
        ValueError: unknown scale, loss network or network, or no network comes with the package.
        repro.errors.AssetError: the style picture or weights cannot be had.
    """
    chosen = settings(SETTINGS, scale)
    style = trained_style(first_style(styles), loss_network)
    counts = paper_numbers()["speed"]["iterations"]
    peak = _peak()
    found = []
    for size in chosen["sizes"]:
        content = squares([PHOTO], size)[PHOTO]
        objective, noise = style.objective(content), white_noise(content.shape, SEED).to(content)
        runs = [
            _iterations(objective, noise, chosen["measured_iterations"])
            for _ in range(1 + chosen["baseline_repeats"])
        ]
        iteration = spread([median(run) for run in runs[1:]])
        network = spread(seconds(partial(style.result, content), chosen["network_repeats"]))
        times = {str(count): rounded(count * iteration["median"]) for count in counts}
        work = multiplications(style.network, (3, size, size))
        found.append(
            {
                "size": size,
                "baseline_iteration": iteration,
                "baseline": times,
                "network": network,
                "speedup": {key: rounded(value / network["median"]) for key, value in times.items()},
                "multiplications": work,
                "share_of_peak": rounded(work / network["median"] / peak),
            }
        )
    made_with = {
        "seed": SEED,
        "network": style.describe(),
        "photos": describe_pictures(squares([PHOTO], chosen["sizes"][0])),
        "threads": torch.get_num_threads(),
    }
    data = {"settings": chosen, "sizes": found, "peak_multiplications_per_second": rounded(peak)}
    return Result(data, {}, made_with)


def _iterations(
    objective: Callable[[Tensor], Mapping[str, Tensor]], start: Tensor, count: int
) -> list[float]:
    """Return the seconds of each iteration but the first, from one evaluation of the objective to the next.

    No evaluation begins before the one before has ended, on a GPU either: its value is needed.
    """
    began: list[float] = []

    def timed(image: Tensor) -> Mapping[str, Tensor]:
        began.append(time.perf_counter())
        return objective(image)

    optimize_image(timed, start, count)
    return [later - earlier for earlier, later in pairwise(began[1:])]


@torch.no_grad()
def _peak(side: int = 1024, channels: int = 256, size: int = 64) -> float:
    """Return multiplications a second in a product of two square matrices or a convolution, the best of five.

    Which of the two is the faster depends on the processor: on some, convolutions run twice as fast.
    """
    a = torch.rand(side, side, device=device())
    x = torch.rand(1, channels, size, size, device=device())
    weight = torch.rand(channels, channels, 3, 3, device=device())
    product = side**3 / min(seconds(lambda: a @ a, 5))
    work = 9 * channels**2 * size**2
    return max(product, work / min(seconds(lambda: torch.conv2d(x, weight, padding=1), 5)))


def table(result: Result) -> Table:
    """Return the speed-up over each number of iterations at each size, beside the paper's."""
    paper = paper_numbers()["speed"]
    rows = []
    for found in result.data["sizes"]:
        theirs = paper["size"].get(str(found["size"]), {}).get("speedup", [None] * len(paper["iterations"]))
        for count, ratio in zip(paper["iterations"], theirs, strict=True):
            seconds = f"{found['baseline'][str(count)]:.3g}", f"{found['network']['median']:.3g}"
            ours = f"{found['speedup'][str(count)]:,.0f}"
            rows.append([f"{found['size']} px", count, *seconds, ours, f"{ratio:,}" if ratio else None])
    titles = ["size", "iterations", "baseline, s", "network, s", "times as fast", "paper's times as fast"]
    return Table(titles, rows, caption=result.origin)


def plot(result: Result) -> Figure:
    """Draw seconds against size: the baseline's for each number of iterations, and the network's."""
    sizes = result.data["sizes"]
    x = [found["size"] for found in sizes]
    figure, axis = panels()
    for count in sizes[0]["baseline"]:
        values = [found["baseline"][count] for found in sizes]
        axis.plot(x, values, "o-", label=f"baseline, {count} iterations")
    middle = [found["network"]["median"] for found in sizes]
    axis.plot(x, middle, "s-", color="black", label="network")
    for found in sizes:
        last = list(found["speedup"])[-1]
        axis.annotate(
            f"{found['speedup'][last]:.0f} x", (found["size"], found["network"]["median"]), (0, 6),
            textcoords="offset points", ha="center", fontsize=8,
        )  # fmt: skip
    axis.set_xscale("log", base=2)
    axis.margins(x=0.12)
    axis.set(xlabel="side in pixels", ylabel="seconds", yscale="log")
    axis.set_xticks(x, [str(size) for size in x])
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure
