"""A folder that holds a run of training: what it was asked for, how far it came, and what it gave.

===================== ============================================================================
``run.json``          recipe, photos and their hash, loss network, versions, git commit, device
``checkpoint.pt``     everything that is needed to go on
``history.jsonl``     one line each ``log_every`` steps: every term; and one for each evaluation
``samples/``          pictures of held-out photos
``tensorboard/``      the same curves as events, where TensorBoard is installed
``best.safetensors``  the weights of the last stage with the lowest objective on held-out photos
``model.safetensors`` the weights at the end
``.lock``             held while a process trains there
===================== ============================================================================

Every file is written whole or not at all; only the last line of the history can be cut off.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from filelock import FileLock, Timeout
from torch import Tensor

from ..atomic_files import atomic_path

# What atomic_path calls the files of a run until they are complete.
_TEMPORARY = (".checkpoint-*.pt", ".best-*.safetensors", ".model-*.safetensors", "samples/.step_*-*.jpg")


class RunFolder:
    """The files of a run; ``path`` may not exist yet. As a context it is closed at the end."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.checkpoint = self.path / "checkpoint.pt"
        self.history = self.path / "history.jsonl"
        self._lock = FileLock(self.path / ".lock")
        self._events: Any = None

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def begun(self) -> bool:
        """Whether a run was begun there."""
        return (self.path / "run.json").is_file()

    @property
    def finished(self) -> bool:
        """Whether the run there has made all its steps."""
        return (self.path / "model.safetensors").is_file()

    def extend(self, description: Mapping[str, Any]) -> None:
        """Write the ``run.json`` of a finished run that goes on, which then has not finished."""
        (self.path / "model.safetensors").unlink()
        self._write_json("run.json", description)

    def create(self, description: Mapping[str, Any]) -> None:
        """Begin a run: write ``run.json``.

        Raises:
            FileExistsError: the folder holds a run already; the message says how to go on with it.
            ValueError: it holds a ``run.json`` of another program.
        """
        # One that failed before its first step has nothing to lose.
        if self.checkpoint.exists() or read_history(self.path):
            raise FileExistsError(
                f"{self.path} holds a run already; go on with it by resume=True, or give another folder"
            )
        if self.begun:
            self.description()  # of ours, or it stays
        self.path.mkdir(parents=True, exist_ok=True)
        self.history.unlink(missing_ok=True)  # has at most a first line that was cut off
        self._write_json("run.json", description)

    def description(self) -> dict[str, Any]:
        """Return what ``run.json`` says.

        Raises:
            FileNotFoundError: the folder holds no run.
            ValueError: the file is damaged, or of another program.
        """
        path = self.path / "run.json"
        if not self.begun:
            raise FileNotFoundError(f"{self.path}: holds no run (no run.json)")
        try:
            description = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:  # no JSON, or no text at all
            raise ValueError(f"{path}: damaged ({error})") from None
        if not isinstance(description, dict) or not {"recipe", "photos"} <= description.keys():
            raise ValueError(f"{path}: not of a run of this program")
        return description

    def lock(self) -> None:
        """Keep the folder for this object until :meth:`close`, or until the process ends, however it ends.

        Raises:
            FileExistsError: another one has it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise FileExistsError(
                f"{self.path}: another process is training there; wait for it, or give another folder"
            ) from None

    def require_same(self, before: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Raise ValueError unless ``facts`` are what the run began with, as ``before`` says."""
        for name, fact in facts.items():
            began = before.get(name)
            same = began == fact
            if name == "style_fingerprint" and began and fact:
                same = same_fingerprint(began, fact)
            if not same:
                raise ValueError(
                    f"{self.path}: cannot go on, as {name.replace('_', ' ')} is not what the run began "
                    "with; see its run.json, or begin a new run"
                )

    def save(self, state: Mapping[str, Any]) -> None:
        """Write a checkpoint; until it is complete the one before stays.

        Raises:
            OSError: it could not be written, as on a full disk.
        """
        with atomic_path(self.checkpoint) as temporary:
            try:
                torch.save(dict(state), temporary)
            except RuntimeError as error:  # torch's own for a failed write, with a page of where
                raise OSError(
                    f"{self.checkpoint}: could not be written ({str(error).splitlines()[0]})"
                ) from None

    def load(self) -> dict[str, Any] | None:
        """Return the checkpoint, on the CPU, or None before the first one; drop what was written after it.

        Raises:
            ValueError: the file is not a checkpoint.
        """
        for pattern in _TEMPORARY:  # of a process that was killed while it wrote
            for leftover in self.path.glob(pattern):
                leftover.unlink(missing_ok=True)
        state, step = None, 0
        if self.checkpoint.is_file():
            try:
                state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
                step = state["step"]
            except Exception as error:  # torch raises many kinds, with pages of advice
                reason = type(error).__name__
                raise ValueError(f"{self.checkpoint}: damaged or not a checkpoint ({reason})") from None
        kept = [row for row in read_history(self.path) if row["step"] <= step]
        with atomic_path(self.history) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        return state

    def log(self, row: Mapping[str, Any]) -> None:
        """Append a row, which has a ``step``, to the history and to TensorBoard's events."""
        with open(self.history, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if self._events is None:
            self._events = _event_writer(self.path / "tensorboard", row["step"])
        if self._events:
            for group in ("train", "evaluation"):
                for name, value in row.get(group, {}).items():
                    self._events.add_scalar(f"{group}/{name}", value, row["step"])

    def close(self) -> None:
        """Finish TensorBoard's file, and let others have the folder."""
        if self._events:
            self._events.close()
        self._events = None
        self._lock.release()

    def _write_json(self, name: str, content: Mapping[str, Any]) -> None:
        with atomic_path(self.path / name) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def fingerprint(image: Tensor) -> list[int]:
    """Return the mean colours of 8 x 8 parts of a picture (1, 3, H, W), from 0 to 255.

    No hash of the pixels, whose last bits depend on the processor and on the number of threads.
    """
    means = F.adaptive_avg_pool2d(image.detach().cpu(), 8)
    return (255 * means).round().int().flatten().tolist()


def same_fingerprint(one: Sequence[int], other: Sequence[int]) -> bool:
    """Say whether two of :func:`fingerprint` are of the same picture: no mean differs by more than 1."""
    return len(one) == len(other) and all(abs(a - b) <= 1 for a, b in zip(one, other, strict=True))


class RunStatistics:
    """Sums of terms since the last row, time, the best objective, and which photos were skipped.

    Args:
        state: what :meth:`state` gave, from a checkpoint.
    """

    def __init__(self, state: Mapping[str, Any] | None) -> None:
        kept = state or {"sums": {}, "count": 0, "best": math.inf, "skipped": [], "seconds": 0.0}
        self.sums: dict[str, float] = dict(kept["sums"])
        self.count, self.best = kept["count"], kept["best"]
        self.skipped: list[str] = list(kept["skipped"])
        self._before, self._started = kept["seconds"], time.perf_counter()

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {
            "sums": self.sums,
            "count": self.count,
            "best": self.best,
            "skipped": self.skipped,
            "seconds": self.seconds(),
        }

    def seconds(self) -> float:
        """Return how long the run has been going, over all resumptions."""
        return round(self._before + time.perf_counter() - self._started, 2)

    def skip(self, reasons: Sequence[str]) -> list[str]:
        """Remember skipped photos, a line each, and return the new ones; an item may hold several lines."""
        lines = dict.fromkeys("\n".join(filter(None, reasons)).splitlines())
        new = [reason for reason in lines if reason not in self.skipped]
        self.skipped += new
        return new

    def add(self, terms: Mapping[str, float]) -> None:
        """Add the terms of a step."""
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1

    def flush(self, step: int) -> dict[str, Any]:
        """Return a row with the means since the last one, and begin anew."""
        train = {name: value / self.count for name, value in self.sums.items()}
        self.sums, self.count = {}, 0
        return {"step": step, "seconds": self.seconds(), "train": train, "skipped": len(self.skipped)}


def read_history(folder: str | Path) -> list[dict[str, Any]]:
    """Return the rows of a run's history; a last line that was cut off is left out.

    Each has ``stage`` (from 1), ``step`` (of the whole run) and ``seconds``, and either ``train`` (terms,
    their sum ``total``; means since the row before) or ``evaluation``.
    """
    path = Path(folder) / "history.jsonl"
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def best_evaluation(history: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the row of the evaluation whose weights are in ``best.safetensors``."""
    rows = of_last_stage([row for row in history if "evaluation" in row])
    return min(rows, key=lambda row: row["evaluation"]["objective"])


def of_last_stage(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of a history that are of the same stage as the last one."""
    return [row for row in rows if row["stage"] == rows[-1]["stage"]]


def _event_writer(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return False
    return SummaryWriter(str(folder), purge_step=step)
