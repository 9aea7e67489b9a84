"""A run's folder loses nothing: files are whole, and what is younger than the checkpoint is dropped."""

import json
import math
import subprocess
import sys

import pytest
import torch

from repro.training import run_folder
from repro.training.run_folder import RunFolder, RunStatistics, fingerprint, read_history, same_fingerprint


@pytest.fixture
def run(tmp_path):
    """The folder of a run that has begun."""
    run = RunFolder(tmp_path / "runs" / "a")
    run.create({"recipe": {"name": "a"}, "photos": 3})
    yield run
    run.close()


def _row(step):
    return {"step": step, "seconds": 0.5, "train": {"total": 1 / step}}


def _state(step):
    return {"step": step, "network": {"weight": torch.full((1000,), step / 3)}, "best": math.inf}


def test_a_run_begins_once(run, tmp_path):
    assert run.description() == {"recipe": {"name": "a"}, "photos": 3}
    run.create(run.description() | {"photos": 4})  # nothing was done yet
    run.log({"step": 1})
    run.close()
    with pytest.raises(
        FileExistsError, match=rf"^{run.path} holds a run already; go on with it by resume=True"
    ):
        run.create({})
    assert run.description()["photos"] == 4
    run.path.joinpath("run.json").unlink()
    run.save(_state(1))
    with pytest.raises(FileExistsError, match="holds a run already"):
        run.create({})
    (tmp_path / "empty").mkdir()
    RunFolder(tmp_path / "empty").create({})  # a folder that is there but holds no run will do


