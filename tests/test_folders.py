"""Folders of images: what is found, left out, taken for a class or a split, and named."""

import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import AvifImagePlugin, Image, features  # noqa: F401 - the plugin registers itself
from refusals import refused

from aae_toolkit.cli.app import run
from aae_toolkit.data.directory import DataDirectory, write_data_directory
from aae_toolkit.data.folder import FolderOptions
from aae_toolkit.data.sources import UNLABELED, load_source
from aae_toolkit.errors import UsageError
from aae_toolkit.progress import Silent

SHAPE = (1, 6, 6)
needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this pillow reads no AVIF")


def pixels(seed, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (6, 6, channels), dtype=np.uint8)


def draw(path: Path, seed: int, file_format: str = "PNG") -> None:
    """An image of noise: other seeds have other pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed)).save(path, file_format)


class Listener(Silent):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)

    @property
    def text(self):
        return "\n".join(self.lines)


@pytest.fixture
def raw(tmp_path):
    """Two classes of six images each."""
    for i in range(6):
        draw(tmp_path / "raw" / "cat" / f"{i}.png", i)
        draw(tmp_path / "raw" / "dog" / f"{i}.png", 100 + i)
    return tmp_path / "raw"


@pytest.fixture
def said():
    return Listener()


def load(raw, progress=None, shape=SHAPE, **options):
    return load_source("folder", raw, raw / "unused", shape, folder=FolderOptions(**options), progress=progress)


def init(raw, *flags):
    """Status of the command; the data directory is beside `raw`."""
    command = ["init-datasets", "--data", raw.parent / "data", "--source", "folder", "--raw-dir", raw]
    return run([*map(str, command), "--image-size", "6", *flags])


def splits(raw):
    data = DataDirectory(raw.parent / "data")
    return {name: data.load(name) for name in ("train_labeled", "train_unlabeled", "validation", "test")}


def keys(split):
    return [image.tobytes() for image in split.images]


# files that are left out


@needs_avif
@pytest.mark.parametrize(
    ("name", "file_format"),
    [
        ("a.avif", "AVIF"), ("a.AVIF", "AVIF"), ("a", "PNG"), ("a.jfif", "JPEG"), ("a.bin", "JPEG"), ("a.dat", "TIFF"),
        ("a.heic", "PNG"), ("a.png", "AVIF"), ("deep/er/a.pnm", "PPM"), ("a.txt", "WEBP"), ("a.tmp", "BMP"),
    ],
)  # fmt: skip
def test_an_image_is_told_by_its_content(raw, name, file_format):
    draw(raw / "cat" / name, 50, file_format)
    assert init(raw) == 0
    assert len(load(raw).images) == 13


HEADS = {
    "a.jxl": b"\0\0\0\x0cJXL \r\n\x87\n",
    "b.jxl": b"\xff\x0a" + bytes(20),
    "a.jp2": b"\0\0\0\x0cjP  \r\n\x87\n",
    "a.psd": b"8BPS\0\1",
    "a.svg": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "b.svg": b"<!-- drawn -->\n<!DOCTYPE svg PUBLIC>\n<svg width='1'/>",
    "a.nef": b"MM\0*\0\0\0\x08",
    "a.CR2": b"II*\0\x10\0\0\0CR\2\0",
    "a.cr3": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
    "a.dcm": bytes(128) + b"DICM",
    "a.ico": b"\0\0\1\0\1\0\x10\x10",
    "a.tga": bytes(18),
    "noname": b"v/1\x01",
}


@pytest.mark.parametrize("name", HEADS)
def test_an_image_of_a_format_that_is_not_read_is_named_and_fails(raw, capsys, name):
    (raw / "cat" / name).write_bytes(HEADS[name])
    assert init(raw) == 1
    printed = capsys.readouterr()
    assert f"{raw / 'cat' / name}: " in printed.out
    assert "convert it to PNG" in printed.out
    assert "1 of 13 images could not be read" in printed.err
    assert DataDirectory(raw.parent / "data").class_names == ("cat", "dog")


def test_heic_without_its_package_says_what_to_install(raw, said, monkeypatch):
    monkeypatch.setattr("aae_toolkit.data.formats.has_heif", lambda: False)
    for i, brands in enumerate((b"heic\0\0\0\0mif1heic", b"mif1\0\0\0\0mif1heic", b"heix\0\0\0\0mif1")):
        name = ("a.heic", "b.HEIF", "c.jpg")[i]
        (raw / "cat" / name).write_bytes((8 + len(brands)).to_bytes(4, "big") + b"ftyp" + brands + bytes(40))
    assert load(raw, said).n_left_out == 3
    assert said.text.count('pip install "aae-toolkit[heif]"') == 3


def test_heic_is_read_with_its_package(raw):
    heif = pytest.importorskip("pillow_heif", reason="the heif extra is not installed")
    heif.from_pillow(Image.fromarray(pixels(50)).resize((64, 64))).save(raw / "cat" / "a.heic")
    assert load(raw).n_left_out == 0
    assert len(load(raw).images) == 13


def test_a_film_is_no_image_and_an_avif_with_a_general_brand_is_one(raw, said):
    (raw / "cat" / "a.mp4").write_bytes(b"\0\0\0\x18ftypisom\0\0\0\1isommp42")
    (raw / "cat" / "page.html").write_text("<!DOCTYPE html>\n<html><svg></svg></html>")
    (raw / "cat" / "b.avif").write_bytes(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf")
    assert load(raw, said).n_left_out == 1
    assert "files that are no images, left out: 2 (1 .html, 1 .mp4)" in said.lines


def test_what_is_no_image_is_counted_by_suffix_and_does_not_fail(raw, capsys):
    for name in ("notes.txt", "b.TXT", "list.json", "README", "BMW.md", "P5 is a book"):
        (raw / "cat" / name).write_text("BM or P5 is no image\n" if name != "README" else "")
    os.mkfifo(raw / "cat" / "pipe")
    assert init(raw) == 0
    out = capsys.readouterr().out
    assert "files that are no images, left out: 7 (3 without a suffix, 2 .txt, 1 .json, 1 .md)" in out


def test_a_pipe_with_the_suffix_of_an_image_is_named_and_not_opened(raw, said):
    os.mkfifo(raw / "cat" / "pipe.png")
    assert load(raw, said).n_left_out == 1
    assert f"{raw / 'cat/pipe.png'}: a directory, pipe or device, not an image file" in said.lines


@pytest.mark.parametrize("name", ["_old", "_rejected/more", "deep/_tmp", "_unlabeled"])
def test_folders_left_out_by_name_are_so_within_class_folders_too(raw, said, name):
    draw(raw / "cat" / name / "x.png", 50)
    (raw / "cat" / "best.png").symlink_to(f"{name}/x.png")
    draw(raw / "cat" / name / "y.png", 51)
    source = load(raw, said)
    assert (np.bincount(source.labels).tolist(), source.n_left_out) == ([7, 6], 0)
    assert f"{raw / 'cat' / name / 'y.png'}: left out, since the name _" in said.text
    assert ("belong into _unlabeled/ beside the class folders" in said.text) == (name == "_unlabeled")


@pytest.mark.parametrize(
    "name",
    ["Thumbs.db", "THUMBS.DB", "desktop.ini", ".DS_Store", "._1.png", ".hidden.png", "__MACOSX/cat/._1.png",
     "@eaDir/1.png", ".git/x.png", "Icon\r"],
)  # fmt: skip
@pytest.mark.parametrize("folder", ["", "cat"])
def test_litter_is_silent(raw, said, folder, name):
    draw(raw / folder / name, 50)
    source = load(raw, said)
    assert (len(source.images), source.n_left_out) == (12, 0)
    assert said.lines == ["2 classes: cat 6, dog 6"]


def test_images_in_no_class_folder_and_in_folders_left_out_by_name_are_named(raw, said):
    draw(raw / "loose.png", 50)
    draw(raw / "_unlabled" / "deep" / "x.png", 51)
    source = load(raw, said)
    assert (len(source.images), source.n_left_out) == (12, 1)
    assert f"{raw / 'loose.png'}: left out, since it is in no class folder" in said.lines
    assert f"{raw / '_unlabled/deep/x.png'}: left out, since the name _unlabled" in said.text


def test_ten_of_each_cause_are_named_and_the_others_counted(raw, said):
    for i in range(12):
        (raw / "cat" / f"{i}.psd").write_bytes(b"8BPS")
        (raw / "dog" / f"bad{i}.png").write_bytes(b"")
        draw(raw / f"{i}.png", 200 + i)
    assert load(raw, said).n_left_out == 36
    for cause in ("in a format that is not read", "that cannot be read", "in no class folder"):
        assert f"and 2 more {cause}" in said.lines
    assert sum(line.endswith("convert it to PNG") for line in said.lines) == 10


def test_a_raw_file_with_the_suffix_of_another_is_not_read_by_its_preview(raw, said):
    Image.fromarray(pixels(50)).save(raw / "cat" / "nef.tif", tiffinfo={254: 1})
    Image.fromarray(pixels(51)).save(raw / "cat" / "usual.tif", tiffinfo={254: 0})
    assert load(raw, said).n_left_out == 1
    assert "nef.tif: its first picture is a reduced copy" in said.text


# links


def test_links_within_the_folder_are_followed_and_count_once(raw, said):
    draw(raw / "_pool" / "more" / "x.png", 50)
    draw(raw / ".versions" / "y.png", 51)
    (raw / "cat" / "more").symlink_to(raw / "_pool" / "more")
    (raw / "cat" / "again").symlink_to("../_pool/more")
    (raw / "cat" / "current").symlink_to(raw / ".versions")
    (raw / "cat" / "best.png").symlink_to("0.png")
    (raw / "cat" / "loop").symlink_to(raw / "cat")
    (raw / "cat" / "up").symlink_to("..")
    (raw / "cat" / "itself").symlink_to("itself.png")
    source = load(raw, said)
    assert np.bincount(source.labels).tolist() == [8, 6]
    assert "links to files that are read anyway: 1" in said.lines
    assert source.n_left_out == 1  # the one that leads to nothing
    assert f"{raw / 'cat' / 'itself'}: a link to nothing" in said.lines


def test_links_out_of_the_folder_are_named_and_followed_when_asked(raw, said, tmp_path):
    draw(tmp_path / "secret" / "s.png", 50)
    (raw / "cat" / "s.png").symlink_to(tmp_path / "secret" / "s.png")
    (raw / "dog" / "all").symlink_to(tmp_path / "secret")
    source = load(raw, said)
    assert (len(source.images), source.n_left_out) == (12, 2)
    assert f"{raw / 'dog' / 'all'}: a link that leads outside of {raw}; follow it with --follow-links" in said.lines
    with refused("of contradictory labels"):  # both links lead to it
        load(raw, follow_links=True)
    (raw / "cat" / "s.png").unlink()
    assert len(load(raw, follow_links=True).images) == 13


@pytest.mark.parametrize("name", ["bird", "_unlabeled", "_old", "x.png"])
@pytest.mark.parametrize("place", [".", "photos"])
def test_a_link_to_nothing_beside_the_classes_is_named(raw, said, place, name):
    if place != ".":
        shutil.move(raw, raw.parent / place)
        shutil.move(raw.parent / place, raw / place)
    (raw / place / name).symlink_to("elsewhere")
    assert load(raw, said).n_left_out == 1
    assert f"{raw / place / name}: a link to nothing" in said.lines


@pytest.mark.parametrize("name", ["bird", "_unlabeled"])
def test_a_class_behind_a_link_out_of_the_folder_is_refused_unless_asked_for(raw, tmp_path, name):
    draw(tmp_path / "elsewhere" / "s.png", 50)
    (raw / name).symlink_to(tmp_path / "elsewhere")
    with refused(raw / name, "leads outside", "--follow-links"):
        load(raw)
    assert len(load(raw, follow_links=True).images) == 13


def test_a_folder_that_may_not_be_read_is_named(raw, said, monkeypatch):
    (raw / "cat" / "closed").mkdir()
    scan = os.scandir

    def refuse(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr("aae_toolkit.data.walk.os.scandir", refuse)
    assert load(raw, said).n_left_out == 1
    assert "closed: a folder that may not be read (Permission denied)" in said.text


# layouts


def given(raw, names=("train", "val", "test"), sizes=(6, 3, 4)):
    shutil.rmtree(raw)
    for part, (name, n) in enumerate(zip(names, sizes, strict=True)):
        for i in range(n):
            draw(raw / name / "cat" / f"{i}.png", 1000 * part + i)
            draw(raw / name / "dog" / f"{i}.png", 1000 * part + 500 + i)


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Train", "VALID", "Test"), ("training", "validation", "testing")]
)
def test_given_splits_are_kept(raw, capsys, names):
    given(raw, names)
    draw(raw / "_unlabeled" / "u.png", 9000)
    draw(raw / names[0] / "_unlabeled" / "v.png", 9001)
    assert init(raw, "--labeled", "4", "--channels", "3") == 0
    assert "given splits are kept: " in capsys.readouterr().out
    found = splits(raw)
    assert {name: len(split) for name, split in found.items()} == {
        "train_labeled": 4, "train_unlabeled": 10, "validation": 6, "test": 8,
    }  # fmt: skip
    for name, part, n in (("validation", 1, 3), ("test", 2, 4)):
        expected = [pixels(1000 * part + 500 * dog + i).transpose(2, 0, 1) for dog in (0, 1) for i in range(n)]
        assert sorted(keys(found[name])) == sorted(e.tobytes() for e in expected)
        assert np.bincount(found[name].labels).tolist() == [n, n]


@pytest.mark.parametrize("absent", ["val", "test"])
def test_a_split_that_is_not_given_is_drawn_from_the_training_images(raw, absent):
    given(raw)
    shutil.rmtree(raw / absent)
    assert init(raw) == 0
    drawn, kept = ("validation", "test") if absent == "val" else ("test", "validation")
    found = splits(raw)
    assert (len(found[drawn]), len(found[kept])) == (2, 8 if kept == "test" else 6)
    assert init(raw, "--overwrite", f"--{drawn}", "4") == 0
    assert len(splits(raw)[drawn]) == 4


@pytest.mark.parametrize("flag", ["--validation", "--test"])
def test_a_size_for_a_given_split_is_refused(raw, capsys, flag):
    given(raw)
    assert init(raw, flag, "2") == 2
    assert f"and kept as they are; leave {flag} out" in capsys.readouterr().err


def test_given_splits_within_class_folders_are_kept(raw, said):
    shutil.rmtree(raw)
    for label, name in enumerate(("cat", "dog")):
        for i in range(4):
            draw(raw / name / "train" / f"{i}.png", 10 * label + i)
        draw(raw / name / "test" / "x.png", 100 + label)
    source = load(raw, said)
    assert source.class_names == ("cat", "dog")
    assert source.labels[source.given_test].tolist() == [0, 1]
    assert source.given_validation is None
    draw(raw / "bird" / "x.png", 300)
    with refused("cat has given splits", "bird has none"):
        load(raw)


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        ("plane/x.png", ["train/, val/, test/ beside plane/", "_unlabeled/"]),
        ("Train/cat/x.png", ["both read as train images"]),
        ("valid/cat/x.png", ["both read as validation images"]),
        ("test/bird/x.png", ["no class 'bird' in", "train"]),
        ("val/Cat/x.png", ["'Cat' and 'cat'", "read alike"]),
    ],
)
def test_a_layout_that_can_be_misread_is_refused(raw, more, parts):
    given(raw)
    draw(raw / more, 7000)
    with refused(*parts):
        load(raw)


@pytest.mark.parametrize(
    "names",
    [
        ("train_set", "test_set"), ("seg_train", "seg_test"), ("train2017", "val2017"), ("trn", "tst"),
        ("TrainImages", "TestImages"), ("train", "dev"), ("train", "hold-out"), ("data-train", "data-eval"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("inner", ["cat", "."])
def test_folders_named_much_like_splits_are_refused(raw, names, inner):
    shutil.rmtree(raw)
    for seed, name in enumerate(names):
        draw(raw / "photos" / name / inner / "x.png", seed)
        draw(raw / "photos" / name / (inner if inner == "." else "dog") / "y.png", 10 + seed)
    with refused(raw):
        load(raw)


@pytest.mark.parametrize("name", ["crash_test", "train", "dev", "evaluation", "restrain_set", "contest"])
def test_one_class_named_like_a_split_is_none(raw, name):
    draw(raw / name / "x.png", 50)
    assert set(load(raw).class_names) == {"cat", "dog", name}


@pytest.mark.parametrize("part", ["test", "Val", "train", "train_set"])
def test_a_split_within_class_folders_beside_other_images_is_refused(raw, part):
    for name in ("cat", "dog"):
        draw(raw / name / part / "x.png", 50 + len(name))
        draw(raw / name / "dev" / "y.png", 60)
    with refused(raw / "cat", f"{part}/"):
        load(raw)
    for path in raw.glob("*/dev"):
        shutil.rmtree(path)
    if part != "train_set":
        with refused(raw / "cat", f"has {part}/", "sort all of them"):
            load(raw)


def test_folders_of_one_name_in_several_class_folders_are_said(raw, said):
    shutil.move(raw, raw.parent / "2021")
    shutil.copytree(raw.parent / "2021", raw / "2021")
    draw(raw / "2022" / "dog" / "x.png", 50)
    load(raw, said)
    line = "2021/dog and 2022/dog are read as images of 2021 and of 2022; if dog is a class, sort the images into one"
    assert f"{line} folder for each class" in said.lines


def test_splits_without_training_images_or_classes_are_refused(raw):
    given(raw)
    shutil.rmtree(raw / "train")
    with refused("val/, test/", "no train/"):
        load(raw)
    given(raw)
    shutil.rmtree(raw / "test")
    draw(raw / "test" / "1.png", 1)
    with refused(raw / "test", "holds no class folders", "--labels-csv", "_unlabeled"):
        load(raw)


@pytest.mark.parametrize("name", ["test", "train", "Validation"])
def test_one_folder_of_classes_beside_classes_is_refused_and_a_class_of_that_name_is_not(raw, name):
    draw(raw / name / "cat" / "x.png", 50)
    with refused(raw / name, "rename it if it is a class"):
        load(raw)
    shutil.move(raw / name / "cat" / "x.png", raw / name / "x.png")
    shutil.rmtree(raw / name / "cat")
    assert set(load(raw).class_names) == {"cat", "dog", name}


@pytest.mark.parametrize("depth", [1, 2])
def test_a_folder_around_the_class_folders_is_recognised(raw, said, tmp_path, depth):
    outer = tmp_path / "outer"
    inner = outer.joinpath(*["photos"] * depth)
    shutil.copytree(raw, inner)
    draw(outer / "_unlabeled" / "u.png", 50)
    draw(outer / "__MACOSX" / "photos" / "._x.png", 51)
    source = load(outer, said)
    assert (source.class_names, len(source.images)) == (("cat", "dog"), 13)
    assert f"class folders are those in {inner}" in said.lines


def test_a_folder_around_given_splits_is_recognised(raw, tmp_path):
    given(raw)
    shutil.copytree(raw, tmp_path / "outer" / "dataset")
    assert len(load(tmp_path / "outer").given_test) == 8


def test_a_flat_folder_is_refused_with_what_would_be_right(raw):
    shutil.rmtree(raw)
    draw(raw / "1.png", 1)
    with refused(raw, "no class folders", "<class>/", "--labels-csv FILE", "_unlabeled"):
        load(raw)


@pytest.mark.parametrize("unlabeled", [False, True])
def test_a_single_class_is_refused(raw, unlabeled):
    shutil.rmtree(raw / "dog")
    if unlabeled:
        draw(raw / "_unlabeled" / "u.png", 50)
    with refused("single class, 'cat'", "needs two", "_unlabeled"):
        load(raw)


@pytest.mark.parametrize("name", ["unlabeled", "Unlabelled", "UNLABELED", "-1", "NaN", "null"])
def test_a_class_called_unlabelled_is_refused(raw, name):
    draw(raw / name / "u.png", 50)
    with refused(raw / name, "rename it to _unlabeled/"):
        load(raw)


# leaks


def test_copies_never_stand_in_two_splits(raw, capsys):
    for i in range(40):
        draw(raw / "cat" / f"more{i}.png", 200 + i)
        draw(raw / "dog" / f"more{i}.png", 300 + i)
    for path in [*raw.glob("*/*.png")]:
        target = raw / "_unlabeled" / f"{path.parent.name}{path.name}"
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)
    for i in range(10):
        shutil.copy(raw / "cat" / f"more{i}.png", raw / "cat" / f"copy{i}.png")
    draw(raw / "_unlabeled" / "own.png", 999)
    assert init(raw, "--labeled", "20") == 0
    found = splits(raw)
    every = [key for split in found.values() for key in keys(split)]
    assert len(every) == len(set(every)) == 93
    out = capsys.readouterr().out
    assert "left out, since it has the pixels of" in out
    assert "and 92 more with the pixels of another one" in out
    assert "images left out: 102 with the pixels of another one" in out


def test_another_format_of_the_same_pixels_is_a_copy(raw, said):
    for name, file_format in (("a.bmp", "BMP"), ("b.tif", "TIFF"), ("c.ppm", "PPM")):
        draw(raw / "cat" / name, 0, file_format)
    assert len(load(raw, said).images) == 12


def test_what_is_held_out_is_dropped_from_training_and_said(raw, said):
    given(raw)
    shutil.copy(raw / "test" / "cat" / "0.png", raw / "train" / "cat" / "leak.png")
    shutil.copy(raw / "val" / "dog" / "0.png", raw / "train" / "dog" / "leak.png")
    shutil.copy(raw / "test" / "dog" / "1.png", raw / "val" / "dog" / "leak.png")
    (raw / "_unlabeled").mkdir()
    shutil.copy(raw / "test" / "dog" / "2.png", raw / "_unlabeled" / "leak.png")
    shutil.copy(raw / "test" / "cat" / "3.png", raw / "test" / "cat" / "twice.png")
    source = load(raw, said)
    assert sum("leak.png: left out, since it has the pixels of a" in line for line in said.lines) == 4
    assert (len(source.given_test), len(source.given_validation), len(source.images)) == (9, 6, 27)
    assert source.n_left_out == 0


def test_contradictory_labels_are_refused_or_dropped(raw, said, capsys):
    shutil.copy(raw / "cat" / "0.png", raw / "dog" / "same.png")
    shutil.copy(raw / "cat" / "0.png", raw / "cat" / "copy.png")
    assert init(raw) == 1
    printed = capsys.readouterr()
    for name in ("cat/0.png (cat)", "dog/same.png (dog)", "--conflicts drop"):
        assert name in printed.err
    source = load(raw, said, conflicts="drop")
    assert np.bincount(source.labels).tolist() == [5, 6]
    np.testing.assert_array_equal(source.images, np.delete(load_without(raw, "same.png"), 0, axis=0))
    assert sum("left out for its labels" in line for line in said.lines) == 2
    assert init(raw, "--conflicts", "drop") == 0


def load_without(raw, name):
    for path in raw.rglob(name):
        path.unlink()
    return load(raw).images


def test_a_contradiction_across_given_splits_is_named(raw):
    given(raw)
    shutil.copy(raw / "test" / "cat" / "0.png", raw / "train" / "dog" / "x.png")
    with refused("test/cat/0.png (cat)", "train/dog/x.png (dog)"):
        load(raw)
    source = load(raw, conflicts="drop")
    assert len(source.given_test) == 7


def test_a_held_out_copy_of_a_contradiction_goes_with_it(raw):
    given(raw)
    shutil.copy(raw / "test" / "cat" / "0.png", raw / "test" / "cat" / "0b.png")
    shutil.copy(raw / "test" / "cat" / "0.png", raw / "test" / "dog" / "x.png")
    assert len(load(raw, conflicts="drop").given_test) == 7


def test_a_class_that_only_the_test_split_shows_is_refused(raw):
    given(raw, sizes=(1, 1, 1))
    shutil.copy(raw / "test" / "cat" / "0.png", raw / "train" / "cat" / "0.png")
    with refused("class 'cat'", "for training"):
        load(raw)


# names


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Cat", "cat"), ("café", unicodedata.normalize("NFD", "café")), ("cat", "cat "), ("cat", "\uff43\uff41\uff54"),
        ("big cat", "big  cat"), ("big_cat", "big-cat"), ("Big cat", "big__cat"), ("cat.", "cat"),
        ("Straße", "STRASSE"), ("ﬁsh", "fish"),
    ],
)  # fmt: skip
def test_names_that_read_alike_are_refused(tmp_path, first, second):
    for seed, name in enumerate((first, second)):
        draw(tmp_path / "names" / name / "x.png", seed)
    with refused(ascii(first), ascii(second), "read alike"):
        load(tmp_path / "names")


def test_numbers_are_ordered_by_value(tmp_path):
    names = ["0", "1", "2", "10", "a1", "a2", "a10", "b"]
    for seed, name in enumerate(names):
        draw(tmp_path / "numbers" / name / "x.png", seed)
    assert load(tmp_path / "numbers").class_names == tuple(names)


def test_names_that_differ_in_a_sign_or_a_letter_do_not_read_alike(tmp_path):
    names = {"-2", "+2", "2", "c", "c+", "c-", "c_1", "c1", "01", "1", "1.5", "15"}
    for seed, name in enumerate(names):
        draw(tmp_path / "names" / name / "x.png", seed)
    assert set(load(tmp_path / "names").class_names) == names


def test_an_earlier_data_directory_keeps_its_order(tmp_path):
    raw = tmp_path / "raw"
    for seed, name in enumerate(("0", "2", "10")):
        for i in range(5):
            draw(raw / name / f"{i}.png", 10 * seed + i)
    earlier = load(raw, earlier_names=("0", "10", "2"))
    assert earlier.class_names == ("0", "10", "2")
    write_data_directory(tmp_path / "data", earlier, None, None, None, seed=0)
    assert init(raw) == 0  # nothing else than what is there
    assert DataDirectory(tmp_path / "data").class_names == ("0", "10", "2")
    assert init(raw, "--overwrite") == 0
    assert DataDirectory(tmp_path / "data").class_names == ("0", "2", "10")


def test_classes_and_their_counts_are_said(raw, said):
    draw(raw / "owl" / "x.png", 50)
    draw(raw / "_unlabeled" / "x.png", 51)
    load(raw, said)
    assert "3 classes: cat 6, dog 6, owl 1; 1 without a label" in said.lines
    assert "classes with one image, which only trains and is never scored: owl" in said.lines


def coloured(raw, colours, n=6):
    shutil.rmtree(raw)
    for name, colour in colours.items():
        for i in range(n):
            noise = np.random.default_rng(i).integers(-20, 20, (8, 8, 3))
            path = raw / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(path)


@pytest.mark.parametrize(
    ("colours", "warned"),
    [
        ({"red": (200, 60, 60), "green": (30, 147, 60)}, True),
        ({"red": (200, 60, 60), "green": (30, 147, 60), "white": (230, 230, 230)}, True),
        ({"dark": (60, 60, 60), "light": (200, 200, 200)}, False),
        ({"grey": (101, 101, 101), "also": (103, 103, 103)}, False),
        ({"red": (220, 60, 60), "pale": (240, 200, 200)}, False),
    ],
)
def test_that_colour_is_thrown_away_is_said_where_it_tells_classes_apart(raw, said, colours, warned):
    coloured(raw, colours)
    load(raw, said)
    assert ("--channels 3 keeps it" in said.text) == warned
    colourful = Listener()
    load(raw, colourful, shape=(3, 6, 6))
    assert "--channels" not in colourful.text


def test_options_of_a_folder_are_refused_for_other_sources(tmp_path, capsys):
    for flag in (["--labels-csv", "x.csv"], ["--conflicts", "drop"], ["--follow-links"]):
        assert run(["init-datasets", "--data", str(tmp_path), "--source", "digits", *flag]) == 2
        assert f"{flag[0]} is for --source folder only" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("place", [".", "data", "cat/data", "../raw/data"])
def test_a_data_directory_among_the_images_is_refused(raw, capsys, place):
    command = ["init-datasets", "--data", str(raw / place), "--source", "folder", "--raw-dir", str(raw)]
    assert run(command) == 2
    assert "lies in --raw-dir" in " ".join(capsys.readouterr().err.split())
    assert not (raw / place / "dataset.json").exists()


# lists of labels


@pytest.fixture
def flat(tmp_path):
    for i in range(12):
        draw(tmp_path / "flat" / f"{i}.png", i)
    return tmp_path / "flat"


def listed(flat, text, encoding="utf-8"):
    (flat.parent / "labels.csv").write_bytes(text.encode(encoding))
    return {"labels_csv": flat.parent / "labels.csv"}


ROWS = "".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(8))


@pytest.mark.parametrize(
    ("change", "encoding"),
    [
        (lambda text: text, "utf-8"),
        (lambda text: text.replace("\n", "\r\n"), "utf-8-sig"),
        (lambda text: text.replace(",", ";"), "utf-8"),
        (lambda text: text.replace(",", "\t"), "utf-8"),
        (lambda text: text.replace(",", ", ").replace("path", " Path "), "utf-8"),
        (lambda text: text.replace("1.png", ".\\1.png"), "utf-8"),
        (lambda text: text + "\n\n1.png,b\n", "utf-8"),
    ],
)
def test_labels_come_from_a_list(flat, said, change, encoding):
    source = load(flat, said, **listed(flat, change("path,label\n" + ROWS + "8.png,\n9.png,\n"), encoding))
    assert source.class_names == ("a", "b")
    assert source.labels.tolist() == [0] * 4 + [1] * 4 + [UNLABELED] * 2
    assert source.n_left_out == 0
    assert sum("does not name it" in line for line in said.lines) == 2


def test_a_list_may_lie_among_the_images(flat, said):
    shutil.copy(listed(flat, "path,label\n" + ROWS)["labels_csv"], flat / "labels.csv")
    load(flat, said, labels_csv=flat / "labels.csv")
    assert "no images" not in said.text


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("file,label\n1.png,a\n", ["0 columns 'path'", "found: file, label"]),
        ("path,lable\n1.png,a\n", ["0 columns 'label'", "found: path, lable"]),
        ("path,label,label\n1.png,a,b\n", ["2 columns 'label'"]),
        ("", ["found: none"]),
        ("path,label,split\n1.png,a,test\n", ["column 'split'"]),
        ("path,label,Subset\n1.png,a,test\n", ["column 'subset'"]),
        ("path,is_test,label\n1.png,0,a\n", ["column 'is_test'"]),
        ("path,label\n1.png,a\n2.png,b\n3.png,NaN\n", ["line 4", "3.png has the label 'NaN'", "leave it empty"]),
        ("path,label\n1.png,a\n2.png,b\n3.png,-1\n", ["3.png has the label '-1'"]),
        ("path,label\n1.png,?\n2.png,b\n", ["1.png has the label '?'"]),
        ("path,label\n1.png\n", ["line 2", "1 columns; expected 2"]),
        ("path,label\n,a\n", ["line 2", "no path"]),
        ('path,label\n1.png,"a\n', ["not CSV"]),
        ("path,label\nx.png,a\ny.png,b\n", ["names no image that is in"]),
        ("path,label\n1.png,a\n2.png,a\n", ["single class, 'a'"]),
        ("path,label\n1.png,a\n2.png,A\n", ["'A' and 'a'", "read alike"]),
        ("path,label\n1.png,a\n2.png,b\n1.png,b\n", ["1.png: 'a' in line 2, 'b' in line 4", "--conflicts drop"]),
        ("path,label\n1.png,a\n2.png,b\n./1.png,\n", ["'a' in line 2, '' in line 4"]),
    ],
)
def test_a_list_that_can_be_misread_is_refused(flat, text, parts):
    with refused(*parts):
        load(flat, **listed(flat, text))


def listed_in_splits(flat, names=("train", "test")):
    """A list of eight images in two folders, and two unlabelled ones."""
    for i in range(10):
        target = flat / "images" / names[i % 4 == 3] / f"{i}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(flat / f"{i}.png", target)
    return "path,label\n" + "".join(
        f"images/{names[i % 4 == 3]}/{i}.png,{'ab'[i % 3 % 2] if i < 8 else ''}\n" for i in range(10)
    )


def test_splits_of_listed_images_are_kept(flat, said):
    source = load(flat, said, **listed(flat, listed_in_splits(flat)))
    assert [image.tobytes() for image in source.images[source.given_test]] == keys_of(flat, [3, 7])
    assert source.given_validation is None
    assert f"given splits are kept: {flat / 'images/test'}, {flat / 'images/train'}" in said.lines
    with refused("leave --test out", kind=UsageError):
        load(flat, sized=("test",), **listed(flat, (flat.parent / "labels.csv").read_text()))


def test_folders_around_listed_images_are_no_splits(flat, tmp_path, monkeypatch):
    text = listed_in_splits(flat)
    shutil.move(flat, tmp_path / "test" / "pictures")
    monkeypatch.chdir(tmp_path / "test")
    absolute = text.replace("images/", f"{tmp_path / 'test' / 'pictures'}/images/")
    for rows in (text, absolute):
        source = load(Path("pictures"), **listed(Path("pictures"), rows))
        assert len(source.given_test) == 2


def keys_of(flat, seeds):
    return [
        np.asarray(Image.fromarray(pixels(seed)).convert("L")).tobytes() for seed in seeds
    ]  # [H, W] is [1, H, W] in memory


def test_listed_images_of_which_only_some_are_in_splits_are_refused(flat):
    text = listed_in_splits(flat)
    with refused("images/test and", "which read as given splits", f"not {flat / '11.png'}"):
        load(flat, **listed(flat, text + "11.png,a\n"))
    shutil.move(flat / "images" / "train", flat / "images" / "val")
    with refused("which read as given splits", "none in train/"):
        load(flat, **listed(flat, text.replace("train", "val")))


def test_an_image_of_two_labels_counts_once(flat, said):
    options = listed(flat, "path,label\n" + ROWS + "0.png,b\n")
    load(flat, said, conflicts="drop", **options)
    assert "images left out: 1 with contradictory labels, 4 that the list of labels does not name" in said.lines


def test_a_list_in_another_encoding_or_absent_is_refused(flat):
    with refused("not in UTF-8"):
        load(flat, **listed(flat, "path,label\n1.png,caf\xe9\n", "latin-1"))
    with refused("absent.csv cannot be read"):
        load(flat, labels_csv=flat / "absent.csv")


def test_of_a_list_missing_and_outer_files_are_named_and_fail(flat, said, tmp_path):
    draw(tmp_path / "outside.png", 50)
    more = f"x.png,a\ny.png,b\n../outside.png,a\n{tmp_path}/outside.png,a\n"
    options = listed(flat, "path,label\n" + ROWS + more)
    assert load(flat, said, **options).n_left_out == 4
    assert f"{flat / 'x.png'}: no such file, though line 10 of" in said.text
    assert said.text.count("--follow-links") == 2
    assert len(load(flat, follow_links=True, **options).images) == 9


def test_two_labels_of_a_path_are_dropped_when_asked(flat, said):
    options = listed(flat, "path,label\n" + ROWS + "0.png,b\n")
    assert load(flat, said, conflicts="drop", **options).labels.tolist() == [0] * 3 + [1] * 4
    assert "0.png: left out for its labels, 'a' in line 2, 'b' in line 10" in said.text


def test_unused_columns_of_a_list_are_named(flat, said):
    load(flat, said, **listed(flat, "path,width,label\n1.png,6,a\n2.png,6,b\n"))
    assert "that are not used: width" in said.text


def test_a_list_without_any_label_has_no_classes(flat):
    source = load(flat, **listed(flat, "path,label\n1.png,\n2.png,\n3.png,\n"))
    assert (source.class_names, source.labels.tolist()) == ((), [UNLABELED] * 3)


def test_the_command_takes_a_list(flat, capsys):
    file = listed(flat, "path,label\n" + ROWS)["labels_csv"]
    assert init(flat, "--labels-csv", str(file)) == 0
    assert "2 classes: a 4, b 4" in capsys.readouterr().out


def test_given_splits_are_not_drawn_again(raw):
    given(raw)
    with refused("given and kept", kind=UsageError):
        write_data_directory(raw.parent / "data", load(raw), None, 1, None, seed=0)
