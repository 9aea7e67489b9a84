"""The numbers of the paper beside ours, from stored results: tables in Markdown, with their provenance."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from . import EXPERIMENTS
from .support.common import SCALES

AGREES = {"psnr": 0.05, "ssim": 0.002}  # dB; differences within these are rounding and implementation
UNITS = {"psnr": " dB", "ssim": ""}
# The rows that stand in the README, where a result has them.
HEADLINES = (
    "256 px, 2 photos, iterations that the network is worth",
    "256 px, 2 photos, objective of photo over network",
    "256 px, speed-up over 500 iterations",
    *(
        f"x{s}, set5, {method}, PSNR"
        for s in (4, 8)
        for method in ("bicubic", f"x{s}_pixel", f"x{s}_relu2_2")
    ),
    "growth by a 3x3 convolution, after downsampling by 4",
)
MARKS = ("<!-- scorecard -->\n", "<!-- end of scorecard -->\n")
ORDER = 3.0  # a speed-up within this factor of the paper's is of its order of magnitude


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


def scorecard(folder: str | Path) -> str:
    """Return a section in Markdown for each experiment with numbers of the paper, from the results there.

    Of "book" and "paper" scale the larger one is taken. An experiment without a result says so.

    Args:
        folder: with the files that ``repro reproduce`` writes; it may be missing.

    Raises:
        ValueError: a result is damaged; the message names the file.
    """
    results = load_results(folder)
    rows = {name: list(COMPARE[name](results[name]["data"])) for name in COMPARE if name in results}
    lines = [_summary([row for found in rows.values() for row in found]), ""]
    for name in COMPARE:
        experiment, paper = EXPERIMENTS[name], paper_numbers()[name]
        lines += [
            f"## {experiment.title}",
            "",
            f"{_sentence(paper['source'])} {_sentence(paper['certainty'])}",
        ]
        if name not in results:
            lines += ["", f"No result is stored; `repro reproduce {name}` makes one.", ""]
            continue
        lines += ["", f"Ours: {provenance_line(results[name])}", ""]
        if rows[name]:
            lines += ["| | paper | ours | |", "|---|---:|---:|---|"]
            lines += [f"| {' | '.join(row)} |" for row in rows[name]] + [""]
        else:
            lines += ["This result has no row that can be set beside the paper's.", ""]
    return "\n".join(lines)


def headlines(folder: str | Path) -> str:
    """Return a table in Markdown of the rows of :data:`HEADLINES`, from the results in ``folder``.

    Raises:
        ValueError: a result is damaged; the message names the file.
    """
    results = load_results(folder)
    rows = {
        row.what: row for name in COMPARE if name in results for row in COMPARE[name](results[name]["data"])
    }
    found = [rows[what] for what in HEADLINES if what in rows]
    lines = ["| | paper | ours | |", "|---|---:|---:|---|", *(f"| {' | '.join(row)} |" for row in found)]
    return "\n".join([_summary(rows.values()), "", *lines, ""])


def with_headlines(text: str, folder: str | Path) -> str:
    """Return a page with what is between its two :data:`MARKS` made anew by :func:`headlines`.

    Raises:
        ValueError: the page has no place for it, or a result is damaged.
    """
    before, begin, rest = text.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not begin or not end:
        raise ValueError(f"the page has no {MARKS[0].strip()} and {MARKS[1].strip()} to write between")
    return f"{before}{begin}\n{headlines(folder)}\n{end}{after}"


def load_results(folder: str | Path) -> dict[str, dict[str, Any]]:
    """Return the stored result of each experiment, at paper scale if there is one, else at book scale.

    Raises:
        ValueError: a file is damaged; the message names it.
    """
    results = {}
    for name in EXPERIMENTS:
        for scale in SCALES[1:]:  # at smoke scale nothing is large enough to be compared
            path = Path(folder) / f"{name}.{scale}.json"
            if not path.is_file():
                continue
            try:
                results[name] = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ValueError(f"{path}: damaged ({error})") from None
    return results


def _summary(rows: Iterable[Row]) -> str:
    verdicts = [row.verdict for row in rows if row.paper]
    if not verdicts:
        return "No result is stored yet that can be set beside a number of the paper."
    counts = {verdict: verdicts.count(verdict) for verdict in ("agrees", "better", "worse", "differs")}
    words = ", ".join(f"{count} {_VERB[verdict][count > 1]}" for verdict, count in counts.items() if count)
    return f"Of {len(verdicts)} comparisons with a number of the paper: {words}."


_VERB = {  # of one number, of several
    "agrees": ("agrees", "agree"),
    "better": ("is better", "are better"),
    "worse": ("is worse", "are worse"),
    "differs": ("differs", "differ"),
}


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def loss_network_of(result: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what a result says of its loss network, None where none had a part."""
    made_with = result["made_with"]
    return made_with.get("loss_network") or made_with.get("network", {}).get("loss_network")


def provenance_line(result: Mapping[str, Any]) -> str:
    """Return what a reader needs to know of a result, and to make it again."""
    network = loss_network_of(result)
    parts = [f"scale {result['scale']}", result["device"]]
    if network:
        layers = ", ".join(f"`{layer}`" for layer in network["layers"])
        parts.append(f"loss network `{network['name']}` at {layers}")
    return f"{'; '.join(parts)}; {result['seconds']:.0f} s. `{result['command']}`"


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
            nearest = min(off, key=lambda row, key=key: row[key])
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
        in_millions = [f"{count / 1e6:,.0f}" for count in (paper, counted[case])]
        yield Row(f"million multiplications, {case}", *in_millions, verdict)


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
        for count, theirs in zip(
            paper["iterations"], paper["size"].get(str(found["size"]), {}).get("speedup", ()), strict=False
        ):
            ours = found["speedup"][str(count)]
            verdict = (
                "agrees" if 1 / ORDER < ours / theirs < ORDER else "better" if ours > theirs else "worse"
            )
            yield Row(
                f"{found['size']} px, speed-up over {count} iterations", f"{theirs}", f"{ours:.0f}", verdict
            )


COMPARE: dict[str, Callable[[Mapping[str, Any]], Iterator[Row]]] = {
    "objective_curve": _objective_curve,
    "speed": _speed,
    "super_resolution": _super_resolution,
    "receptive_field": _receptive_field,
    "cost": _cost,
}
