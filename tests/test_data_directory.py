import dataclasses
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_source
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused, value_unless_refused

from aae_toolkit.data.directory import INDEX, DataDirectory, write_data_directory
from aae_toolkit.data.sources import load_source
from aae_toolkit.data.split import SPLITS
from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.files import sha256

FILES = sorted([INDEX, *(f"{name}.npz" for name in SPLITS)])
N = {"train_labeled": 30, "train_unlabeled": 90, "validation": 60, "test": 60}  # of tests/conftest.py's data_dir


@pytest.fixture
def copy(data_dir, tmp_path):
    return shutil.copytree(data_dir, tmp_path / "copy")


@pytest.fixture(scope="module")
def shared_copy(data_dir, tmp_path_factory):
    return shutil.copytree(data_dir, tmp_path_factory.mktemp("shared") / "copy")


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def edit_index(path, edit):
    index = json.loads((path / INDEX).read_text())
    edit(index)
    (path / INDEX).write_text(json.dumps(index))


def record_checksum(path, name):
    """Make the index agree with a split file that was changed."""
    edit_index(path, lambda index: index["splits"][name].update(sha256=sha256(path / f"{name}.npz")))


def index_of_images(source, split):
    """Where in the source each image of a split is."""
    where = {image.tobytes(): i for i, image in enumerate(source.images)}
    assert len(where) == len(source.images)
    return [where[image.tobytes()] for image in split.images]


@pytest.mark.parametrize(("channels", "size"), [(1, 6), (3, 5)])
def test_every_image_comes_back_once_and_with_its_label(tmp_path, channels, size):
    source = tiny_source(channels=channels, size=size)
    write_data_directory(tmp_path, source, None, None, None, seed=0)
    data = DataDirectory(tmp_path)
    splits = {name: data.load(name) for name in SPLITS}
    assert {name: len(split) for name, split in splits.items()} == N
    assert data.image_shape == (channels, size, size)
    assert data.class_names == source.class_names
    found = {name: index_of_images(source, split) for name, split in splits.items()}
    assert sorted(i for indices in found.values() for i in indices) == list(range(len(source.images)))
    for name, split in splits.items():
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int64)
        assert split.labels.tolist() == (
            [-1] * 90 if name == "train_unlabeled" else source.labels[found[name]].tolist()
        )


def test_the_source_is_left_as_it_was(tmp_path):
    source = tiny_source()
    write_data_directory(tmp_path, source, None, None, None, seed=0)
    np.testing.assert_array_equal(source.labels, tiny_source().labels)


def test_the_index_says_what_the_files_hold(data_dir):
    index = json.loads((data_dir / INDEX).read_text())
    assert set(index) == {"format", "source", "seed", "image_shape", "class_names", "preparation", "splits"}
    assert (index["source"], index["seed"], index["image_shape"]) == ("folder", 0, [1, 6, 6])
    assert index["class_names"] == ["row_0", "row_1", "row_2"]
    assert {name: entry["n"] for name, entry in index["splits"].items()} == N
    for name, entry in index["splits"].items():
        each = 0 if name == "train_unlabeled" else N[name] // 3
        assert set(entry) == {"n", "class_counts", "sha256"}
        assert entry["class_counts"] == {"row_0": each, "row_1": each, "row_2": each}
        assert entry["sha256"] == sha256(data_dir / f"{name}.npz")
    assert names(data_dir) == FILES


def test_no_file_holds_pickled_objects(data_dir):
    for name in SPLITS:
        with np.load(data_dir / f"{name}.npz", allow_pickle=False) as content:
            assert {key: content[key].dtype for key in content} == {"images": np.uint8, "labels": np.int64}


def test_the_same_seed_writes_the_same_files_and_another_seed_others(tmp_path):
    same, again, other = (
        write_data_directory(tmp_path / str(i), tiny_source(), None, None, None, seed)
        for i, seed in enumerate([3, 3, 4])
    )
    assert same == again
    assert all(same.splits[name].sha256 != other.splits[name].sha256 for name in SPLITS)
    assert other.seed == 4


