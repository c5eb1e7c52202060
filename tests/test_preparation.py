"""Preparation of image files: depth, fit, background and inversion, from init-datasets to each consumer."""

import json
from dataclasses import replace

import numpy as np
import pytest
from drawn_files import png16, tiff
from PIL import Image
from refusals import refused

from aae_toolkit.data.folder import FolderOptions
from aae_toolkit.data.images import read_image, read_noted
from aae_toolkit.data.preparation import DEFAULT, Preparation, place
from aae_toolkit.data.sources import load_source
from aae_toolkit.progress import Silent

TWELVE_BITS = np.array([[0, 255, 256, 1000], [2048, 4000, 4094, 4095]])
AS_8_BITS = TWELVE_BITS // 16
SHAPE = (1, *TWELVE_BITS.shape)


class Listener(Silent):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def load(raw, progress=None, shape=SHAPE, **options):
    return load_source("folder", raw, raw / "unused", shape, folder=FolderOptions(**options), progress=progress)


# the record


@pytest.mark.parametrize(
    "preparation",
    [DEFAULT, Preparation("exif", (0, 128, 255), (0, 4095), "auto", "pad"), Preparation(range=(-0.5, 1.5))],
)
def test_a_preparation_is_read_as_it_was_written(preparation):
    assert Preparation.from_json(preparation.to_json()) == preparation


@pytest.mark.parametrize(
    "content",
    [
        *("[]", "{", '{"newer": 1}', '{"fit": "stretch"}', '{"invert": "maybe"}', '{"orientation": "none"}'),
        *('{"background": [1, 2]}', '{"background": [1, 2, 256]}', '{"background": [1, 2, true]}'),
        *('{"range": 5}', '{"background": 5}', '{"range": [0, 1' + 400 * "0" + "]}", '{"invert": []}'),
        *('{"range": [1, 1]}', '{"range": [1]}', '{"range": [0, "9"]}', '{"range": [0, 1e999]}'),
    ],
)
def test_a_damaged_or_newer_preparation_is_refused(content):
    with pytest.raises(ValueError, match=r"\w"):
        Preparation.from_json(content)


# depth


def write(kind, path, values):
    """Write values of at most 12 bits as a file of this kind, in which 16 bits or more are possible."""
    values = values.astype(np.uint16)
    if kind == "png":
        return png16(path, values, filters=True)
    if kind == "pgm":
        path.write_bytes(b"P5 %d %d 65535\n" % values.shape[::-1] + values.astype(">u2").tobytes())
    elif kind == "pgm of 12 bits":
        path.write_bytes(b"P5 %d %d 4095\n" % values.shape[::-1] + values.astype(">u2").tobytes())
    elif kind == "plain pgm":
        path.write_text(f"P2 {values.shape[1]} {values.shape[0]} 4095\n{' '.join(map(str, values.ravel()))}\n")
    elif kind == "white is 0":
        tiff(path, values, photometric=0)
    else:
        kinds = {"tiff": ("u2", 1), "32 bits": ("u4", 1), "signed 32": ("i4", 2), "signed": ("i2", 2)}
        dtype, sample_format = kinds[kind]
        tiff(path, values.astype(dtype), sample_format)
    return path


KINDS = ("png", "pgm", "pgm of 12 bits", "plain pgm", "tiff", "32 bits", "signed 32", "signed", "white is 0")


@pytest.mark.parametrize("kind", KINDS)
def test_12_bits_are_scaled_by_the_range_that_the_folder_needs(tmp_path, kind):
    for name in "ab":
        (tmp_path / name).mkdir()
        write(kind, tmp_path / name / "0", TWELVE_BITS[:: 1 if name == "b" else -1])
    said = Listener()
    found = load(tmp_path, said)
    assert found.preparation == Preparation(range=(0, 4095))
    assert "2 of 2 images have more than 8 bits per channel; range 0-4095" in said.lines
    expected = 255 - AS_8_BITS if kind == "white is 0" else AS_8_BITS
    np.testing.assert_array_equal(found.images[found.labels == 1][0, 0], expected)


@pytest.mark.parametrize(("most", "high"), [(200, 255), (256, 1023), (1500, 4095), (16000, 16383), (16384, 65535)])
def test_the_smallest_usual_number_of_bits_is_taken_for_all(tmp_path, most, high):
    for name, value in (("a", 7), ("b", most)):
        (tmp_path / name).mkdir()
        png16(tmp_path / name / "0.png", np.array([[0, value]]))
    assert load(tmp_path, shape=(1, 1, 2)).preparation.range == (0, high)


