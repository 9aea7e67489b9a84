"""Photos in, pictures out: names of the files, what is kept of them, and errors among many."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer

from .common import check_folder, one_line, say

OTHER_PICTURES = (".heic", ".heif", ".jxl", ".svg", ".dng")  # that Pillow knows nothing of: no folders


def process(
    photos: Sequence[Path],
    output: Path | None,
    ending: str,
    work: Callable[[Any], Any],
    device: str,
    overwrite: bool,
) -> None:
    """Read each photo, do the work, and write the result with the photo's opacity and JPEG quality.

    A photo that cannot be done is one line on stderr; the others are done all the same.

    Args:
        photos: picture files.
        output: a file for one photo, a folder, or None for the folder of each photo.
        ending: what is added to the name of each photo.
        work: from an image, (1, 3, H, W), to another one of any size.
        device: where the work is done.
        overwrite: replace results that exist already; none of the photos is ever replaced.

    Raises:
        ValueError: ``output`` is a file, but there are several photos, or its suffix is not known.
        typer.Exit: with code 2, after the others were done, if a photo could not be done.
    """
    from tqdm import tqdm

    from ..devices import device as find_device
    from ..picture_files import load_picture, save_image

    place = find_device(device)
    _check(output, len(photos))
    written: list[Path] = []
    originals = {photo.resolve() for photo in photos}
    for photo in tqdm(photos, unit="photo", disable=None if len(photos) > 1 else True):
        about = ""
        try:
            target = _target(photo, output, ending)
            if target in written:
                raise ValueError(f"{photo}: {target} is the result of another photo; give another folder")
            if target.resolve() in originals:
                raise ValueError(f"{photo}: the result would replace the photo {target}; give another name")
            if target.exists() and not overwrite:
                raise FileExistsError(f"{target} exists; give another name or --overwrite")
            check_folder(target.parent)
            image, alpha, quality = load_picture(photo)
            about = f"{photo}: "
            result = work(image.to(place)).cpu()
            about = ""
            if alpha is not None:
                alpha = _fit(alpha, tuple(result.shape[-2:]))
            save_image(result, target, quality or 95, alpha)
            written.append(target)
        except Exception as error:
            line = one_line(error, spare="a smaller --tile or size")
            if line is None:
                raise
            tqdm.write(f"repro: {about}{line}", file=sys.stderr)
    if written:
        say(
            f"Wrote {written[0]}." if len(photos) == 1 else f"Wrote {len(written)} of {len(photos)} pictures."
        )
    if len(written) < len(photos):
        raise typer.Exit(2)


def _check(output: Path | None, number: int) -> None:
    from PIL import Image

    from ..picture_files import SUFFIXES

    if output is None:
        return
    suffix = output.suffix.lower()
    is_file = suffix in SUFFIXES and not output.is_dir()
    if is_file and number > 1:
        raise ValueError(f"{output}: {number} photos need a folder, not a file")
    check_folder(output.parent if is_file else output)
    if output.is_dir():
        return
    if suffix in {*Image.registered_extensions(), *OTHER_PICTURES} - {*SUFFIXES}:
        raise ValueError(f"{output}: unknown suffix {output.suffix!r}; use one of {', '.join(SUFFIXES)}")


def _target(photo: Path, output: Path | None, ending: str) -> Path:
    """Return the file for a photo's result: of the photo's own format where that can be written."""
    from ..picture_files import SUFFIXES

    suffix = photo.suffix if photo.suffix.lower() in SUFFIXES else ".png"
    name = f"{photo.stem}_{ending}{suffix}"
    if output is None:
        return photo.with_name(name)
    is_file = output.suffix.lower() in SUFFIXES and not output.is_dir()
    return output if is_file else output / name


def _fit(alpha: Any, size: tuple[int, int]) -> Any:
    from ..images import resize

    return resize(alpha.expand(-1, 3, -1, -1), size)[:, :1]