def test_sizes_given_win_over_the_sources(tmp_path):
    write_data_directory(tmp_path, tiny_source(), 9, 12, 0, seed=0)
    index = DataDirectory(tmp_path).index
    assert {name: entry.n for name, entry in index.splits.items()} == {
        "train_labeled": 9, "train_unlabeled": 219, "validation": 12, "test": 0
    }  # fmt: skip


def test_digits_are_split_as_they_are_by_default(tmp_path):
    index = write_data_directory(tmp_path, load_source("digits", None, tmp_path, (1, 8, 8)), None, None, None, seed=0)
    assert [index.splits[name].n for name in SPLITS] == [300, 837, 300, 360]
    assert set(index.splits["train_labeled"].class_counts.values()) == {30}


def test_a_sources_own_test_set_is_the_test_split_whole_and_in_order(tmp_path):
    own = tiny_source(20, seed=1)
    source = dataclasses.replace(tiny_source(), test_images=own.images, test_labels=own.labels)
    index = write_data_directory(tmp_path, source, None, None, None, seed=0)
    test = DataDirectory(tmp_path).load("test")
    np.testing.assert_array_equal(test.images, own.images)
    np.testing.assert_array_equal(test.labels, own.labels)
    assert index.splits["test"].class_counts == {"row_0": 7, "row_1": 7, "row_2": 6}
    assert index.splits["train_unlabeled"].n == 240 - 30 - 60


def test_a_source_without_labels_makes_one_unlabelled_split(tmp_path):
    unlabeled = dataclasses.replace(
        tiny_source(12),
        labels=np.full(12, -1),
        class_names=(),
        default_labeled=None,
        default_validation=0,
        default_test=0,
    )
    write_data_directory(tmp_path, unlabeled, None, None, None, seed=0)
    data = DataDirectory(tmp_path)
    assert data.class_names == ()
    assert [len(data.load(name)) for name in SPLITS] == [0, 12, 0, 0]
    assert data.load("validation").images.shape == (0, 1, 6, 6)


@pytest.mark.parametrize("damage", [lambda b: b[:-10], lambda b: b"", lambda b: b[:500] + b"\xff" + b[501:]])
def test_a_truncated_or_damaged_split_is_refused_and_the_others_still_load(copy, damage):
    path = copy / "validation.npz"
    path.write_bytes(damage(path.read_bytes()))
    data = DataDirectory(copy)
    with refused(path, "damaged"):
        data.load("validation")
    assert len(data.load("test")) == 60


def test_a_missing_split_is_refused(copy):
    (copy / "test.npz").unlink()
    with refused(copy / "test.npz", "missing"):
        DataDirectory(copy).load("test")


def test_exchanged_splits_are_refused(copy):
    (copy / "test.npz").replace(copy / "validation.npz")
    with refused(copy / "validation.npz", "damaged"):
        DataDirectory(copy).load("validation")


IMAGES, LABELS = np.zeros((60, 1, 6, 6), dtype=np.uint8), np.zeros(60, dtype=np.int64)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ({"images": IMAGES[:59], "labels": LABELS[:59]}, "(60, 1, 6, 6)"),
        ({"images": IMAGES[:, :, :5], "labels": LABELS}, "(60, 1, 5, 6)"),
        ({"images": IMAGES[:, 0], "labels": LABELS}, "(60, 6, 6)"),
        ({"images": IMAGES / 255, "labels": LABELS}, "float64"),
        ({"images": IMAGES, "labels": LABELS[:59]}, "(60, 1, 6, 6)"),
        ({"images": IMAGES, "labels": LABELS.astype(np.float32)}, "float32 labels; expected int64 from -1 to 2"),
        ({"images": IMAGES, "labels": LABELS + 3}, "expected int64 from -1 to 2"),
        ({"images": IMAGES, "labels": LABELS - 2}, "expected int64 from -1 to 2"),
        ({"images": IMAGES}, "labels"),
        ({"x": IMAGES}, "images"),
        ({"images": IMAGES, "labels": np.full(60, None)}, "allow_pickle"),
    ],
)
def test_a_split_with_the_right_checksum_that_is_not_what_the_index_says_is_refused(copy, content, part):
    np.savez(copy / "test.npz", **content)
    record_checksum(copy, "test")
    with refused(copy / "test.npz", part):
        DataDirectory(copy).load("test")


