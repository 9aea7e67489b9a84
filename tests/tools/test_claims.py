"""What chapters claim of their live trainings: the script that measures it, and its stored table."""

import itertools
import json

import claims
import pytest


@pytest.fixture
def stored():
    return json.loads(claims.TABLE.read_text(encoding="utf-8"))["data"]["claims"]


def cells(chapter):
    path = claims.ROOT / "notebooks" / f"{chapter.notebook}.ipynb"
    return {cell["id"]: "".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]}


def test_combinations_have_every_seed_and_every_machine():
    chosen = claims.combinations(claims.RUNS)
    assert len({tuple(combination.values()) for combination in chosen}) == len(chosen) == 60
    assert {combination["seed"] for combination in chosen} == set(range(20))
    machines = {(combination["threads"], combination["set"]) for combination in chosen}
    assert machines == set(itertools.product((1, 2, 4), [*claims.INSTRUCTIONS, "bfloat16"]))


def test_a_process_is_told_what_it_may_use():
    told = claims.environment({"seed": 3, "threads": 4, "set": "AVX2"})
    assert told["OMP_NUM_THREADS"] == "4"
    assert (told["ATEN_CPU_CAPABILITY"], told["ONEDNN_MAX_CPU_ISA"]) == ("avx2", "AVX2")


@pytest.mark.parametrize("key", claims.CHAPTERS)
def test_the_cells_are_those_of_the_chapter(key):
    chapter = claims.CHAPTERS[key]
    sources = cells(chapter)
    assert set(chapter.cells) <= set(sources)
    for claim in chapter.claims.values():
        compile(claim.margin, "margin", "eval")


def test_a_chapter_is_measured_with_another_seed_and_without_its_assertions(tmp_path, monkeypatch):
    sources = {
        "a": 'LIVE = {"seed": 5}\nfrom repro.optimize_image import white_noise\nfirst = white_noise((1, 1))',
        "b": 'assert False, "not here"\nprecision = "no"\nchosen = dict(precision="no")',
        "c": "raise ValueError",
    }
    notebook = {"cells": [{"id": key, "source": [source]} for key, source in sources.items()]}
    tmp_path.joinpath("notebooks").mkdir()
    tmp_path.joinpath("notebooks", "some.ipynb").write_text(json.dumps(notebook))
    monkeypatch.setattr(claims, "ROOT", tmp_path)
    margins = {
        "seed": claims.Claim("the seed", "LIVE['seed']"),
        "noise": claims.Claim("the noise", "first.item()"),
        "half": claims.Claim("half precision", "chosen['precision'] == 'bf16'"),
    }
    chapter = claims.Chapter("some", ("a", "b"), margins)
    same = claims.measure(chapter, {"seed": 0, "threads": 1, "set": "native"})
    other = claims.measure(chapter, {"seed": 1, "threads": 1, "set": "bfloat16"})
    assert (same["seed"], same["half"]) == (5, 0)
    assert other["seed"] > 5 and other["half"] == 1
    assert other["noise"] != same["noise"]


def test_the_table_counts_and_keeps_the_smallest_margin():
    margins = dict.fromkeys(claims.CHAPTERS["04"].claims, 0.5)
    rows = [
        {"chapter": "04", "margins": margins},
        {"chapter": "04", "margins": margins | {"rebuilt": -0.25}},
    ]
    (row,) = claims.table(rows).values()
    assert (row["chapter"], row["runs"], row["held"], row["share"]) == (4, 2, 1, 0.5)
    assert (row["smallest_margin"], row["asserted"]) == (-0.25, True)


def test_what_a_chapter_asserts_held_in_every_run_by_a_margin(stored):
    for key, row in stored.items():
        if row["asserted"]:
            assert row["held"] == row["runs"], key
            assert row["smallest_margin"] > 0.1, key


def test_the_stored_table_is_of_the_claims_that_there_are(stored):
    known = {
        f"{key}_{name}": claim
        for key, chapter in claims.CHAPTERS.items()
        for name, claim in chapter.claims.items()
    }
    assert set(stored) == set(known)
    for key, row in stored.items():
        assert (row["claim"], row["asserted"]) == (known[key].sentence, known[key].asserted)
        assert row["share"] == round(row["held"] / row["runs"], 3)
