"""The photographs are at hand without a network."""

import pytest

from repro.picture_files import load_image
from repro.sample_photos import PHOTOS, photo, photo_files


def test_photos_come_without_network():
    for name in PHOTOS:
        image = photo(name, 32)
        assert max(image.shape[-2:]) == 32
        assert image.shape[:2] == (1, 3)
    for name, file in zip(PHOTOS, photo_files(), strict=True):
        # Not equal: one has a colour profile of its own, which scikit-image does not read.
        assert (load_image(file) - photo(name)).abs().mean() < 0.03, name
    with pytest.raises(ValueError, match="unknown photo"):
        photo("nobody")
