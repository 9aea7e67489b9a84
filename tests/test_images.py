"""Pictures of every kind become the same kind of tensor; what is written comes back."""

import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, features

from repro.images import (
    center_crop,
    check_image,
    fingerprint,
    from_array,
    load_image,
    load_picture,
    match_histograms,
    over_white,
    resize,
    resize_longest,
    rgb_to_ycbcr,
    same_fingerprint,
    save_image,
    to_array,
    ycbcr_to_rgb,
)


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


def test_jpeg_keeps_colours_at_full_resolution(tmp_path):
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


def test_sixteen_bit_grey_keeps_its_range(tmp_path):
    values = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    image = load_image(tmp_path / "a.png")
    expected = torch.tensor([0, 257 / 65535, 32768 / 65535, 1.0])
    for channel in range(3):
        assert torch.allclose(image[0, channel, 0], expected, atol=1e-7)


def test_floating_point_grey_is_scaled_by_its_maximum_above_1(tmp_path):
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
def test_greyscale_has_three_equal_channels(tmp_path, mode):
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
def test_colours_are_converted_from_the_profile_to_srgb(tmp_path, mode):
    picture = Image.new(mode if mode == "RGBA" else "RGB", (4, 3), (200, 40, 90))
    picture = picture.quantize(4) if mode == "P" else picture
    picture.save(tmp_path / "a.png", icc_profile=_profile_with_swapped_primaries())
    colour = 255 * load_image(tmp_path / "a.png")[0, :, 1, 1]
    assert torch.allclose(colour, torch.tensor([40.0, 200.0, 90.0]), atol=1.01)


def _grey_profile_without_gamma():
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


def test_grey_values_are_converted_from_the_profile_to_srgb(tmp_path):
    values = np.array([[0, 55, 128, 255]], np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png", icc_profile=_grey_profile_without_gamma())
    light = values[0] / 255
    expected = np.where(light < 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    for channel in load_image(tmp_path / "a.png")[0, :, 0]:
        assert channel.tolist() == pytest.approx(expected.tolist(), abs=0.005)


def test_alpha_is_kept_with_the_colours_under_it(tmp_path):
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


def test_grey_with_alpha(tmp_path):
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
    monkeypatch.setattr("repro.images.decode", decode)
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


def test_to_array_clips_and_rounds():
    image = torch.tensor([-0.5, 0.5, 1.5]).view(1, 3, 1, 1)
    assert to_array(image).flatten().tolist() == [0, 128, 255]
    with pytest.raises(ValueError, match="batch of 2"):
        to_array(torch.zeros(2, 3, 2, 2))


@pytest.mark.parametrize("height", [255, 256, 257, 600])
def test_a_tall_picture_is_converted_whole(height):
    pixels = _pixels(height, 2)
    assert np.array_equal(to_array(from_array(pixels)), pixels)


def test_from_array_wants_bytes():
    for array in (np.zeros((2, 2, 3)), np.zeros((2, 2), np.uint8), np.zeros((2, 2, 4), np.uint8)):
        with pytest.raises(ValueError, match="uint8 array"):
            from_array(array)


def test_check_image_names_the_fault():
    for value in (torch.zeros(1, 3, 2, 2, dtype=torch.uint8), np.zeros((1, 3, 2, 2)), None):
        with pytest.raises(TypeError, match="photo: expected a floating-point tensor"):
            check_image(value, "photo")
    for shape in ((3, 2, 2), (1, 1, 2, 2), (1, 4, 2, 2), (1, 3, 0, 2), (1, 2, 2, 3)):
        with pytest.raises(ValueError, match="expected shape"):
            check_image(torch.zeros(shape))


@pytest.mark.parametrize("size", [(40, 57), (128, 32), (200, 300)])
def test_resize_is_pillows_bicubic(astronaut, size):
    resized = resize(astronaut, size)
    for channel in range(3):
        picture = Image.fromarray(astronaut[0, channel].numpy())  # mode F: Pillow rounds and clips nothing
        expected = torch.from_numpy(np.array(picture.resize(size[::-1], Image.Resampling.BICUBIC)))
        assert torch.allclose(resized[0, channel], expected.clamp(0, 1), atol=1e-5)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_resize_longest_keeps_the_aspect(height, width, size):
    image = torch.full((1, 3, height, width), 0.25)
    resized = resize_longest(image, size)
    assert max(resized.shape[-2:]) == size
    other, exact = min(resized.shape[-2:]), min(height, width) * size / max(height, width)
    assert abs(other - exact) <= 0.5 or (other == 1 and exact < 1)
    assert torch.allclose(resized, torch.tensor(0.25), atol=1e-6)


def test_resize_stays_in_range_and_knows_bad_sizes():
    step = torch.zeros(1, 3, 8, 8)
    step[..., 4:] = 1
    resized = resize(step, (8, 31))
    assert resized.min() == 0
    assert resized.max() == 1
    with pytest.raises(ValueError, match="at least 1"):
        resize(step, (0, 4))


def test_center_crop_takes_the_middle():
    image = torch.arange(10.0).expand(1, 3, 4, 10) / 10
    assert torch.equal(center_crop(image, 4), image[..., 3:7])


def test_ycbcr_round_trip_and_known_colours(astronaut):
    assert torch.allclose(ycbcr_to_rgb(rgb_to_ycbcr(astronaut)), astronaut, atol=1e-5)
    colours = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0.5]]).T.view(1, 3, 1, 4)
    y, cb, cr = rgb_to_ycbcr(colours)[0, :, 0]
    assert torch.allclose(y, torch.tensor([0.299, 0.587, 0.114, 0.5]))
    assert cb[2] == pytest.approx(0.5)
    assert cr[0] == pytest.approx(0.5)
    assert torch.allclose(torch.stack([cb[3], cr[3]]), torch.zeros(2), atol=1e-6)


