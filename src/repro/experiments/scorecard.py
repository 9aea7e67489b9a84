"""The numbers of the paper beside ours, from stored results: tables in Markdown, with their provenance."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from ..figures import Table
from . import EXPERIMENTS, load_results

AGREES = {"psnr": 0.05, "ssim": 0.002}  # dB; differences within these are rounding and implementation
UNITS = {"psnr": " dB", "ssim": ""}
ORDER = 3.0  # a speed-up within this factor of the paper's is of its order of magnitude
VERBS = {  # of one number, of several
    "agrees": ("agrees", "agree"),
    "better": ("is better", "are better"),
    "worse": ("is worse", "are worse"),
    "differs": ("differs", "differ"),
}


class Row(NamedTuple):
    """A number of the paper and ours.

    Attributes:
        what: the number.
        paper: as it is to be read; empty where ours is a distance from several of the paper's numbers.
        ours: as it is to be read.
        verdict: "agrees", "better", "worse" or "differs".
    """

    what: str
    paper: str
    ours: str
    verdict: str


@cache
def paper_numbers() -> dict[str, Any]:
    """Return the numbers of the paper by experiment, each table with ``source`` and ``certainty``.

    They are typed in one place only, ``paper.toml`` beside this file.
    """
    file = resources.files(__package__) / "paper.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _super_resolution(data: Mapping[str, Any]) -> Iterator[Row]:
    for row in data["means"]:
        # x4 and x8 have a pixel loss beside the feature loss, which nothing of the paper has.
        for key in AGREES if row["paper"] and row["method"] not in ("x4", "x8") else ():
            difference = row[key] - row["paper"][key]
            verdict = "better" if difference > 0 else "worse"
            if row["method"] == "bicubic":  # no method of ours: another number is another way to measure
                verdict = "differs"
            if abs(difference) <= AGREES[key]:
                verdict = "agrees"
            what = f"x{row['factor']}, {row['set']}, {row['method']}, {key.upper()}"
            yield Row(what, _value(row["paper"][key], key), _value(row[key], key), verdict)
    for factor, off in data["off"].items():
        for key in AGREES if off else ():
            nearest = min(off, key=itemgetter(key))
            what = f"{factor}, all bicubic rows, protocol nearest in {key.upper()}: {nearest['protocol']}"
            verdict = "agrees" if nearest[key] <= AGREES[key] else "differs"
            yield Row(what, "", f"{_value(nearest[key], key)} off", verdict)


def _value(value: float, key: str) -> str:
    return f"{value:.{2 if key == 'psnr' else 4}f}{UNITS[key]}"


def _receptive_field(data: Mapping[str, Any]) -> Iterator[Row]:
    for kind, paper in paper_numbers()["receptive_field"]["growth"].items():
        ours = data["growth"][kind]
        what = {"full": "at full size", "quarter": "after downsampling by 4"}[kind]
        verdict = "agrees" if ours == paper else "differs"
        yield Row(f"growth by a 3x3 convolution, {what}", f"{paper} px", f"{ours:g} px", verdict)


def _cost(data: Mapping[str, Any]) -> Iterator[Row]:
    counted = {row["case"]: row["multiplications"] for row in data["rows"]}
    for case, paper in data["formula"].items():
        verdict = "agrees" if counted[case] == paper else "differs"
        theirs, ours = (f"{count / 1e6:,.0f}" for count in (paper, counted[case]))
        yield Row(f"million multiplications, {case}", theirs, ours, verdict)


def _objective_curve(data: Mapping[str, Any]) -> Iterator[Row]:
    low, high = paper_numbers()["objective_curve"]["crossing"]
    sizes = paper_numbers()["objective_curve"]["size"]
    for found in data["sizes"]:
        where, last = found["crossing"], len(found["baseline"]["mean"]) - 1
        reached = last if where is None else where
        if where is None and last < high:
            verdict = "differs"  # too few iterations to tell
        else:  # a later crossing is a better network
            verdict = "worse" if reached < low else "better" if reached > high or where is None else "agrees"
        ours = str(where) if where is not None else f"not by {last}"
        size, photos = found["size"], len(found["photos"])
        of = f"{size} px, {photos} photo{'s' * (photos > 1)}"
        yield Row(f"{of}, iterations that the network is worth", f"{low} to {high}", ours, verdict)
        if str(size) in sizes:
            paper = sizes[str(size)]["content"] / sizes[str(size)]["network"]
            ratio = found["content"]["mean"] / found["network"]["mean"]
            verdict = "agrees" if 1 / ORDER < ratio / paper < ORDER else "differs"
            yield Row(f"{of}, objective of photo over network", f"{paper:.1f}", f"{ratio:.1f}", verdict)


def _speed(data: Mapping[str, Any]) -> Iterator[Row]:
    paper = paper_numbers()["speed"]
    for found in data["sizes"]:
        speedups = paper["size"].get(str(found["size"]), {}).get("speedup", ())
        for count, theirs in zip(paper["iterations"], speedups, strict=False):
            ours = found["speedup"][str(count)]
            verdict = "better" if ours > theirs else "worse"
            if 1 / ORDER < ours / theirs < ORDER:
                verdict = "agrees"
            what = f"{found['size']} px, speed-up over {count} iterations"
            yield Row(what, f"{theirs}", f"{ours:.0f}", verdict)


COMPARE: dict[str, Callable[[Mapping[str, Any]], Iterator[Row]]] = {
    "objective_curve": _objective_curve,
    "speed": _speed,
    "super_resolution": _super_resolution,
    "receptive_field": _receptive_field,
    "cost": _cost,
}


def rows_of(folder: str | Path) -> dict[str, list[Row]]:
    """Return the rows of each experiment that has a result in ``folder`` and numbers of the paper.

    Raises:
        ValueError: a result is damaged; the message names the file.
    """
    results = load_results(folder)
    return {name: list(compare(results[name].data)) for name, compare in COMPARE.items() if name in results}


def scorecard(folder: str | Path) -> str:
    """Return a section in Markdown for each experiment with numbers of the paper, from the results there.

    Of "book" and "paper" scale the larger one is taken. An experiment without a result says so.

    Args:
        folder: with the files that ``repro reproduce`` writes; it may be missing.

    Raises:
        ValueError: a result is damaged; the message names the file.
    """
    results, rows = load_results(folder), rows_of(folder)
    lines = [summary(row for found in rows.values() for row in found), ""]
    for name in COMPARE:
        paper = paper_numbers()[name]
        lines += [f"## {EXPERIMENTS[name].title}", ""]
        lines += [f"{_sentence(paper['source'])} {_sentence(paper['certainty'])}", ""]
        if name not in results:
            lines += [f"No result is stored; `repro reproduce {name}` makes one.", ""]
        elif not rows[name]:
            lines += [f"Ours: {results[name].origin}", ""]
            lines += ["This result has no row that can be set beside the paper's.", ""]
        else:
            lines += [f"Ours: {results[name].origin}", "", table(rows[name]), ""]
    return "\n".join(lines)


def table(rows: Sequence[Row]) -> str:
    """Return rows as a table in Markdown."""
    return str(Table(["", "paper", "ours", ""], rows, "lrrl"))


def summary(rows: Iterable[Row]) -> str:
    """Return in one sentence how many of the rows agree, and how the others differ.

    Example:
        >>> summary([Row("PSNR", "28.43 dB", "28.42 dB", "agrees"), Row("SSIM", "0.81", "0.79", "differs")])
        'Of 2 comparisons with a number of the paper: 1 agrees, 1 differs.'
    """
    verdicts = [row.verdict for row in rows if row.paper]
    if not verdicts:
        return "No result is stored yet that can be set beside a number of the paper."
    counts = {verdict: verdicts.count(verdict) for verdict in VERBS}
    words = ", ".join(f"{count} {VERBS[verdict][count > 1]}" for verdict, count in counts.items() if count)
    return f"Of {len(verdicts)} comparisons with a number of the paper: {words}."


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
