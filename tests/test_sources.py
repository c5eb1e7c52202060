import gzip
import math
import shutil
import struct
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from conftest import MNIST_RAW_DIR, needs_mnist
from PIL import Image
from refusals import refused

from aae_toolkit.data.directory import write_data_directory
from aae_toolkit.data.folder import FolderOptions
from aae_toolkit.data.preparation import Preparation
from aae_toolkit.data.sources import UNLABELED, load_source
from aae_toolkit.errors import UsageError
from aae_toolkit.progress import Silent

SHAPE = (1, 6, 5)
IDX_FILES = {
    "train-images-idx3-ubyte": (8, 28, 28),
    "train-labels-idx1-ubyte": (8,),
    "t10k-images-idx3-ubyte": (4, 28, 28),
    "t10k-labels-idx1-ubyte": (4,),
}
FAMILY = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}


def draw(path, value, size=(5, 6), mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, 0, 0)).save(path)


class Listener(Silent):
    """Keeps what it is told."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


@pytest.fixture
def listener():
    return Listener()


@pytest.fixture
def load_folder(tmp_path):
    def load(shape=SHAPE, progress=None, **options):
        folder = FolderOptions(**options)
        return load_source("folder", tmp_path, tmp_path / "unused", shape, folder=folder, progress=progress)

    return load


def test_digits_come_offline_in_the_full_range(tmp_path):
    source = load_source("digits", None, tmp_path, SHAPE)
    assert source.images.shape == (1797, 1, 8, 8)
    assert source.images.dtype == np.uint8
    assert (source.images.min(), source.images.max()) == (0, 255)
    assert source.labels.shape == (1797,)
    assert source.labels.dtype == np.int64
    assert set(source.labels) == set(range(10))
    assert source.class_names == tuple("0123456789")
    assert source.test_images is source.test_labels is None
    assert (source.default_labeled, source.default_validation, source.default_test) == (300, 300, 360)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_has_a_class_for_each_directory_in_the_order_of_names(tmp_path, load_folder):
    draw(tmp_path / "pear" / "a.png", 10)
    draw(tmp_path / "apple" / "b.jpg", 20)
    draw(tmp_path / "apple" / "deeper" / "c.JPEG", 30)
    draw(tmp_path / "Quince" / "d.bmp", 40, size=(50, 60), mode="RGB")
    draw(tmp_path / "_unlabeled" / "e.png", 50)
    source = load_folder()
    assert source.name == "folder"
    assert source.class_names == ("Quince", "apple", "pear")
    assert source.labels.tolist() == [0, 1, 1, 2, UNLABELED]
    assert source.labels.dtype == np.int64
    assert source.images.shape == (5, *SHAPE)
    assert source.images.dtype == np.uint8
    assert source.images[1:, 0, 0, 0].tolist() == [20, 30, 10, 50]
    assert source.test_images is None


@pytest.mark.parametrize("shape", [(1, 6, 5), (3, 2, 9)])
def test_a_folders_images_get_the_shape_asked_for(tmp_path, load_folder, shape):
    draw(tmp_path / "a" / "grey.png", 70)
    draw(tmp_path / "b" / "red.png", 90, size=(9, 2), mode="RGB")
    assert load_folder(shape).images.shape == (2, *shape)


def test_a_folder_labels_all_it_can_and_holds_out_a_fifth_twice(tmp_path, load_folder):
    for i in range(11):
        draw(tmp_path / "ab"[i % 2] / f"{i}.png", i)
    draw(tmp_path / "_unlabeled" / "x.png", 0)
    source = load_folder()
    assert (source.default_labeled, source.default_validation, source.default_test) == (None, 2, 2)


@pytest.mark.parametrize("name", ["_unlabeled", "_unlabelled", "_Unlabeled"])
def test_either_spelling_of_the_unlabelled_folder_is_read(tmp_path, load_folder, name):
    draw(tmp_path / "a" / "x.png", 1)
    draw(tmp_path / "b" / "x.png", 2)
    draw(tmp_path / name / "y.png", 3)
    assert load_folder().labels.tolist() == [0, 1, UNLABELED]


def test_of_many_damaged_images_some_are_named_and_all_are_counted(tmp_path, load_folder, listener):
    draw(tmp_path / "a" / "good.png", 1)
    draw(tmp_path / "b" / "good.png", 2)
    for i in range(30):
        (tmp_path / "a" / f"{i}.png").write_bytes(b"")
    assert load_folder(progress=listener).n_left_out == 30
    assert sum(line.startswith(str(tmp_path)) for line in listener.lines) == 10
    assert "and 20 more that cannot be read" in listener.lines


def test_a_folder_in_which_nothing_can_be_read_is_refused(tmp_path, load_folder):
    for name in ("a", "b"):
        draw(tmp_path / name / "x.png", 1)
        (tmp_path / name / "x.png").write_bytes(b"no image")
    with refused("none of the 2 images", tmp_path):
        load_folder()


@pytest.mark.parametrize(("invert", "expected"), [("no", [10, 250]), ("yes", [245, 5]), ("auto", [10, 5])])
def test_a_folder_can_be_made_light_on_dark_and_says_how_many_were(tmp_path, load_folder, listener, invert, expected):
    draw(tmp_path / "a" / "dark.png", 10)
    draw(tmp_path / "b" / "light.png", 250)
    images = load_folder(preparation=Preparation(invert=invert), progress=listener).images
    assert images[:, 0, 0, 0].tolist() == expected
    n_inverted = {"no": 0, "yes": 2, "auto": 1}[invert]
    assert listener.lines[:-2] == ([f"{n_inverted} of 2 images: inverted"] if n_inverted else [])


def test_a_folder_without_labels_has_no_classes(tmp_path, load_folder):
    for i in range(3):
        draw(tmp_path / "_unlabeled" / f"{i}.png", i)
    source = load_folder()
    assert source.class_names == ()
    assert source.labels.tolist() == [UNLABELED] * 3
    assert (source.default_validation, source.default_test) == (0, 0)


def test_a_class_directory_without_images_is_refused_by_name(tmp_path, load_folder):
    draw(tmp_path / "a" / "x.png", 1)
    (tmp_path / "hollow").mkdir()
    (tmp_path / "hollow" / "notes.txt").write_text("no image")
    with refused(f"class 'hollow' in {tmp_path}", "holds no images that can be read"):
        load_folder()


@pytest.mark.parametrize("name", [None, ".hidden/x.png", "_other/x.png", "_unlabeled/.x.png"])
def test_a_folder_without_images_is_refused(tmp_path, load_folder, name):
    if name:
        draw(tmp_path / name, 1)
    with refused(tmp_path, "holds no images", "<class>/*.png", "_unlabeled"):
        load_folder()


def test_a_folder_needs_a_raw_dir(tmp_path):
    with refused("--raw-dir", "sub-directory", kind=UsageError):
        load_source("folder", None, tmp_path, SHAPE)


def test_a_raw_dir_that_is_absent_or_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "absent", tmp_path / "file"):
        with refused(path, "not a directory"):
            load_source("folder", path, tmp_path, SHAPE)


@pytest.mark.parametrize("content", [b"", b"no image", "half"])
def test_a_damaged_image_is_named_and_counted_and_the_others_are_read(tmp_path, load_folder, listener, content):
    for value, name in enumerate(("a/good.png", "b/bad.png", "b/fine.png")):
        draw(tmp_path / name, value)
    whole = (tmp_path / "b" / "bad.png").read_bytes()
    (tmp_path / "b" / "bad.png").write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    source = load_folder(progress=listener)
    assert (source.labels.tolist(), source.n_left_out) == ([0, 1], 1)
    line, counts, classes, _ = listener.lines
    assert counts == "images left out: 1 that cannot be read"
    assert classes == "2 classes: a 1, b 1"
    assert line.startswith(f"{tmp_path / 'b' / 'bad.png'}: ")


@pytest.mark.parametrize("name", FAMILY)
def test_the_mnist_family_is_read_from_files_already_there(tmp_path, name):
    raw = tmp_path / FAMILY[name] / "raw"
    raw.mkdir(parents=True)
    for fill, (file, shape) in enumerate(IDX_FILES.items()):
        header = struct.pack(f">{1 + len(shape)}I", 0x800 + len(shape), *shape)
        (raw / file).write_bytes(header + bytes([fill]) * int(np.prod(shape)))
    source = load_source(name, tmp_path, tmp_path / "unused", SHAPE)
    assert (source.images.shape, source.test_images.shape) == ((8, 1, 28, 28), (4, 1, 28, 28))
    assert source.images.dtype == source.test_images.dtype == np.uint8
    assert source.labels.dtype == source.test_labels.dtype == np.int64
    fills = [int(np.unique(a)[0]) for a in (source.images, source.labels, source.test_images, source.test_labels)]
    assert fills == [0, 1, 2, 3]
    assert len(set(source.class_names)) == 10
    assert (source.class_names[9] == "Ankle boot") == (name == "fashion-mnist")
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize("name", FAMILY)
def test_absent_files_of_the_mnist_family_are_refused_with_the_path_expected(tmp_path, name):
    with refused(f"{name} not found", tmp_path / FAMILY[name] / "raw"):
        load_source(name, tmp_path, tmp_path / "unused", SHAPE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"\x00\x00", b"no IDX file\n" * 9, struct.pack(">2I", 0x801, 60000)])
def test_damaged_files_of_the_mnist_family_are_refused_with_the_path_expected(tmp_path, content):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in IDX_FILES:
        (raw / file).write_bytes(content)
    with refused("mnist not found", "readable IDX files", raw):
        load_source("mnist", tmp_path, tmp_path / "unused", SHAPE)


def write_idx(raw, compress=False, **changed):
    """The four files, of 28 x 28 pixels; `changed` replaces bytes by the file's first word."""
    raw.mkdir(parents=True, exist_ok=True)
    for fill, (file, shape) in enumerate(IDX_FILES.items()):
        content = struct.pack(f">{1 + len(shape)}I", 0x800 + len(shape), *shape) + bytes([fill]) * math.prod(shape)
        content = changed.get(file.replace("-", "_"), content)
        (raw / (file + ".gz" * compress)).write_bytes(gzip.compress(content) if compress else content)


