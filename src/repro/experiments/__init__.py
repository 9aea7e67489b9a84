"""The figures and tables of the paper that can be measured, and a few more, one module each.

``run(scale, loss_network)`` measures and gives a :class:`repro.experiments.support.common.Result`, ``plot``
draws it, and ``table`` puts its numbers into a :class:`repro.figures.Table`. :func:`reproduce` adds where the
result comes from and writes it; :func:`load_results` reads what was written. The numbers of the paper are in
``paper.toml`` beside this file.
"""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from ..training.provenance import provenance
from .support import common

__all__ = ["EXPERIMENTS", "check", "choose", "load_results", "module", "options_of", "reproduce"]


class Experiment(NamedTuple):
    """What an experiment is about, and the part of the paper that it reproduces."""

    title: str
    paper: str


EXPERIMENTS = {
    "feature_reconstruction": Experiment("Images with the same features at one layer", "Fig. 3"),
    "style_reconstruction": Experiment("Images with the same Gram matrices", "Fig. 4"),
    "receptive_field": Experiment("Pixels that an output pixel depends on", "section 3.1"),
    "cost": Experiment("Multiplications with and without downsampling", "section 3.1"),
    "super_resolution": Experiment("PSNR and SSIM on test sets", "Figs. 8 and 9"),
    "ablations": Experiment("Two networks that differ in one choice", "supplement and section 3.1"),
    "perceptual_agreement": Experiment("Which of two distorted pictures is closer", "section 1"),
    "objective_curve": Experiment("Objective against iterations", "Fig. 5"),
    "style_objectives": Experiment("Every style beside the baseline", "section 4.1 and Fig. 5"),
    "speed": Experiment("Seconds for the baseline and for the network", "Table 1"),
    "style_gallery": Experiment("Photo, baseline and network side by side", "Figs. 6 and 7"),
}
OPTIONS = {
    "data": "data",
    "networks": "network",
    "styles": "style",
}  # and their flags in the command


def module(name: str) -> Any:
    """Return the module of an experiment, with its ``run``, ``plot`` and ``table``.

    Raises:
        ValueError: unknown name; the message lists the known ones.

    Example:
        >>> result = module("cost").run("smoke")
        >>> module("cost").table(result).rows[0][:2]
        ['block, 32 channels, full size', '1,208']
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"unknown experiment {name!r}; known: all, {', '.join(EXPERIMENTS)}")
    return import_module(f".{name}", __name__)


def choose(names: Sequence[str]) -> list[str]:
    """Return the experiments that are meant, each once; "all" stands for all of them.

    Raises:
        ValueError: an unknown name; the message lists the known ones.

    Example:
        >>> choose(["speed", "cost", "speed"])
        ['speed', 'cost']
    """
    chosen = dict.fromkeys(name for given in names for name in (EXPERIMENTS if given == "all" else [given]))
    for name in chosen:
        module(name)
    return list(chosen)


def options_of(name: str) -> list[str]:
    """Return the options of :data:`OPTIONS` that an experiment takes.

    Example:
        >>> options_of("objective_curve")
        ['data', 'styles']
    """
    parameters = inspect.signature(module(name).run).parameters
    return [key for key in parameters if key in OPTIONS]


def check(
    names: Sequence[str], scale: str, folder: str | Path, overwrite: bool, options: Iterable[str]
) -> None:
    """Refuse before the work, not after it.

    Raises:
        ValueError: an unknown name or scale, or an option that none of the experiments takes.
        FileExistsError: a result is there already, and it is not to be replaced.
    """
    if scale not in common.SCALES:
        raise ValueError(f"unknown scale {scale!r}; known: {', '.join(common.SCALES)}")
    for option in options:
        if not any(option in options_of(name) for name in names):
            raise ValueError(f"--{OPTIONS.get(option, option)} is for none of {', '.join(names)}")
    for name in names if not overwrite else ():
        for path in common.result_files(name, scale, Path(folder)):
            if path.exists():
                raise FileExistsError(f"{path} exists; give another folder or overwrite=True")


def reproduce(
    name: str,
    scale: str = "book",
    loss_network: str = "auto",
    folder: str | Path = "results",
    overwrite: bool = False,
    **options: Any,
) -> Path:
    """Run an experiment and write ``NAME.SCALE.json`` and ``NAME.SCALE.png``; return the path of the JSON.

    Args:
        name: one of :data:`EXPERIMENTS`.
        scale: "smoke" (seconds), "book" (minutes) or "paper" (the paper's settings, where it gives them).
        loss_network: its name, or "auto".
        folder: where the files go.
        overwrite: replace files of an earlier run.
        options: those of :data:`OPTIONS` that the experiment's ``run`` takes.

    Raises:
        FileExistsError: there is a result already.
        ValueError: an unknown name, scale or option, or a result that is not finite.
        repro.errors.AssetError: something that it needs is not on this machine.
    """
    from matplotlib import pyplot as plt

    check([name], scale, folder, overwrite, options)
    command = _command(name, scale, loss_network, options)
    started = time.perf_counter()
    result = module(name).run(scale, loss_network, **options)
    seconds = round(time.perf_counter() - started, 2)
    content = {
        "name": name,
        "title": EXPERIMENTS[name].title,
        "paper": EXPERIMENTS[name].paper,
        "scale": scale,
        "command": command,
        "seconds": seconds,
        **provenance(),
        "made_with": result.made_with,
        "data": result.data,
    }
    figure = module(name).plot(result)
    try:
        files = common.result_files(name, scale, Path(folder))
        common.write(content, figure, files)
    finally:
        plt.close(figure)
    return files[0]


def load_results(folder: str | Path) -> dict[str, common.Result]:
    """Return the stored result of each experiment, at paper scale if there is one, else at book scale.

    Args:
        folder: where :func:`reproduce` wrote; it may be missing.

    Raises:
        ValueError: a file is damaged; the message names it.
    """
    results = {}
    for name in EXPERIMENTS:
        for scale in common.SCALES[1:]:  # at smoke scale nothing is large enough to be compared
            path = common.result_files(name, scale, Path(folder))[0]
            if not path.is_file():
                continue
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                results[name] = common.Result(
                    content.pop("data"), made_with=content.pop("made_with"), provenance=content
                )
            except (ValueError, KeyError) as error:
                raise ValueError(f"{path}: damaged ({error})") from None
    return results


def _command(name: str, scale: str, loss_network: str, options: dict[str, Any]) -> str:
    """Return the command that gives the result; of paths only the last part, as they are this machine's."""
    words = ["repro", "reproduce", name, "--scale", scale, "--loss-network", loss_network]
    for option, value in options.items():
        items = value if isinstance(value, (list, tuple)) else [value] * (value is not None)
        for item in items:
            words += [f"--{OPTIONS[option]}", Path(item).absolute().name]
    return " ".join(words)
