import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import AvifImagePlugin, Image, features
from refusals import refused, value_unless_refused

from aae_toolkit.data.borders import border_brightness
from aae_toolkit.data.images import read_image, read_noted
from aae_toolkit.data.preparation import Preparation

GRADIENT = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20  # H 3, W 4
COLOURS = np.stack([GRADIENT, 255 - GRADIENT, GRADIENT // 2], axis=-1)
ORIENTATION = 0x0112
# What a viewer does to the stored pixels for each value of the EXIF tag.
UPRIGHT = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).T,
    8: np.rot90,
}
RGB_BYTES = {}
for extension, name in {"png": "PNG", "jpg": "JPEG", "bmp": "BMP", "gif": "GIF", "webp": "WEBP", "ppm": "PPM"}.items():
    buffer = io.BytesIO()
    Image.fromarray(COLOURS).save(buffer, name)
    RGB_BYTES[extension] = buffer.getvalue()


def luminance(rgb):
    return np.asarray(Image.fromarray(rgb).convert("L"))


@pytest.mark.parametrize("suffix", ["png", "bmp", "pgm", "tif", "gif"])
def test_a_grey_image_is_read_as_it_is(tmp_path, suffix):
    Image.fromarray(GRADIENT).save(tmp_path / f"a.{suffix}")
    image = read_image(tmp_path / f"a.{suffix}", (1, 3, 4))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, GRADIENT[None])


@pytest.mark.parametrize(
    ("stored", "channels", "expected"),
    [
        (GRADIENT, 3, np.stack([GRADIENT] * 3)),
        (COLOURS, 1, luminance(COLOURS)[None]),
        (COLOURS, 3, COLOURS.transpose(2, 0, 1)),
    ],
)
def test_grey_and_colour_are_converted_to_the_channels_asked_for(tmp_path, stored, channels, expected):
    Image.fromarray(stored).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", (channels, 3, 4)), expected)


def test_the_suffix_does_not_matter(tmp_path):
    (tmp_path / "a.jpg").write_bytes(RGB_BYTES["png"])
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg", (3, 3, 4)), COLOURS.transpose(2, 0, 1))


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_exif_orientation_is_applied(tmp_path, orientation, dtype):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(GRADIENT.astype(dtype) * (257 if dtype == np.uint16 else 1)).save(tmp_path / "a.png", exif=exif)
    expected = UPRIGHT[orientation](GRADIENT)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", (1, *expected.shape)), expected[None])


@pytest.mark.skipif(not features.check("avif"), reason="this pillow reads no AVIF")
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_an_avif_image_is_read_upright(tmp_path, orientation):
    stored = np.kron(GRADIENT, np.ones((16, 16), np.uint8))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(stored).save(tmp_path / "a.avif", exif=exif, quality=100)
    expected = UPRIGHT[orientation](stored)
    found = read_image(tmp_path / "a.avif", (1, *expected.shape))[0]
    assert abs(found.astype(int) - expected).max() <= 4


def test_without_avif_support_an_avif_image_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(AvifImagePlugin, "SUPPORTED", False)
    (tmp_path / "a.avif").write_bytes(b"\0\0\0\x1cftypavif\0\0\0\0mif1avifmiaf" + bytes(40))
    with refused("a.avif: AVIF is not read by this pillow; upgrade it to 11.3"):
        read_image(tmp_path / "a.avif", (1, 4, 4))


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_any_size_is_resized_to_the_shape_asked_for(tmp_path_factory, height, width, channels, new_height, new_width):
    path = tmp_path_factory.getbasetemp() / "any_size.png"
    Image.new("RGB", (width, height), (90, 90, 90)).save(path)
    image = read_image(path, (channels, new_height, new_width))
    assert image.shape == (channels, new_height, new_width)
    assert (image == 90).all()


def test_shrinking_averages_rather_than_skips(tmp_path):
    stripes = np.zeros((32, 32), dtype=np.uint8)
    stripes[:, ::2] = 200
    Image.fromarray(stripes).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", (1, 4, 4))
    assert (abs(image.astype(int) - 100) < 15).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_pixel_format_can_be_read(tmp_path, mode, channels):
    Image.new(mode, (5, 4)).save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif", (channels, 2, 3)).shape == (channels, 2, 3)


