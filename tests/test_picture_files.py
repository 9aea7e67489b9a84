"""Pictures of every kind become the same kind of tensor; what is written comes back."""

import struct

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, features

from repro.images import (
    from_array,
    to_array,
)
from repro.picture_files import load_image, load_picture, over_white, save_image


def _pixels(height=6, width=9, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_lossless_formats_come_back_exactly(tmp_path, suffix):
    image = from_array(_pixels())
    save_image(image, tmp_path / f"a{suffix}")
    loaded = load_image(tmp_path / f"a{suffix}")
    assert loaded.shape == (1, 3, 6, 9)
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded, image)


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".webp"])
def test_lossy_formats_come_back_closely(tmp_path, astronaut, suffix):
    save_image(astronaut, tmp_path / f"a{suffix}")
    assert (load_image(tmp_path / f"a{suffix}") - astronaut).abs().mean() < 0.015


def test_jpeg_keeps_colors_at_full_resolution(tmp_path):
    stripes = torch.eye(3)[:, torch.arange(16) % 2][None, :, None].expand(1, 3, 16, 16)  # red and green, 1 px
    save_image(stripes, tmp_path / "a.jpg", quality=100)
    assert (load_image(tmp_path / "a.jpg") - stripes).abs().max() < 0.03


@pytest.mark.parametrize(
    ("orientation", "undo"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.swapaxes(0, 1)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: a[::-1, ::-1].swapaxes(0, 1)),
        (8, lambda a: np.rot90(a)),
    ],
)
def test_exif_orientation_is_applied(tmp_path, orientation, undo):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(_pixels()).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(to_array(load_image(tmp_path / "a.png")), undo(_pixels()))


def test_a_side_that_is_too_long_for_the_format(tmp_path):
    for suffix, side in ((".webp", 16_383), (".jpg", 65_500)):
        save_image(torch.rand(1, 3, 1, side), tmp_path / f"a{suffix}")
        with pytest.raises(ValueError, match=rf"b\{suffix}: a side of {side + 1} px is too long .*use \.png"):
            save_image(torch.rand(1, 3, side + 1, 1), tmp_path / f"b{suffix}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "a.webp"]


def test_very_large_pictures(tmp_path, monkeypatch):
    save_image(torch.rand(1, 3, 30, 40), tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # where Pillow warns, which is an error here
    assert load_image(tmp_path / "a.png").shape == (1, 3, 30, 40)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # and at twice as many it refuses
    with pytest.raises(ValueError, match=r"a\.png: more than 0 megapixels; make it smaller first"):
        load_image(tmp_path / "a.png")


def test_damaged_exif_says_nothing_of_the_pixels(tmp_path):
    width = struct.pack(">HHI4s", 0x0100, 2, 4, b"abc\0")  # text, where a number belongs
    turned = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
    odd = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 2) + width + turned + struct.pack(">I", 0)
    Image.fromarray(_pixels()).save(tmp_path / "a.png", exif=odd)
    Image.fromarray(_pixels()).save(tmp_path / "b.png", exif=b"junk")
    np.testing.assert_array_equal(to_array(load_image(tmp_path / "a.png")), np.rot90(_pixels(), -1))
    np.testing.assert_array_equal(to_array(load_image(tmp_path / "b.png")), _pixels())


def test_cmyk(tmp_path):
    Image.new("CMYK", (16, 8), (0, 255, 255, 0)).save(tmp_path / "red.jpg", quality=100)
    image = load_image(tmp_path / "red.jpg")
    assert image.shape == (1, 3, 8, 16)
    assert torch.allclose(image[0, :, 4, 4], torch.tensor([1.0, 0.0, 0.0]), atol=0.02)


def test_sixteen_bit_gray_keeps_its_range(tmp_path):
    values = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    image = load_image(tmp_path / "a.png")
    expected = torch.tensor([0, 257 / 65535, 32768 / 65535, 1.0])
    for channel in range(3):
        assert torch.allclose(image[0, channel, 0], expected, atol=1e-7)


def test_floating_point_gray_is_scaled_by_its_maximum_above_1(tmp_path):
    for values, expected in (([[0, 50, 200]], [0, 0.25, 1]), ([[0, 0.25, 0.5]], [0, 0.25, 0.5])):
        Image.fromarray(np.array(values, np.float32)).save(tmp_path / "a.tif")
        assert load_image(tmp_path / "a.tif")[0, 0, 0].tolist() == expected


def test_a_transparent_value_of_sixteen_bits(tmp_path):
    values = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png", transparency=257)
    image, alpha, _ = load_picture(tmp_path / "a.png")
    assert alpha.flatten().tolist() == [1, 0, 1, 1]
    assert image[0, 0, 0, 1] == pytest.approx(257 / 65535)
    Image.fromarray(values).save(tmp_path / "a.png", transparency=1)
    assert load_picture(tmp_path / "a.png").alpha is None


def test_transparent_parts_lie_over_white(tmp_path):
    picture = Image.new("RGBA", (3, 1))
    for x, alpha in enumerate((0, 51, 255)):
        picture.putpixel((x, 0), (255, 0, 0, alpha))
    picture.save(tmp_path / "a.png")
    expected = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.8, 0.8], [1.0, 0.0, 0.0]])
    assert torch.allclose(load_image(tmp_path / "a.png")[0, :, 0].T, expected, atol=1 / 255)


