"""What a result says of how it was made: versions, the commit, and the machine."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..devices import device_name


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


def _git_commit() -> str | None:
    """Return the commit of the working copy that the package is in, with ``+`` if changed; or None."""
    own = Path(__file__)
    package = own.parents[1]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(package), *arguments]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        return run.stdout.strip()

    try:
        if git("ls-files", "--error-unmatch", str(own.relative_to(package))):
            return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "-uno", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):  # no git, or installed without a working copy
        pass
    return None