def test_images_of_8_bits_have_no_range_and_are_not_scaled_by_one(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        Image.fromarray(AS_8_BITS.astype(np.uint8) + (name == "a")).save(tmp_path / name / "0.png")
    assert load(tmp_path).preparation == DEFAULT
    given = load(tmp_path, preparation=Preparation(range=(0, 100)), auto_range=False)
    np.testing.assert_array_equal(given.images[given.labels == 1][0, 0], AS_8_BITS)


@pytest.mark.parametrize(
    ("values", "sample_format", "named"),
    [
        (TWELVE_BITS.astype("f4"), 3, "floating-point numbers"),
        ((TWELVE_BITS - 9).astype("i2"), 2, "signed 16-bit numbers"),
        ((TWELVE_BITS - 9).astype("i4"), 2, "signed 32-bit numbers"),
        ((TWELVE_BITS * 100).astype("u4"), 1, "32-bit numbers"),
        ((TWELVE_BITS * 10**6).astype("u4"), 1, "32-bit numbers"),
    ],
)
def test_values_whose_range_is_unknown_are_refused_until_it_is_given(tmp_path, values, sample_format, named):
    for name in "ab":
        (tmp_path / name).mkdir()
        tiff(tmp_path / name / "0.tif", values[:: 1 if name == "b" else -1], sample_format)
    with refused("0.tif: its pixels are", named, "--range LO,HI"):
        load(tmp_path)
    with refused("none of the 2 images"):
        load(tmp_path, auto_range=False)
    with refused("0.tif: its pixels are", named, "--range LO,HI"):  # served to a model of 8 bits
        read_image(tmp_path / "b" / "0.tif", SHAPE)
    low, high = int(values.min()), int(values.max())
    found = load(tmp_path, preparation=Preparation(range=(low, high)), auto_range=False)
    expected = (values.astype(float) - low) * 255 / (high - low)
    assert np.abs(found.images[found.labels == 1][0, 0] - expected).max() <= 1


def test_a_32_bit_image_is_never_scaled_by_its_own_highest_value(tmp_path):
    for most in (600, 1000):
        path = tiff(tmp_path / "a.tif", np.array([[500, most]], np.uint32))
        assert read_image(path, (1, 1, 2), Preparation(range=(0, 1000)))[0, 0, 0] == 127


def test_floating_point_values_between_0_and_1_are_scaled(tmp_path):
    path = tiff(tmp_path / "a.tif", np.array([[0, 0.5, 1]], np.float32), 3)
    assert read_image(path, (1, 1, 3), Preparation(range=(0, 1))).tolist() == [[[0, 128, 255]]]
    tiff(path, np.array([[0, np.nan, 1]], np.float32), 3)
    with refused("not all finite"):
        read_image(path, (1, 1, 3), Preparation(range=(0, 1)))


def test_signed_8_bits_are_refused_since_they_would_wrap(tmp_path):
    with refused("signed 8-bit numbers"):
        read_image(tiff(tmp_path / "a.tif", np.array([[-5, 5]], np.int8), 2), (1, 1, 2))


def test_a_small_part_of_the_range_and_values_outside_are_noted(tmp_path):
    path = png16(tmp_path / "a.png", TWELVE_BITS)
    assert read_noted(path, SHAPE).notes == ("uses at most a quarter of the range 0-65535",)
    assert read_noted(path, SHAPE, Preparation(range=(0, 4095))).notes == ()
    clipped = read_noted(path, SHAPE, Preparation(range=(0, 1023)))
    assert clipped.notes == ("values outside of the range 0-1023 are clipped",)
    assert clipped.pixels.tolist() == [[[0, 63, 64, 250], [255] * 4]]
    few = np.full((20, 20), 500)
    few[0, :3], few[1, 0] = 2000, 0
    assert read_noted(png16(path, few), (1, 20, 20), Preparation(range=(0, 1023))).notes == ()


@pytest.mark.parametrize(("kind", "channels"), [("png", 2), ("png", 3), ("png", 4), ("tiff", 3), ("ppm", 3)])
def test_colours_of_16_bits_are_read_by_their_upper_8_or_refused(tmp_path, kind, channels):
    colours = np.repeat(TWELVE_BITS[..., None] * 16, channels, axis=2).astype(np.uint16)
    if channels in (2, 4):
        colours[..., -1] = 65535
    path = tmp_path / "a"
    if kind == "png":
        png16(path, colours)
    elif kind == "tiff":
        tiff(path, colours)
    else:
        path.write_bytes(b"P6 4 2 65535\n" + colours.astype(">u2").tobytes())
    read = read_noted(path, SHAPE)
    assert np.abs(read.pixels[0].astype(int) - AS_8_BITS).max() <= 1
    assert read.notes == ()
    with refused("only the upper 8 bits are read", "0-4095", "convert it to 8 bits"):
        read_image(path, SHAPE, Preparation(range=(0, 4095)))


def test_12_bits_in_colours_of_16_are_refused_or_noted_rather_than_nearly_black(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        png16(tmp_path / name / "0.png", np.repeat(TWELVE_BITS[..., None] // (1 + (name == "a")), 3, axis=2))
    said = Listener()
    with refused("none of the 2 images"):
        load(tmp_path, said, shape=(3, 2, 4))
    assert any("its colours are 16-bit numbers" in line for line in said.lines)
    load(tmp_path, said, shape=(3, 2, 4), auto_range=False)
    assert "2 of 2 images: uses at most a quarter of the range 0-65535" in said.lines


def test_a_transparent_value_of_16_bits_is_the_background(tmp_path):
    path = png16(tmp_path / "a.png", TWELVE_BITS, transparent=1000)
    background = replace(DEFAULT, range=(0, 4095), background=(9, 9, 9))
    assert read_image(path, SHAPE, background)[0, 0].tolist() == [0, 15, 16, 9]


# fit and background


@pytest.mark.parametrize(
    ("fit", "size", "target", "expected"),
    [
        ("squash", (40, 10), (8, 8), ((0, 0, 40, 10), (8, 8), (0, 0))),
        ("pad", (40, 10), (8, 8), ((0, 0, 40, 10), (8, 2), (0, 3))),
        ("pad", (10, 40), (8, 8), ((0, 0, 10, 40), (2, 8), (3, 0))),
        ("pad", (1000, 1), (8, 8), ((0, 0, 1000, 1), (8, 1), (0, 3))),
        ("crop", (40, 10), (8, 8), ((15, 0, 25, 10), (8, 8), (0, 0))),
        ("crop", (10, 41), (8, 8), ((0, 15, 10, 25), (8, 8), (0, 0))),
        ("crop", (30, 20), (8, 4), ((0, 2, 30, 17), (8, 4), (0, 0))),
        ("crop", (1, 1000), (8, 1), ((0, 499, 1, 500), (8, 1), (0, 0))),
        ("pad", (16, 16), (8, 8), ((0, 0, 16, 16), (8, 8), (0, 0))),
    ],
)
def test_an_image_is_placed(fit, size, target, expected):
    assert tuple(place(fit, size, target)) == expected


def test_padding_keeps_the_aspect_ratio_and_cropping_the_middle(tmp_path):
    image = np.zeros((4, 12, 3), np.uint8)
    image[:, 4:8] = (200, 100, 50)
    Image.fromarray(image).save(tmp_path / "a.png")
    padded = read_image(tmp_path / "a.png", (3, 12, 12), Preparation(fit="pad", background=(1, 2, 3)))
    np.testing.assert_array_equal(padded[:, 4:8].transpose(1, 2, 0), image)
    for rows in (padded[:, :4], padded[:, 8:]):
        assert (rows == np.array([1, 2, 3])[:, None, None]).all()
    cut = read_image(tmp_path / "a.png", (3, 4, 4), Preparation(fit="crop"))
    np.testing.assert_array_equal(cut.transpose(1, 2, 0), image[:, 4:8])


def test_the_background_is_under_transparent_pixels_and_grey_with_one_channel(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "a.png")
    colour = Preparation(background=(255, 0, 0))
    assert read_image(tmp_path / "a.png", (3, 1, 1), colour).ravel().tolist() == [255, 0, 0]
    assert read_image(tmp_path / "a.png", (1, 1, 1), colour).ravel().tolist() == [76]


def test_auto_looks_at_the_border_before_the_padding(tmp_path):
    light_on_dark = np.full((4, 12), 10, np.uint8)
    light_on_dark[1:3, 4:8] = 250
    Image.fromarray(light_on_dark).save(tmp_path / "dark.png")
    Image.fromarray(255 - light_on_dark).save(tmp_path / "light.png")
    preparation = Preparation(fit="pad", invert="auto")
    assert read_noted(tmp_path / "dark.png", (1, 12, 12), preparation).notes == ()
    inverted = read_noted(tmp_path / "light.png", (1, 12, 12), preparation)
    assert inverted.notes == ("inverted",)
    assert (inverted.pixels[0, :4] == 0).all()  # the background is inverted with the image


# borders


@pytest.mark.parametrize(
    ("border", "usual", "noted"),
    [
        *((250, 10.0, "light"), (10, 250.0, "dark"), (160, 10.0, "light"), (100, 250.0, "dark")),
        *((250, 250.0, None), (250, 128.0, None), (128, 10.0, None), (250, None, None)),
    ],
)
def test_a_border_that_is_opposite_to_that_of_the_training_images_is_noted(tmp_path, border, usual, noted):
    Image.new("L", (6, 6), border).save(tmp_path / "a.png")
    notes = read_noted(tmp_path / "a.png", (1, 6, 6), border=usual).notes
    assert [note.split()[3].rstrip(",") for note in notes] == ([noted] if noted else [])


def test_what_is_inverted_and_then_opposite_is_noted_too(tmp_path):
    Image.new("L", (6, 6), 10).save(tmp_path / "a.png")
    inverted = Preparation(invert="yes")
    notes = read_noted(tmp_path / "a.png", (1, 6, 6), inverted, border=5.0).notes
    assert notes[0] == "inverted"
    assert notes[1].startswith("its border is light, those of the training images are dark")
    assert read_noted(tmp_path / "a.png", (1, 6, 6), inverted, border=5.0, match_border=True).notes == ()


def test_json_of_a_preparation_has_every_field():
    assert json.loads(DEFAULT.to_json()) == {
        "orientation": "exif",
        "background": [255, 255, 255],
        "range": None,
        "invert": "no",
        "fit": "squash",
        "resampling": "bilinear",
    }
