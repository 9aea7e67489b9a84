"""The ``repro`` command. It loads PyTorch only once a command has work for it, so that help comes at once."""

from __future__ import annotations

import os

from . import application, optimization, training, experiments, machine  # isort: skip (the order in the list of commands)
from .common import app

__all__ = ["app", "application", "experiments", "machine", "main", "optimization", "training"]


def main() -> None:
    """Run the command; an error that can be expected is one line on stderr and exit code 2."""
    if "OMP_WAIT_POLICY" not in os.environ:
        # Read when PyTorch is loaded: how long threads spin while they wait for each other. Beside other work
        # that is the time of those that they wait for. The Makefile says the same to what it starts.
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    app()