def test_transparent_palette_entry_is_white(tmp_path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([0, 0, 0, 0, 0, 255])
    picture.putpixel((1, 0), 1)
    picture.save(tmp_path / "a.gif", transparency=0)
    expected = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
    assert torch.equal(load_image(tmp_path / "a.gif")[0, :, 0].T, expected)


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grayscale_has_three_equal_channels(tmp_path, mode):
    Image.fromarray(_pixels()).convert(mode).save(tmp_path / "a.png")
    image = load_image(tmp_path / "a.png")
    assert image.shape == (1, 3, 6, 9)
    assert torch.equal(image[:, 0], image[:, 1])
    assert torch.equal(image[:, 0], image[:, 2])


def test_one_pixel(tmp_path):
    save_image(torch.tensor([0.0, 1.0, 0.2]).view(1, 3, 1, 1), tmp_path / "a.png")
    assert load_image(tmp_path / "a.png").flatten().tolist() == pytest.approx([0.0, 1.0, 0.2])
    assert load_image(tmp_path / "a.png", size=5).shape == (1, 3, 5, 5)


def _profile_with_swapped_primaries():
    """An ICC profile that is sRGB with red and green exchanged."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    place = {}
    for i in range(int.from_bytes(profile[128:132], "big")):
        entry = 132 + 12 * i
        place[bytes(profile[entry : entry + 4])] = slice(entry + 4, entry + 12)
    red, green = bytes(profile[place[b"rXYZ"]]), bytes(profile[place[b"gXYZ"]])
    profile[place[b"rXYZ"]], profile[place[b"gXYZ"]] = green, red
    return bytes(profile)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colors_are_converted_from_the_profile_to_srgb(tmp_path, mode):
    picture = Image.new(mode if mode == "RGBA" else "RGB", (4, 3), (200, 40, 90))
    picture = picture.quantize(4) if mode == "P" else picture
    picture.save(tmp_path / "a.png", icc_profile=_profile_with_swapped_primaries())
    color = 255 * load_image(tmp_path / "a.png")[0, :, 1, 1]
    assert torch.allclose(color, torch.tensor([40.0, 200.0, 90.0]), atol=1.01)


def _gray_profile_without_gamma():
    """The smallest ICC profile of grey values that are proportional to light."""
    white = struct.pack(">3i", 63190, 65536, 54061)  # D50
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"grey" + bytes(79),
        b"wtpt": b"XYZ " + bytes(4) + white,
        b"kTRC": b"curv" + bytes(8),
    }
    table, data = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += name + struct.pack(">2I", 132 + 12 * len(tags) + len(data), len(value))
        data += value
    kind = bytes(4) + struct.pack(">I", 0x02100000) + b"mntrGRAYXYZ " + bytes(12) + b"acsp" + bytes(28)
    profile = (kind + white).ljust(124, b"\0") + table + data
    return struct.pack(">I", len(profile) + 4) + profile


def test_gray_values_are_converted_from_the_profile_to_srgb(tmp_path):
    values = np.array([[0, 55, 128, 255]], np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png", icc_profile=_gray_profile_without_gamma())
    light = values[0] / 255
    expected = np.where(light < 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    for channel in load_image(tmp_path / "a.png")[0, :, 0]:
        assert channel.tolist() == pytest.approx(expected.tolist(), abs=0.005)


def test_alpha_is_kept_with_the_colors_under_it(tmp_path):
    picture = Image.new("RGBA", (3, 2), (255, 0, 0, 255))
    picture.putpixel((0, 0), (10, 20, 30, 0))
    picture.putpixel((1, 0), (40, 50, 60, 102))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    picture.save(tmp_path / "a.png", exif=exif)
    image, alpha, quality = load_picture(tmp_path / "a.png")
    assert (image.shape, alpha.shape, quality) == ((1, 3, 3, 2), (1, 1, 3, 2), None)
    assert torch.allclose(alpha[0, 0], torch.tensor([[1.0, 0.0], [1.0, 0.4], [1.0, 1.0]]))
    assert (255 * image[0, :, 0, 1]).tolist() == pytest.approx([10, 20, 30])
    assert torch.equal(load_image(tmp_path / "a.png"), over_white(image, alpha))
    picture.save(tmp_path / "a.png", exif=exif, icc_profile=_profile_with_swapped_primaries())
    assert torch.equal(load_picture(tmp_path / "a.png").alpha, alpha)


def test_gray_with_alpha(tmp_path):
    picture = Image.merge("LA", [Image.new("L", (2, 1), 51), Image.new("L", (2, 1), 102)])
    picture.save(tmp_path / "a.png")
    image, alpha, _ = load_picture(tmp_path / "a.png")
    assert image.unique().tolist() == pytest.approx([0.2])
    assert alpha.unique().tolist() == pytest.approx([0.4])


def test_a_picture_that_is_opaque_has_no_alpha(tmp_path):
    Image.new("RGBA", (3, 2), (9, 8, 7, 255)).save(tmp_path / "a.png")
    assert load_picture(tmp_path / "a.png").alpha is None


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_alpha_comes_back(tmp_path, astronaut, suffix):
    alpha = torch.linspace(0, 1, 128).expand(1, 1, 128, 128).mul(255).round() / 255
    save_image(astronaut, tmp_path / f"a{suffix}", alpha=alpha)
    assert torch.allclose(load_picture(tmp_path / f"a{suffix}").alpha, alpha, atol=1e-6)


@pytest.mark.parametrize("suffix", [".jpg", ".bmp"])
def test_a_format_without_alpha_gets_white(tmp_path, suffix):
    image, alpha = torch.zeros(1, 3, 8, 8), torch.full((1, 1, 8, 8), 0.2)
    save_image(image, tmp_path / f"a{suffix}", alpha=alpha)
    loaded = load_picture(tmp_path / f"a{suffix}")
    assert loaded.alpha is None
    assert torch.allclose(loaded.image, torch.tensor(0.8), atol=0.01)
    save_image(image - 1, tmp_path / f"a{suffix}", alpha=alpha)  # clipped before it is laid over white
    assert torch.allclose(load_image(tmp_path / f"a{suffix}"), torch.tensor(0.8), atol=0.01)


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 51, 75, 90, 95, 100])
def test_jpeg_quality_is_read_from_the_file(tmp_path, quality):
    save_image(from_array(_pixels(24, 24)), tmp_path / "a.jpg", quality)
    assert load_picture(tmp_path / "a.jpg").quality == quality


def test_unusual_jpeg_tables_have_a_nearby_quality(tmp_path):
    table = [max(1, round(1.3 * value)) for value in range(8, 72)]
    Image.fromarray(_pixels(24, 24)).save(tmp_path / "a.jpg", qtables=[table, table])
    assert 1 <= load_picture(tmp_path / "a.jpg").quality <= 100


def test_broken_profile_does_not_matter(tmp_path):
    Image.fromarray(_pixels()).save(tmp_path / "a.png", icc_profile=b"no profile at all")
    np.testing.assert_array_equal(to_array(load_image(tmp_path / "a.png")), _pixels())


def test_size_is_the_longest_side(tmp_path):
    save_image(from_array(_pixels(20, 40)), tmp_path / "a.png")
    assert load_image(tmp_path / "a.png", size=10).shape == (1, 3, 5, 10)
    with pytest.raises(ValueError, match="at least 1"):
        load_image(tmp_path / "a.png", size=0)


def test_text_called_jpg(tmp_path):
    (tmp_path / "a.jpg").write_text("this is no picture")
    with pytest.raises(ValueError, match=r"a\.jpg: not a picture"):
        load_image(tmp_path / "a.jpg")


def test_empty_file(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(ValueError, match=r"a\.png"):
        load_image(tmp_path / "a.png")


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.png: no such file"):
        load_image(tmp_path / "none.png")
    with pytest.raises(FileNotFoundError, match="is a folder"):
        load_image(tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_truncated_file(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    save_image(from_array(_pixels(64, 64)), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="damaged"):
        load_image(path)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_damaged_avif(tmp_path):
    path = tmp_path / "a.jpg"  # as pictures of the web are often called
    Image.fromarray(_pixels(64, 64)).save(path, "AVIF")
    before, mark, coded = path.read_bytes().partition(b"mdat")
    path.write_bytes(before + mark + bytes(len(coded)))
    with pytest.raises(ValueError, match=r"a\.jpg: the picture is damaged"):
        load_image(path)


def test_damaged_dds(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(_pixels()).save(path, "DDS")
    content = bytearray(path.read_bytes())
    content[80:84] = bytes(4)  # the flags of the pixel format
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.jpg: the picture is damaged"):
        load_image(path)


def test_too_little_memory_is_no_damage(tmp_path, monkeypatch):
    def decode(picture):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    save_image(from_array(_pixels()), tmp_path / "a.png")
    monkeypatch.setattr("repro.picture_files.decode", decode)
    with pytest.raises(RuntimeError, match="allocate memory"):
        load_image(tmp_path / "a.png")


def test_postscript_is_not_run(tmp_path, monkeypatch):
    def run(*arguments, **options):
        raise AssertionError("a program was run")

    monkeypatch.setattr("subprocess.check_call", run)
    monkeypatch.setattr("PIL.EpsImagePlugin.has_ghostscript", lambda: True)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", "gs")
    path = tmp_path / "a.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 6\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(ValueError, match=r"a\.jpg: not a picture"):
        load_image(path)


@pytest.mark.parametrize("name", ["a.xyz", "a", "a.gif"])
def test_unknown_suffix(tmp_path, name):
    with pytest.raises(ValueError, match="cannot write"):
        save_image(torch.zeros(1, 3, 2, 2), tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_not_written(tmp_path, value):
    path = tmp_path / "a.png"
    save_image(torch.zeros(1, 3, 2, 2), path)
    before = path.read_bytes()
    image = torch.zeros(1, 3, 2, 2)
    image[0, 1, 1, 1] = value
    with pytest.raises(ValueError, match="not finite"):
        save_image(image, path)
    assert path.read_bytes() == before


def test_a_failed_save_leaves_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    save_image(torch.zeros(1, 3, 2, 2), path)
    before = path.read_bytes()

    def fail(self, where, **options):
        where.write_bytes(b"half a pic")
        raise OSError("No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="No space"):
        save_image(torch.ones(1, 3, 2, 2), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