@pytest.mark.parametrize("name", SPLITS)
def test_mapped_images_are_those_of_the_file_and_changing_them_does_not_change_it(copy, name):
    read, mapped = (DataDirectory(copy).load(name, mapped=m) for m in (False, True))
    assert isinstance(mapped.images, np.memmap)
    assert np.array_equal(read.images, mapped.images)
    assert np.array_equal(read.labels, mapped.labels)
    mapped.images[:] = 7
    assert np.array_equal(DataDirectory(copy).load(name).images, read.images)


@pytest.mark.parametrize("images", [IMAGES / 255, np.asfortranarray(IMAGES), np.full(60, None)])
def test_images_that_cannot_be_mapped_are_refused(copy, images):
    np.savez(copy / "test.npz", images=images, labels=LABELS)
    record_checksum(copy, "test")
    with refused(copy / "test.npz", "compressed, or not uint8 in C order"):
        DataDirectory(copy).load("test", mapped=True)


def test_compressed_images_are_read_but_not_mapped(copy):
    np.savez_compressed(copy / "test.npz", images=IMAGES, labels=LABELS)
    record_checksum(copy, "test")
    assert len(DataDirectory(copy).load("test")) == 60
    with refused(copy / "test.npz", "compressed"):
        DataDirectory(copy).load("test", mapped=True)


@pytest.mark.parametrize("content", [b"", b"no archive", pickle.dumps([1]), b"PK\x05\x06" + bytes(18)])
def test_a_file_with_the_right_checksum_that_is_no_npz_is_refused(copy, content):
    (copy / "test.npz").write_bytes(content)
    record_checksum(copy, "test")
    with refused(copy / "test.npz"):
        DataDirectory(copy).load("test")


def test_a_single_array_in_the_place_of_an_npz_is_refused(copy):
    with (copy / "test.npz").open("wb") as file:
        np.save(file, IMAGES)
    record_checksum(copy, "test")
    with refused(copy / "test.npz"):
        DataDirectory(copy).load("test")


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_whatever_the_damage_behind_a_right_checksum_the_outcome_is_a_split_or_one_line(data_dir, shared_copy, data):
    content = bytearray((data_dir / "test.npz").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        near_an_end = st.integers(0, 300) | st.integers(-400, -1)  # where the headers and the directory are
        content[data.draw(near_an_end)] = data.draw(st.integers(0, 255))
    (shared_copy / "test.npz").write_bytes(content)
    record_checksum(shared_copy, "test")
    mapped = data.draw(st.booleans())
    split = value_unless_refused(lambda: DataDirectory(shared_copy).load("test", mapped=mapped))
    assert split is None or len(split) == 60


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "{}", '{"format": "aae-dataset-2"}', "\x00", b"\xff\xfe"])
def test_an_index_that_is_garbage_is_refused(copy, content):
    (copy / INDEX).write_bytes(content if isinstance(content, bytes) else content.encode())
    with refused(copy / INDEX, "not the index of a data directory", "aae init-datasets"):
        DataDirectory(copy)


@pytest.mark.parametrize(
    "edit",
    [
        lambda index: index.update(format="aae-dataset-2"),
        lambda index: index.update(source="imagenet"),
        lambda index: index.update(image_shape=[6, 6]),
        lambda index: index.pop("class_names"),
        lambda index: index["splits"].pop("validation"),
        lambda index: index["splits"].update(extra=index["splits"]["test"]),
        lambda index: index["splits"]["test"].pop("sha256"),
        lambda index: index["splits"]["test"].update(n="many"),
    ],
)
def test_an_index_that_is_not_whole_is_refused(copy, edit):
    edit_index(copy, edit)
    with refused(copy / INDEX, "not the index of a data directory"):
        DataDirectory(copy)


def test_an_index_with_keys_of_a_later_version_is_read(copy):
    edit_index(copy, lambda index: index.update(note="later"))
    assert DataDirectory(copy).image_shape == (1, 6, 6)


