"""The package's own errors, beside Python's: each message says what was wrong and what to do."""

from __future__ import annotations


class AssetError(RuntimeError):
    """Weights, a picture or a data set are missing and cannot be had, or are damaged."""


class ExportError(AssetError):
    """A network could not be exported."""


class TrainingStopped(Exception):
    """A signal asked a training to stop; the run was saved and can be resumed."""
