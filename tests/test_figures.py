"""The slider over two pictures, and where pictures and curves are drawn; the looks are seen in the book."""

import io
import re
from base64 import b64decode

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from repro.figures import Table, compare, curves, explore, show, show_groups
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


def test_groups_begin_on_rows_of_their_own():
    def gray(level):
        return torch.full((1, 3, 4, 6), level / 255)

    figure = show_groups([{"a": gray(10), "b": gray(20), "c": gray(30)}, {"d": gray(40)}], 2, 4.0)
    shown = [
        (axis.get_title(), [image.get_array()[0, 0, 0] for image in axis.images]) for axis in figure.axes
    ]
    assert shown == [("a", [10]), ("b", [20]), ("c", [30]), ("", []), ("d", [40]), ("", [])]
    plt.close(figure)
    with pytest.raises(ValueError, match="2 images but 1 titles"):
        show([gray(1), gray(2)], ["one"])


def test_curves_are_drawn_against_their_index_or_what_is_given():
    for x, log, expected in ((None, True, [0, 1, 2]), ([5, 10, 20], False, [5, 10, 20])):
        figure = curves({"loss": [3.0, 2.0, 1.0]}, x=x, log=log)
        (axis,) = figure.axes
        assert list(axis.lines[0].get_xdata()) == expected
        assert list(axis.lines[0].get_ydata()) == [3.0, 2.0, 1.0]
        assert axis.get_yscale() == ("log" if log else "linear")
        plt.close(figure)


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


def test_a_table_is_the_same_in_markdown_and_in_html():
    table = Table(["", "PSNR, dB"], [["`x4` < x8", 30.5], ["none", None]], caption="By `repro`.")
    lines = ["By `repro`.", "", "| | PSNR, dB |", "|---|---:|", "| `x4` < x8 | 30.5 |", "| none | |"]
    assert str(table) == repr(table) == "\n".join(lines)
    html = table._repr_html_()
    assert html.startswith("<p>By <code>repro</code>.</p>\n<table ")
    assert ' style="text-align: left"><code>x4</code> &lt; x8</td>' in html
    assert '<td align="right" style="text-align: right">30.5</td>' in html
    assert html.count("<th ") == html.count("<td ") / 2 == 2
    assert "<p>" not in Table(["a"], [["b"]])._repr_html_()


def test_a_row_with_too_few_cells_is_no_table():
    with pytest.raises(ValueError, match="shorter"):
        Table(["a", "b"], [["c"]])._repr_html_()