def test_a_folder_is_locked_until_it_is_closed_or_its_process_is_killed(run):
    code = (
        "import sys, time; from repro.training.run_folder import RunFolder; "
        "run = RunFolder(sys.argv[1]); run.lock(); print('locked', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(run.path)], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout.readline() == b"locked\n"
            with pytest.raises(FileExistsError, match="another process is training there; wait for it"):
                run.lock()
        finally:
            other.kill()
    run.lock()
    second = RunFolder(run.path)
    with pytest.raises(FileExistsError, match="another process is training there"):
        second.lock()
    run.close()
    second.lock()
    second.close()


def test_description_says_what_is_wrong(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no run"):
        RunFolder(tmp_path / "nothing").description()
    for damage in (b'{"recipe": ', b"", b"\xff\xfe\x00"):
        run.path.joinpath("run.json").write_bytes(damage)
        with pytest.raises(ValueError, match=r"run\.json: damaged"):
            run.description()
    for other in ("[]", '{"recipe": {}}'):
        run.path.joinpath("run.json").write_text(other)
        with pytest.raises(ValueError, match=r"run\.json: not of a run of this program"):
            run.description()
        with pytest.raises(ValueError, match=r"run\.json: not of a run of this program"):
            run.create({})


def test_checkpoint_round_trip(run):
    assert run.load() is None
    state = _state(4) | {"sums": {"tv": 0.1}, "skipped": ["a"], "rng": torch.get_rng_state()}
    run.save(state)
    loaded = RunFolder(run.path).load()
    assert list(loaded) == list(state)
    assert torch.equal(loaded["network"]["weight"], state["network"]["weight"])
    assert torch.equal(loaded["rng"], state["rng"])
    assert (loaded["step"], loaded["best"], loaded["sums"]) == (4, math.inf, {"tv": 0.1})


def test_a_checkpoint_replaces_the_one_before_whole_or_not_at_all(run, monkeypatch):
    run.save(_state(1))
    run.save(_state(2))
    save = torch.save

    def break_off(state, path):
        save(state, path)
        path.write_bytes(path.read_bytes()[:100])
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", break_off)
    with pytest.raises(OSError, match="no space"):
        run.save(_state(3))
    assert run.load()["step"] == 2
    assert sorted(path.name for path in run.path.iterdir()) == ["checkpoint.pt", "history.jsonl", "run.json"]


def test_what_a_killed_process_left_behind_is_removed(run):
    run.save(_state(1))
    run.path.joinpath("samples").mkdir()
    kept = ["best.safetensors", "model.safetensors", "samples/step_000001.jpg", ".mine", "checkpoint-2.pt"]
    left = [
        ".checkpoint-a_b1.pt",
        ".best-a_b1.safetensors",
        ".model-a_b1.safetensors",
        "samples/.step_000002-a_b1.jpg",
    ]
    for name in kept + left:
        run.path.joinpath(name).write_text("x")
    assert run.load()["step"] == 1
    assert all(run.path.joinpath(name).exists() for name in kept)
    assert not any(run.path.joinpath(name).exists() for name in left)


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "other"])
def test_a_damaged_checkpoint_is_named_in_one_line(run, damage):
    run.save(_state(1))
    if damage == "other":
        torch.save({"weight": torch.zeros(2)}, run.checkpoint)
    else:
        content = run.checkpoint.read_bytes()
        run.checkpoint.write_bytes(
            {"cut": content[: len(content) // 2], "empty": b"", "text": b"<html>"}[damage]
        )
    with pytest.raises(ValueError, match=r"checkpoint\.pt: damaged or not a checkpoint") as caught:
        run.load()
    assert "\n" not in str(caught.value)


def test_history_is_what_was_logged(run):
    assert read_history(run.path) == []
    rows = [_row(1), _row(2), {"step": 2, "seconds": 1.0, "evaluation": {"objective": 3.5}}]
    for row in rows:
        run.log(row)
    assert read_history(run.path) == rows


def test_loading_drops_the_history_after_the_checkpoint(run):
    for step in (1, 2, 3, 4):
        run.log(_row(step))
        if step == 2:
            run.save(_state(step))
    run.close()
    again = RunFolder(run.path)
    assert len(read_history(run.path)) == 4
    assert again.load()["step"] == 2
    assert read_history(run.path) == [_row(1), _row(2)]
    again.log(_row(3))
    again.close()
    assert [row["step"] for row in read_history(run.path)] == [1, 2, 3]
    again.checkpoint.unlink()
    assert again.load() is None  # killed before the first checkpoint: from the start
    assert read_history(run.path) == []


def test_a_run_that_died_while_it_wrote_its_first_row_begins_anew(run):
    run.history.write_text('{"step": 1, "seco')
    run.close()
    run.create({"recipe": {}, "photos": 3})
    run.log(_row(1))
    assert [row["step"] for row in read_history(run.path)] == [1]


@pytest.mark.parametrize("missing", [1, 2, 30])
def test_a_last_line_that_was_cut_off_is_left_out(run, missing):
    for step in (1, 2, 3):
        run.log(_row(step))
    run.history.write_bytes(run.history.read_bytes()[:-missing])
    kept = [1, 2, 3] if missing == 1 else [1, 2]  # of one, only the end of the line
    assert [row["step"] for row in read_history(run.path)] == kept
    run.save(_state(3))
    run.load()
    run.log(_row(4))
    assert [row["step"] for row in read_history(run.path)] == [*kept, 4]


def test_tensorboard_has_the_same_curves(run):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run.log(_row(1))
    run.log(_row(2))
    run.log({"step": 2, "evaluation": {"objective": 3.5}})
    run.close()
    events = EventAccumulator(str(run.path / "tensorboard")).Reload()
    total = [(event.step, event.value) for event in events.Scalars("train/total")]
    assert total == [(1, 1.0), (2, 0.5)]
    assert [(event.step, event.value) for event in events.Scalars("evaluation/objective")] == [(2, 3.5)]


def test_tensorboard_is_optional(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    run.log(_row(1))
    run.log(_row(2))
    run.close()
    assert len(read_history(run.path)) == 2
    assert not run.path.joinpath("tensorboard").exists()


def test_statistics_are_means_since_the_last_row(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(run_folder.time, "perf_counter", lambda: now[0])
    statistics = RunStatistics(None)
    statistics.add({"tv": 1.0, "total": 4.0})
    statistics.add({"tv": 2.0, "total": 8.0})
    now[0] += 2.5
    assert statistics.flush(2) == {
        "step": 2,
        "seconds": 2.5,
        "train": {"tv": 1.5, "total": 6.0},
        "skipped": 0,
    }
    statistics.add({"tv": 5.0, "total": 5.0})
    assert statistics.flush(3)["train"] == {"tv": 5.0, "total": 5.0}


def test_statistics_go_on_from_its_state(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(run_folder.time, "perf_counter", lambda: now[0])
    statistics = RunStatistics(None)
    assert statistics.best == math.inf
    statistics.add({"total": 1.0})
    statistics.skip(["a.jpg: bad"])
    statistics.best = 0.5
    now[0] += 10
    again = RunStatistics(json.loads(json.dumps(statistics.state())))
    again.add({"total": 3.0})
    now[0] += 1
    assert again.flush(2) == {"step": 2, "seconds": 11.0, "train": {"total": 2.0}, "skipped": 1}
    assert again.best == 0.5
    assert statistics.sums == {"total": 1.0}  # the state is a copy


def test_statistics_name_a_skipped_photo_once():
    statistics = RunStatistics(None)
    assert statistics.skip(["", "a.jpg: bad\nb.jpg: small", ""]) == ["a.jpg: bad", "b.jpg: small"]
    assert statistics.skip(["a.jpg: bad", "c.jpg: bad", "c.jpg: bad"]) == ["c.jpg: bad"]
    assert statistics.skipped == ["a.jpg: bad", "b.jpg: small", "c.jpg: bad"]


def test_a_fingerprint_knows_a_picture_again_and_tells_it_from_others(astronaut):
    kept = fingerprint(astronaut)
    assert len(kept) == 3 * 8 * 8
    assert min(kept) >= 0
    assert max(kept) <= 255
    assert fingerprint(torch.full((1, 3, 16, 24), 100 / 255)) == [100] * 192
    noise = astronaut + 2e-4 * torch.randn(astronaut.shape, generator=torch.Generator().manual_seed(0))
    assert same_fingerprint(kept, fingerprint(noise))
    for other in (astronaut.flip(-1), astronaut.flip(1), astronaut * 0.98, astronaut[..., 8:]):
        assert not same_fingerprint(kept, fingerprint(other))
    assert not same_fingerprint(kept, kept[:-1])