def test_ycbcr_is_pillows(astronaut):
    pillow = np.array(Image.fromarray(to_array(astronaut)).convert("YCbCr")).astype(np.float32) / 255
    ours = rgb_to_ycbcr(astronaut)[0] + torch.tensor([0, 128 / 255, 128 / 255]).view(3, 1, 1)
    assert (ours - torch.from_numpy(pillow).permute(2, 0, 1)).abs().max() < 1.6 / 255


def test_match_histograms_gives_the_references_values(astronaut):
    reference = 0.2 + 0.5 * torch.rand(1, 3, 128, 128)
    matched = match_histograms(astronaut**2 + 1e-4 * torch.rand(1, 3, 128, 128), reference)
    # Equal values stay equal, so ranks are met within a few of 16384 steps.
    assert torch.allclose(matched.flatten(2).sort().values, reference.flatten(2).sort().values, atol=2e-3)
    assert torch.allclose(match_histograms(astronaut, astronaut), astronaut, atol=2e-5)  # 16 bits
    small = reference[..., :9, :7]
    from skimage.exposure import match_histograms as scikit_images

    expected = scikit_images(astronaut[0].numpy(), small[0].numpy(), channel_axis=0)
    assert (match_histograms(astronaut, small)[0] - torch.from_numpy(expected)).abs().mean() < 1e-4
    with pytest.raises(ValueError, match="not finite"):
        match_histograms(astronaut * float("nan"), reference)
    with pytest.raises(ValueError, match="one image"):
        match_histograms(astronaut.repeat(2, 1, 1, 1), reference)


def test_match_histograms_of_a_tall_image_that_is_being_optimised():
    image = torch.rand(1, 3, 600, 2).requires_grad_()
    reference = torch.rand(1, 3, 600, 2)
    matched = match_histograms(image, reference)
    assert torch.allclose(matched.flatten(2).sort().values, reference.flatten(2).sort().values, atol=2e-3)
    assert torch.equal(
        match_histograms(torch.full((1, 3, 2, 2), -0.0), reference[..., :1, :1])[0, 0],
        reference[0, 0, :1, :1].expand(2, 2),
    )


def test_a_fingerprint_knows_a_picture_again_and_tells_it_from_others(astronaut):
    kept = fingerprint(astronaut)
    assert len(kept) == 3 * 8 * 8
    assert min(kept) >= 0
    assert max(kept) <= 255
    assert fingerprint(torch.full((1, 3, 16, 24), 100 / 255)) == [100] * 192
    noise = astronaut + 2e-4 * torch.randn(astronaut.shape, generator=torch.Generator().manual_seed(0))
    assert same_fingerprint(kept, fingerprint(noise))
    for other in (astronaut.flip(-1), astronaut.flip(1), astronaut * 0.98, astronaut[..., 8:]):
        assert not same_fingerprint(kept, fingerprint(other))
    assert not same_fingerprint(kept, kept[:-1])
