"""Which device networks run on, and how results name it."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import torch

CPUINFO = Path("/proc/cpuinfo")  # where Linux names the processor


def default_device() -> torch.device:
    """Return the device that networks run on unless told otherwise: the first GPU of CUDA, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device | str | None = None) -> str:
    """Return how results name a device, by default :func:`default_device`.

    That is the GPU's own name, "CPU (AMD EPYC, AVX512), 2 threads" with the processor and the widest
    instructions of it that PyTorch uses, or the name PyTorch has for another kind ("mps").
    """
    kind = torch.device(device or default_device()).type
    if kind == "cuda":
        return torch.cuda.get_device_name(device)
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
