"""Style pictures by name or file: paintings, which are downloaded once, and patterns, which are drawn.

:func:`style_picture` is the one place that decides which of them a name means. What it returns can be loaded,
described and credited in the same way, whatever it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pooch
from torch import Tensor

from .downloads import cache_dir, reason_of
from .errors import AssetError
from .patterns import PATTERNS, draw
from .picture_files import load_image


@dataclass(frozen=True)
class Painting:
    """A painting in the public domain, which the project uses but does not carry.

    Attributes:
        file: its name in the cache.
        url: where it is downloaded from.
        sha256: of the file at that address.
        title: of the work.
        author: of the work, as it is to be credited.
        year: when it was made.
        license: under which it may be used.
    """

    file: str
    url: str
    sha256: str
    title: str
    author: str
    year: str
    license: str

    @property
    def summary(self) -> str:
        """One line about it."""
        return f"{self.title}, {self.author}, {self.year}"

    @property
    def credit(self) -> dict[str, str]:
        """What the card of a network says of it."""
        return {key: getattr(self, key) for key in ("title", "author", "year", "license")}

    @property
    def is_here(self) -> bool:
        """Whether it can be loaded without a network."""
        return (cache_dir() / "paintings" / self.file).is_file()

    def load(self, size: int | None = None) -> Tensor:
        """Return it, (1, 3, H, W), ``size`` pixels at its longest side; downloaded the first time.

        Raises:
            AssetError: it is not in the cache and cannot be downloaded.
        """
        folder = cache_dir() / "paintings"
        try:
            path = pooch.retrieve(self.url, f"sha256:{self.sha256}", fname=self.file, path=folder)
        except Exception as error:
            raise AssetError(
                f"{self.title}: could not download {self.url} into {cache_dir()} ({reason_of(error)})"
            ) from None
        return load_image(path, size)


_FAST_NEURAL_STYLE = (
    "https://raw.githubusercontent.com/jcjohnson/fast-neural-style/"
    "813c83441953ead2adb3f65f4cc2d5599d735fa7/images/styles/"
)
_PUBLIC_DOMAIN = "public domain (the author died more than 70 years ago)"

# Styles of the paper's Fig. 6 and of the released code, as that carries them.
PAINTINGS = {
    "great_wave": Painting(
        "great_wave.jpg",
        _FAST_NEURAL_STYLE + "wave.jpg",
        "14bcf58a39b7095168f27756d76d0c615bb8954acc5eae9e62c66a9684c2ee2b",
        "The Great Wave off Kanagawa",
        "Katsushika Hokusai",
        "1831",
        _PUBLIC_DOMAIN,
    ),
    "starry_night": Painting(
        "starry_night.jpg",
        _FAST_NEURAL_STYLE + "starry_night.jpg",
        "0592ab0f7b51b3ce72608a95e53880bd93971e5b48f93a0ce8dfd3cbccf3d098",
        "The Starry Night",
        "Vincent van Gogh",
        "1889",
        _PUBLIC_DOMAIN,
    ),
    "composition_vii": Painting(
        "composition_vii.jpg",
        _FAST_NEURAL_STYLE + "composition_vii.jpg",
        "8f992ed4aecd6dd56972d7bc8166761de7c94e670ee6effa8fd05f3daeb33409",
        "Composition VII",
        "Wassily Kandinsky",
        "1913",
        _PUBLIC_DOMAIN,
    ),
    "the_scream": Painting(
        "the_scream.jpg",
        _FAST_NEURAL_STYLE + "the_scream.jpg",
        "f3075cddeb974a9ee1d6418f7f33fd05185a7ac7dcb4288bd2805d499a9dcaee",
        "The Scream",
        "Edvard Munch",
        "1893",
        _PUBLIC_DOMAIN,
    ),
    "udnie": Painting(
        "udnie.jpg",
        _FAST_NEURAL_STYLE + "udnie.jpg",
        "c3d3d4b9e325b485820d1a91df3bad591c2bab86919412e9f1b424e862cf204a",
        "Udnie (Young American Girl, The Dance)",
        "Francis Picabia",
        "1913",
        _PUBLIC_DOMAIN,
    ),
}


@dataclass(frozen=True)
class DrawnPattern:
    """A pattern of :data:`repro.patterns.PATTERNS` as a style picture."""

    name: str
    is_here = True

    @property
    def summary(self) -> str:
        """One line about it."""
        return f"{PATTERNS[self.name].title}: {PATTERNS[self.name].description}"

    @property
    def credit(self) -> dict[str, str]:
        """What the card of a network says of it."""
        return {"title": PATTERNS[self.name].title, "author": "drawn by this project", "license": "MIT"}

    def load(self, size: int) -> Tensor:
        """Return it, (1, 3, size, size)."""
        return draw(self.name, size)


@dataclass(frozen=True)
class PictureFile:
    """A picture file as a style picture; nothing is known of it but its name."""

    path: str | Path

    @property
    def summary(self) -> str:
        """One line about it."""
        return Path(self.path).name

    @property
    def credit(self) -> dict[str, str]:
        """What the card of a network says of it."""
        return {"title": Path(self.path).name}

    @property
    def is_here(self) -> bool:
        """Whether there is such a file."""
        return Path(self.path).is_file()

    def load(self, size: int | None = None) -> Tensor:
        """Return it, (1, 3, H, W), ``size`` pixels at its longest side.

        Raises:
            ValueError: there is no such file, or it is no picture.
        """
        if not self.is_here:
            known = ", ".join([*PAINTINGS, *PATTERNS])
            raise ValueError(f"style picture {str(self.path)!r} is no file and no picture of: {known}")
        return load_image(self.path, size)


def style_picture(source: str | Path) -> Painting | DrawnPattern | PictureFile:
    """Return the style picture that a name means: a drawn pattern, a painting, or else a file."""
    if source in PATTERNS:
        return DrawnPattern(str(source))
    if source in PAINTINGS:
        return PAINTINGS[str(source)]
    return PictureFile(source)


def load_style(source: str | Path, size: int) -> Tensor:
    """Return a style picture, (1, 3, H, W) in [0, 1].

    Args:
        source: the name of a painting or pattern, or a file.
        size: its longest side in pixels.

    Raises:
        ValueError: it is none of these; the message lists the known names.
        AssetError: a painting is not on this machine and cannot be downloaded.
    """
    return style_picture(source).load(size)
