"""The ``repro`` command."""

from __future__ import annotations

import os
import sys
import tomllib

from . import application, optimization, training, experiments, machine  # isort: skip (the order in the list of commands)
from .common import app, out_of_memory

__all__ = ["app", "application", "experiments", "machine", "main", "optimization", "training"]


def main() -> None:
    """Run the command; a foreseeable error is one line on stderr and exit code 2."""
    if "OMP_WAIT_POLICY" not in os.environ:
        # Read when PyTorch is loaded: how long threads spin while they wait for each other. Beside other work
        # that is the time of those that they wait for. The Makefile says the same to what it starts.
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    try:
        _run()
    except KeyboardInterrupt:  # while PyTorch is imported; after that it is Typer's
        print("Aborted.", file=sys.stderr)
        sys.exit(130)


def _run() -> None:
    from ..errors import AssetError

    try:
        app()
        return
    except (OSError, ValueError, FloatingPointError, AssetError, tomllib.TOMLDecodeError) as error:
        line = str(error)
        if isinstance(error, OSError) and error.filename and error.strerror:
            line = f"{error.filename}: {error.strerror}"
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        line = "not enough memory; give a smaller --size, or in a training a smaller batch, size or width"
    print(f"repro: {line}", file=sys.stderr)
    sys.exit(2)