def test_a_palette_is_resolved_to_its_colours(tmp_path):
    palette = Image.fromarray(COLOURS).quantize(12)
    palette.save(tmp_path / "a.png")
    np.testing.assert_array_equal(
        read_image(tmp_path / "a.png", (3, 3, 4)), np.asarray(palette.convert("RGB")).transpose(2, 0, 1)
    )


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_what_is_see_through_is_drawn_on_white(tmp_path, suffix):
    drawn = np.zeros((3, 4, 4), dtype=np.uint8)  # black everywhere, opaque in one pixel
    drawn[1, 2, 3] = 255
    Image.fromarray(drawn).save(tmp_path / f"a.{suffix}", lossless=True)
    expected = np.full((1, 3, 4), 255, dtype=np.uint8)
    expected[0, 1, 2] = 0
    np.testing.assert_array_equal(read_image(tmp_path / f"a.{suffix}", (1, 3, 4)), expected)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_a_pixel_are_scaled_rather_than_clipped(tmp_path, suffix, channels):
    pixels = np.array([[0, 255, 256], [20000, 32768, 65535]], dtype=np.uint16)
    if suffix == "pgm":
        (tmp_path / "a.pgm").write_bytes(b"P5 3 2 65535\n" + pixels.astype(">u2").tobytes())
    else:
        Image.fromarray(pixels).save(tmp_path / f"a.{suffix}")
    expected = np.array([[0, 0, 1], [78, 128, 255]], dtype=np.uint8)
    np.testing.assert_array_equal(
        read_image(tmp_path / f"a.{suffix}", (channels, 2, 3)), np.broadcast_to(expected, (channels, 2, 3))
    )


def test_an_absent_file_is_refused(tmp_path):
    with refused(tmp_path / "absent.png", "no such file"):
        read_image(tmp_path / "absent.png", (1, 4, 4))


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n", b"line\nline\n"])
def test_a_file_that_is_not_an_image_is_refused(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with refused(tmp_path / "a.png"):
        read_image(tmp_path / "a.png", (1, 4, 4))


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "ppm"])
def test_a_truncated_image_is_refused(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(RGB_BYTES[suffix][: -len(RGB_BYTES[suffix]) // 3])
    with refused(path):
        read_image(path, (1, 4, 4))


@given(st.sampled_from(sorted(RGB_BYTES)), st.data())
@settings(deadline=None)
def test_whatever_the_damage_the_outcome_is_an_image_or_one_line(tmp_path_factory, suffix, data):
    content = bytearray(RGB_BYTES[suffix])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / f"damaged.{suffix}"
    path.write_bytes(content)
    image = value_unless_refused(lambda: read_image(path, (1, 2, 2)))
    assert image is None or image.shape == (1, 2, 2)


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_other_channels_than_1_and_3_are_refused(tmp_path, channels):
    Image.fromarray(GRADIENT).save(tmp_path / "a.png")
    with refused("1 or 3 channels", f"takes {channels}"):
        read_image(tmp_path / "a.png", (channels, 3, 4))


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_of_several_pictures_in_a_file_the_first_is_read_and_said(tmp_path, suffix):
    frames = [Image.new("L", (4, 3), value) for value in (10, 200)]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], lossless=True)
    read = read_noted(tmp_path / f"a.{suffix}", (1, 3, 4))
    assert (abs(read.pixels.astype(int) - 10) <= 2).all()
    assert read.notes == ("first picture of several",)


def test_a_picture_of_one_pixel_is_read(tmp_path):
    Image.new("L", (1, 1), 77).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png", (3, 5, 6)) == 77).all()
    assert read_image(tmp_path / "a.png", (1, 1, 1)).tolist() == [[[77]]]


DARK_DIGIT = np.full((8, 8), 240, np.uint8)
DARK_DIGIT[2:6, 3:5] = 20


@pytest.mark.parametrize(
    ("invert", "match", "border", "inverted"),
    [
        ("no", False, 240.0, False),
        ("yes", False, None, True),
        ("auto", False, None, True),
        ("auto", False, 240.0, True),  # as the training images were, whatever became of them
        ("no", True, 0.0, True),  # trained on light digits on black
        ("auto", True, 63.0, True),
        ("yes", True, 240.0, False),  # trained on images like this one
        ("no", True, 130.0, False),  # trained on photographs, whose borders say nothing
        ("no", True, None, False),
    ],
)
def test_an_image_is_inverted_as_it_was_prepared_or_where_its_border_is_not_like_the_training_images(
    tmp_path, invert, match, border, inverted
):
    Image.fromarray(DARK_DIGIT).save(tmp_path / "a.png")
    read = read_noted(tmp_path / "a.png", (1, 8, 8), Preparation(invert=invert), border=border, match_border=match)
    np.testing.assert_array_equal(read.pixels[0], 255 - DARK_DIGIT if inverted else DARK_DIGIT)
    assert ("inverted" in read.notes) == inverted


def test_a_light_digit_is_inverted_for_a_model_of_dark_ones(tmp_path):
    Image.fromarray(255 - DARK_DIGIT).save(tmp_path / "a.png")
    assert read_noted(tmp_path / "a.png", (1, 8, 8), border=250.0, match_border=True).notes == ("inverted",)


def test_a_border_is_the_outermost_pixels_of_all_images():
    images = np.zeros((2, 1, 4, 4), np.uint8)
    images[..., 1:3, 1:3] = 255
    assert border_brightness(images) == 0
    images[0] = 255 - images[0]
    assert border_brightness(images) == 127.5
    assert border_brightness(np.full((1, 1), 9, np.uint8)) == 9


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", Path("/dev/zero"), tmp_path):
        with refused(path, "a directory, pipe or device"):
            read_image(path, (1, 4, 4))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path):
    Image.fromarray(GRADIENT).save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    with refused("a.png: may not be read (Permission denied)"):
        read_image(tmp_path / "a.png", (1, 4, 4))