def test_a_directory_that_is_foreign_or_absent_is_refused_with_the_command_that_writes_one(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"")
    for path, found in ((tmp_path, "holds no dataset.json"), (tmp_path / "absent", "does not exist")):
        with refused(f"{path} {found}", f"aae init-datasets --data {path}"):
            DataDirectory(path)


@pytest.mark.parametrize("below", [False, True])
def test_a_target_that_cannot_be_written_is_refused(tmp_path, below):
    (tmp_path / "file").write_text("kept")
    target = tmp_path / "file" / "data" if below else tmp_path / "file"
    with refused(target, "cannot be written"):
        write_data_directory(target, tiny_source(), None, None, None, seed=0)
    assert (tmp_path / "file").read_text() == "kept"


def test_sizes_that_cannot_be_filled_leave_an_existing_directory_as_it_was(copy):
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    with refused("240", kind=UsageError):
        write_data_directory(copy, tiny_source(), 200, 200, 0, seed=0)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


@pytest.mark.parametrize("n_written", range(4))
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_rewriting_leaves_the_old_splits_and_can_be_done_again(copy, monkeypatch, error, n_written):
    savez, written, before = np.savez, [], {path.name: path.read_bytes() for path in copy.iterdir()}

    def interrupted(path, **arrays):
        if len(written) == n_written:
            path.write_bytes(b"half")
            raise error
        written.append(path)
        savez(path, **arrays)

    with monkeypatch.context() as patched:
        patched.setattr(np, "savez", interrupted)
        with pytest.raises(AaeError if isinstance(error, OSError) else KeyboardInterrupt) as caught:
            write_data_directory(copy, tiny_source(), None, None, None, seed=1, overwrite=True)
    assert len(str(caught.value).splitlines()) <= 1
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
    write_data_directory(copy, tiny_source(), None, None, None, seed=1, overwrite=True)
    assert DataDirectory(copy).index.seed == 1
    assert [len(DataDirectory(copy).load(name)) for name in SPLITS] == list(N.values())


@pytest.mark.parametrize("n_placed", range(5))
def test_a_rewriting_killed_between_two_files_leaves_no_index(copy, monkeypatch, n_placed):
    replace, placed = Path.replace, []

    def killed(self, target):
        if len(placed) == n_placed:
            raise KeyboardInterrupt  # the nearest thing to a kill that a test survives
        placed.append(target)
        return replace(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            write_data_directory(copy, tiny_source(), None, None, None, seed=1, overwrite=True)
    with refused("holds no dataset.json"):
        DataDirectory(copy)


def test_other_splits_are_not_replaced_unless_asked_and_the_same_are_written_again(copy):
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    with refused("already holds other splits", "--overwrite", kind=UsageError):
        write_data_directory(copy, tiny_source(), None, None, None, seed=1)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
    (copy / "test.npz").write_bytes(b"damaged")
    write_data_directory(copy, tiny_source(), None, None, None, seed=0)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


def test_a_file_in_the_place_of_a_data_directory_is_called_one(tmp_path):
    (tmp_path / "file").touch()
    with refused("is a file, not a directory", "aae init-datasets"):
        DataDirectory(tmp_path / "file")


def test_rewriting_replaces_the_old_content(copy):
    write_data_directory(copy, tiny_source(60, channels=3, size=4, n_classes=2), 10, 20, 20, seed=5, overwrite=True)
    data = DataDirectory(copy)
    assert (data.image_shape, data.class_names, data.index.seed) == ((3, 4, 4), ("row_0", "row_1"), 5)
    assert [len(data.load(name)) for name in SPLITS] == [10, 10, 20, 20]
    assert names(copy) == FILES


def test_a_test_size_is_refused_for_a_source_that_brings_its_own_test_set(tmp_path):
    source = tiny_source()
    own = dataclasses.replace(source, test_images=source.images[:5], test_labels=source.labels[:5])
    with pytest.raises(UsageError, match="brings its own test set of 5 images; leave --test out"):
        write_data_directory(tmp_path, own, None, None, 3, seed=0)
