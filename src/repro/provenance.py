"""What a result says of how it was made: versions, the commit, and the machine."""

from __future__ import annotations

import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from . import __version__

CPUINFO = Path("/proc/cpuinfo")  # where Linux names the processor


def provenance(device: torch.device | str | None = None) -> dict[str, Any]:
    """Return what a result should say of the software and of the device (:func:`device_name`)."""
    return {
        "repro": __version__,
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "device": device_name(device),
    }


def device_name(device: torch.device | str | None = None) -> str:
    """Return how results name a device, by default the first GPU of CUDA or else the CPU.

    That is the GPU's own name, "CPU (AMD EPYC, AVX512), 2 threads" with the processor and the widest
    instructions of it that PyTorch uses, or the name PyTorch has for another kind ("mps").
    """
    kind = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")).type
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


def _git_commit() -> str | None:
    """Return the commit of the working copy that this module is in, with ``+`` if changed; or None."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        run = subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True)
        return run.stdout.strip()

    try:
        if git("ls-files", "--error-unmatch", Path(__file__).name):
            return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "-uno", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):  # no git, or installed without a working copy
        pass
    return None
