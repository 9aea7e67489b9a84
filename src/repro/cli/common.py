"""What the commands share: the options, the checks before the work, the lines they say."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

# Packages that only some commands need, by the name of their module, and the extra that brings them.
EXTRAS = {
    "accelerate": "train",
    "huggingface_hub": "hub",
    "matplotlib": "experiments",
    "skimage": "experiments",
    "tensorboard": "train",
    "torchmetrics": "experiments",
}
# What library messages say of arguments, as flags.
FLAGS = re.compile(r"\b(overwrite|resume)=True\b")


class _Commands(TyperGroup):
    """All commands: an error that can be expected is one line, and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print("Aborted.", file=sys.stderr)
            raise typer.Exit(130) from None
        except Exception as error:
            line = one_line(error)
            if line is None:
                raise
            print(f"repro: {line}", file=sys.stderr)
            raise typer.Exit(2) from None


settings = SimpleNamespace(debug=False)
app = typer.Typer(
    cls=_Commands,
    help="Perceptual losses for style transfer and super-resolution (Johnson et al. 2016).",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        print(f"repro {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    settings.debug = debug


def one_line(
    error: Exception, spare: str = "a smaller --size, or in a training a smaller batch, size or width"
) -> str | None:
    """Return what to tell a person of an error, or None where a traceback says more.

    That is a mistake of the program, or any error under ``--debug``. Expected are the errors that the package
    raises itself, and those of files, the network and memory; ``spare`` says how to need less of the last.
    """
    from ..errors import AssetError

    if settings.debug:
        return None
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, ModuleNotFoundError) and (name := (error.name or "").split(".")[0]) in EXTRAS:
        from ..pretrained import DISTRIBUTION

        return f"this needs {name}; get it with: pip install '{DISTRIBUTION}[{EXTRAS[name]}]'"
    if isinstance(error, MemoryError | RuntimeError) and _out_of_memory(error):
        return f"not enough memory; give {spare}"
    expected = isinstance(error, OSError | FloatingPointError | AssetError | tomllib.TOMLDecodeError)
    if expected or (isinstance(error, ValueError | TypeError) and _is_from_here(error)):
        return FLAGS.sub(r"--\1", str(error))
    return None


def _is_from_here(error: Exception) -> bool:
    """Whether the package raised an error itself, not one of those that it calls."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals["__name__"].startswith("repro.")


def _out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory, of the machine or of a GPU, was not enough."""
    said = ("out of memory", "allocate memory", "not enough memory")  # PyTorch on a GPU, on Linux, on Windows
    return isinstance(error, MemoryError) or any(words in str(error) for words in said)


Output = Annotated[
    Path, typer.Option("--output", "-o", help="The file to write; the suffix sets the format.")
]
Device = Annotated[str, typer.Option(help="auto (a GPU if there is one), cpu, cuda or mps (Apple's GPU).")]
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


def say(line: str) -> None:
    """Print a line for the person, not for a pipe."""
    print(line, file=sys.stderr)
