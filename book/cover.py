"""Draw the cover, two photographs and what the style networks make of them: `python book/cover.py`."""

from pathlib import Path

import torch

import repro
from repro.images import center_crop
from repro.sample_photos import photo

ROWS = {
    "astronaut": ("stained_glass", "starry_night", "brush_strokes"),
    "coffee": ("marbled_paper", "composition_vii", "great_wave"),
}
SIDE, GAP = 400, 8


def framed(image: torch.Tensor) -> torch.Tensor:
    """Add the white gap at the right and below."""
    return torch.nn.functional.pad(image, (0, GAP, 0, GAP), value=1.0)


def main() -> None:
    rows = []
    for name, styles in ROWS.items():
        image = center_crop(photo(name), SIDE)
        tiles = [framed(tile) for tile in (image, *(repro.stylize(image, style) for style in styles))]
        rows.append(torch.cat(tiles, dim=-1))
    cover = torch.cat(rows, dim=-2)[..., :-GAP, :-GAP]
    repro.save_image(cover, Path(__file__).parent / "_static" / "cover.jpg", quality=88)


if __name__ == "__main__":
    main()