def test_compressed_files_are_read_as_they_are_published(tmp_path):
    write_idx(tmp_path / "MNIST" / "raw", compress=True)
    source = load_source("mnist", tmp_path, tmp_path / "unused", SHAPE)
    assert (source.images.shape, source.test_labels.tolist()) == ((8, 1, 28, 28), [3] * 4)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (struct.pack(">4I", 0x803, 2**31 - 1, 2**31 - 1, 2**31 - 1), "expected an image set"),
        (struct.pack(">4I", 0x803, 0, 28, 28), "expected an image set"),
        (struct.pack(">4I", 0x803, 8, 28, 28) + bytes(2**24), "holds more bytes where its header says 6272"),
        (struct.pack(">4I", 0x803, 8, 28, 28) + bytes(6271), "holds 6271 bytes where its header says 6272"),
        (struct.pack(">4I", 0xD03, 8, 28, 28) + bytes(6272), "not an IDX file of bytes with 3 axes"),
        (struct.pack(">4I", 0x803, 7, 28, 28) + bytes(7 * 784), "do not match: 7 x 28 x 28 images, 8 labels"),
    ],
)
def test_an_idx_file_that_is_not_what_its_header_says_is_refused(tmp_path, compress, content, said):
    write_idx(tmp_path / "MNIST" / "raw", compress, train_images_idx3_ubyte=content)
    with refused(said):
        load_source("mnist", tmp_path, tmp_path / "unused", SHAPE)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (URLError("no route to host"), "no route to host"),
        (RuntimeError("Error downloading train-images:\nTried https://a\nTried https://b"), "Error downloading"),
        (RuntimeError("Error downloading a.gz:\nTried https://a, got:\n<urlopen error no route>\n"), "no route"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_a_download_that_fails_is_one_line_with_what_to_do_instead(tmp_path, monkeypatch, error, reason):
    def fail(root, download):
        assert (Path(root).parent, download) == (tmp_path / "raw", True)
        raise error

    monkeypatch.setattr("torchvision.datasets.MNIST", fail)
    with refused("mnist cannot be downloaded", reason, "--raw-dir", "--source digits"):
        load_source("mnist", None, tmp_path / "raw", SHAPE)


@needs_mnist
def test_real_mnist_has_60000_images_to_split_and_10000_to_test():
    source = load_source("mnist", MNIST_RAW_DIR, MNIST_RAW_DIR / "unused", SHAPE)
    assert source.images.shape == (60000, 1, 28, 28)
    assert source.test_images.shape == (10000, 1, 28, 28)
    assert (source.images.min(), source.images.max()) == (0, 255)
    assert np.bincount(source.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(source.test_labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert source.class_names == tuple("0123456789")
    assert (source.default_labeled, source.default_validation) == (3000, 10000)


@needs_mnist
def test_real_mnist_with_one_file_missing_is_refused(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in list(IDX_FILES)[:3]:
        original = MNIST_RAW_DIR / "MNIST" / "raw" / file
        if original.is_file():
            shutil.copy(original, raw)
    with refused(raw):
        load_source("mnist", tmp_path, tmp_path / "unused", SHAPE)


def test_a_folder_without_any_label_still_has_validation_and_test_images(tmp_path):
    (tmp_path / "raw" / "_unlabeled").mkdir(parents=True)
    for i in range(20):
        Image.new("L", (4, 4), i).save(tmp_path / "raw" / "_unlabeled" / f"{i}.png")
    source = load_source("folder", tmp_path / "raw", tmp_path, (1, 4, 4))
    index = write_data_directory(tmp_path / "data", source, None, None, None, seed=0)
    assert {name: split.n for name, split in index.splits.items()} == {
        "train_labeled": 0,
        "train_unlabeled": 12,
        "validation": 4,
        "test": 4,
    }


def test_a_download_that_is_killed_is_not_taken_for_a_whole_one(tmp_path, monkeypatch):
    def download(root, download):
        raw = Path(root) / "MNIST" / "raw"
        raw.mkdir(parents=True)
        (raw / next(iter(IDX_FILES))).write_bytes(b"half")
        if interrupted:
            raise KeyboardInterrupt
        write_idx(raw)

    monkeypatch.setattr("torchvision.datasets.MNIST", download)
    left = tmp_path / "raw" / ".aae-download-of-a-killed-run"
    left.mkdir(parents=True)
    interrupted = True
    with pytest.raises(KeyboardInterrupt):
        load_source("mnist", None, tmp_path / "raw", SHAPE)
    assert list((tmp_path / "raw").iterdir()) == []
    interrupted = False
    for _ in range(2):
        assert len(load_source("mnist", None, tmp_path / "raw", SHAPE).images) == 8
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["MNIST"]