def test_a_refusal_to_open_is_one_line(tmp_path, monkeypatch):
    Image.fromarray(GRADIENT).save(tmp_path / "a.png")
    monkeypatch.setattr(Path, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with refused("a.png: may not be read (Permission denied)"):
        read_image(tmp_path / "a.png", (1, 4, 4))


def test_a_huge_jpeg_is_decoded_at_a_fraction_of_its_size(tmp_path, monkeypatch):
    Image.new("RGB", (1600, 1600), (90, 90, 90)).save(tmp_path / "a.jpg")
    Image.new("RGB", (1600, 1600), (90, 90, 90)).save(tmp_path / "progressive.jpg", progressive=True)
    Image.new("RGB", (1600, 1600), (90, 90, 90)).save(tmp_path / "a.png")
    monkeypatch.setattr("aae_toolkit.data.images.MAX_PIXELS", 200 * 200)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200 * 200)  # pillow's own would refuse all three
    assert (read_image(tmp_path / "a.jpg", (1, 8, 8)) == 90).all()
    for name in ("progressive.jpg", "a.png"):
        with refused(name, "scale it down"):
            read_image(tmp_path / name, (1, 8, 8))


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="only Linux tells a process's peak so")
def test_a_jpeg_of_20000_x_20000_pixels_takes_little_memory(tmp_path):
    content = io.BytesIO()
    Image.new("L", (20000, 20000)).save(content, "JPEG", quality=10)
    (tmp_path / "a.jpg").write_bytes(content.getvalue())
    code = """
import sys
from pathlib import Path
from aae_toolkit.data.images import read_image, read_noted
from aae_toolkit.data.preparation import Preparation
assert read_image(Path(sys.argv[1]), (1, 8, 8)).shape == (1, 8, 8)
[peak] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(int(peak.split()[1]) // 1024)
"""
    del content
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.jpg"], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 400  # MiB; the pixels alone are 381


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "PNG, damaged or of a variant that is not read; convert it to PNG"),
        (b"MM\0*\0\0\0\x08\0\0", "TIFF, damaged or of a variant that is not read"),
        (b"<!DOCTYPE html>", "not an image that can be read"),
    ],
)
def test_what_pillow_does_not_open_is_named_by_its_kind(tmp_path, content, said):
    (tmp_path / "a.png").write_bytes(content)
    with refused(f"{tmp_path / 'a.png'}: {said}"):
        read_image(tmp_path / "a.png", (1, 8, 8))


def test_damaged_exif_data_are_no_warning_of_pillow(tmp_path):
    Image.new("L", (9, 9)).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    code = "import sys; from pathlib import Path; from aae_toolkit.data.images import read_image; "
    code += "read_image(Path(sys.argv[1]), (1, 8, 8))"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.jpg"], capture_output=True, text=True, check=True)
    assert done.stderr == ""
