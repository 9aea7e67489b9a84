"""The ``repro`` command."""

from __future__ import annotations

import sys
import tomllib

from . import application, optimization, training, experiments, machine  # isort: skip (the order in the list of commands)
from .common import app

__all__ = ["app", "application", "experiments", "machine", "main", "optimization", "training"]


def main() -> None:
    """Run the command; a foreseeable error is one line on stderr and exit code 2."""
    from ..assets import AssetError

    try:
        app()
    except (OSError, ValueError, FloatingPointError, AssetError, tomllib.TOMLDecodeError) as error:
        if isinstance(error, OSError) and error.filename and error.strerror:
            error = f"{error.filename}: {error.strerror}"
        print(f"repro: {error}", file=sys.stderr)
        sys.exit(2)
