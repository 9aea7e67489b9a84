"""Where and how a run executes: device, precision, processes, signals."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from ..devices import device


def make_accelerator(precision: str) -> Any:
    """Return Accelerate's object for this process.

    Args:
        precision: "no" (float32), "bf16", "fp16", or "auto" for :func:`default_precision`.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import DataLoaderConfiguration

    if precision not in ("auto", "no", "bf16", "fp16"):
        raise ValueError(f"unknown precision {precision!r}; use auto, no, bf16 or fp16")
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    # Several processes on machines without a GPU: unless told so, Accelerate runs each of them by itself.
    cpu = device().type == "cpu" or (several and not torch.cuda.is_available())
    # Accelerate keeps one state a process; a notebook may train twice, in different precisions.
    AcceleratorState._reset_state()
    return Accelerator(
        cpu=cpu,
        mixed_precision=default_precision(cpu) if precision == "auto" else precision,
        dataloader_config=DataLoaderConfiguration(split_batches=True),
    )


def default_precision(cpu: bool = False) -> str:
    """Return "bf16" if this machine's GPU, or with ``cpu`` its CPU, has instructions for it, else "no"."""
    if torch.cuda.is_available() and not cpu:
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16" if native else "no"


def is_main_process() -> bool:
    """Whether this process is the only one or the first of several; that one writes and speaks."""
    from accelerate.state import PartialState

    return PartialState().is_main_process


def from_main_process(value: Any) -> Any:
    """Return what the main process has; each process gets it, on whatever machine."""
    from accelerate.utils import broadcast_object_list

    (value,) = broadcast_object_list([value])
    return value


def from_all_processes(values: Sequence[Any]) -> list[Any]:
    """Return what all processes have, joined in their order."""
    from accelerate.utils import gather_object

    return gather_object(list(values))


def any_process(accelerator: Any, flag: bool) -> bool:
    """Whether any process says so; they all have to stop at the same step."""
    if accelerator.num_processes == 1:
        return flag
    return bool(accelerator.reduce(torch.tensor(float(flag), device=accelerator.device), "sum") > 0)


@contextmanager
def caught_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list; a second one acts as it would have without us."""
    asked: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: Any) -> None:
        asked.append(number)
        restore()

    def restore() -> None:
        for known, handler in before.items():
            signal.signal(known, signal.SIG_DFL if handler is None else handler)  # None: not Python's

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, note)
    except ValueError:  # signals can only be caught in the main thread
        before.clear()
    try:
        yield asked
    finally:
        restore()
