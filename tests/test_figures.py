"""The slider over two pictures. What matplotlib draws is seen in the book."""

import io
import re
from base64 import b64decode

import numpy as np
import pytest
import torch
from PIL import Image

from repro.figures import compare, explore
from repro.images import to_array

ALTS = ('A "sharp" face.', "The same, blurred.")


def pictures(comparison):
    """The pictures within the HTML."""
    found = re.findall(r'src="data:image/(\w+);base64,([^"]+)" alt="([^"]*)"', comparison._repr_html_())
    return [(kind, Image.open(io.BytesIO(b64decode(data))), alt) for kind, data, alt in found]


def test_it_holds_both_pictures_and_their_descriptions(astronaut):
    comparison = compare(astronaut, 1 - astronaut, ("photograph", "negative"), alts=ALTS)
    assert repr(comparison) == "Comparison of photograph and negative"
    kinds, images, alts = zip(*pictures(comparison), strict=True)
    assert kinds == ("png", "png")
    assert alts == ("A &quot;sharp&quot; face.", "The same, blurred.")
    for image, expected in zip(images, (astronaut, 1 - astronaut), strict=True):
        assert np.array_equal(np.asarray(image), to_array(expected))


def test_it_is_the_same_each_time_and_needs_no_network(astronaut):
    first, second = (compare(astronaut, astronaut, alts=ALTS)._repr_html_() for _ in range(2))
    assert first == second
    assert "http" not in re.sub(r'data:[^"]+', "", first)


def test_jpeg_is_smaller(astronaut):
    lossless, jpeg = (compare(astronaut, astronaut, alts=ALTS, quality=quality) for quality in (None, 90))
    assert [kind for kind, *_ in pictures(jpeg)] == ["jpeg", "jpeg"]
    assert len(jpeg._repr_html_()) < len(lossless._repr_html_()) / 2


def test_what_does_not_fit_is_refused():
    small, large = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 16)
    with pytest.raises(ValueError, match=r"differ in size: \(8, 8\) and \(16, 8\)"):
        compare(small, large, alts=ALTS)
    with pytest.raises(ValueError, match="expected two of each"):
        compare(small, small, ("one", "two", "three"), alts=ALTS)


def test_explore_redraws_where_somebody_can_move_a_slider_and_only_there(monkeypatch):
    drawn = []

    def draw(layer, strength):
        drawn.append((layer, strength))

    controls = {"layer": ["relu1_2", "relu2_2"], "strength": (0.0, 1.0, 0.5)}
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    explore(draw, **controls)
    assert not drawn
    monkeypatch.setenv("JPY_SESSION_NAME", "01_quickstart.ipynb")
    explore(draw, **controls)
    assert drawn == [("relu1_2", 0.5)]
