"""Which device networks run on, and how results name it."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import torch

CPUINFO = Path("/proc/cpuinfo")  # where Linux names the processor


def device(name: str = "auto") -> torch.device:
    """Return the device of a name.

    Args:
        name: "cpu", "cuda" (an NVIDIA or AMD GPU; "cuda:1" is the second), "mps" (Apple's GPU), or "auto":
            what the environment variable ``REPRO_DEVICE`` names, else a GPU if there is one, else the CPU.

    Raises:
        ValueError: no such name, or this machine has no such device.

    Example:
        >>> device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        name = os.environ.get("REPRO_DEVICE", "auto")
    here = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if here[kind]))
    kind, _, index = name.partition(":")
    if kind not in here or not (index.isdecimal() or name == kind):
        raise ValueError(f"unknown device {name!r}; choose auto, cpu, cuda or mps")
    if int(index or 0) >= here[kind]:
        found = ", ".join(kind for kind in here if here[kind])
        raise ValueError(f"this machine has no device {name!r}; PyTorch finds here: {found}")
    return torch.device(name)


def device_name(chosen: torch.device | str | None = None) -> str:
    """Return how results name a device, by default the one that :func:`device` takes.

    That is the GPU's own name, "CPU (AMD EPYC, AVX512), 2 threads" with the processor and the widest
    instructions of it that PyTorch uses, or the name PyTorch has for another kind ("mps").
    """
    kind = torch.device(chosen or device()).type
    if kind == "cuda":
        return torch.cuda.get_device_name(chosen)
    if kind != "cpu":
        return kind
    threads = torch.get_num_threads()
    instructions = torch.backends.cpu.get_cpu_capability()
    return f"CPU ({_processor()}, {instructions}), {threads} thread{'s' if threads != 1 else ''}"


def _processor() -> str:
    """Return the name of the processor's model where the system tells it, or else of its architecture."""
    try:
        known = re.search(r"^model name\s*:\s*(\S.*)$", CPUINFO.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:  # not Linux
        known = None
    return known[1].strip() if known else platform.processor() or platform.machine()
