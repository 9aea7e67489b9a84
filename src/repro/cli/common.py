"""What the commands share: the options, the checks before the work, the lines they say."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Perceptual losses for style transfer and super-resolution (Johnson et al. 2016).",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

Output = Annotated[
    Path, typer.Option("--output", "-o", help="The file to write; the suffix sets the format.")
]
Device = Annotated[
    str, typer.Option(help="auto (a GPU if there is one), cpu, cuda or mps (Apple's GPU).")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output file if it exists.")]


def check_output(
    output: Path, overwrite: bool, suffixes: tuple[str, ...] = (), originals: Sequence[Path] = ()
) -> None:
    """Refuse before the work, not after it; without ``suffixes`` the output is a picture.

    ``originals``, the files that the work begins with, are not replaced, whatever ``overwrite`` says.
    """
    from ..picture_files import SUFFIXES

    suffixes = suffixes or SUFFIXES
    if output.suffix.lower() not in suffixes:
        raise ValueError(f"{output}: unknown suffix {output.suffix!r}; use one of {', '.join(suffixes)}")
    if output.resolve() in [original.resolve() for original in originals]:
        raise ValueError(f"the result would replace {output}, which it is made from; give another name")
    if output.exists() and not overwrite:
        raise FileExistsError(f"{output} exists; give another name or --overwrite")
    check_folder(output.parent)


def check_folder(path: Path) -> None:
    """Refuse where no folder can be made, or nothing can be written into it."""
    there = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{path} is a file, not a folder; give another name")
    if not there.is_dir():
        raise NotADirectoryError(f"{there} is a file, so {path} cannot be written; give another name")
    if not os.access(there, os.W_OK):
        raise PermissionError(f"{there}: may not be written; give another folder")


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory, of the machine or of a GPU, was not enough."""
    said = ("out of memory", "allocate memory", "not enough memory")  # PyTorch on a GPU, on Linux, on Windows
    return isinstance(error, MemoryError) or any(words in str(error) for words in said)


def say(line: str) -> None:
    """Print a line for the person, not for a pipe."""
    print(line, file=sys.stderr)
