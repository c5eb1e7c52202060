import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refusals import refused

from aae_toolkit.data.paths import image_files
from aae_toolkit.data.preparation import Preparation
from aae_toolkit.predict.decoding import Decoder
from aae_toolkit.predict.shards import INPUT_SUFFIXES, Shard, Source, decode, plan_shards, read_sources

pa = pytest.importorskip("pyarrow", reason="the ray extra, which brings pyarrow, is not installed")
from pyarrow import parquet

SHAPE = (1, 6, 6)
IMAGES = np.random.default_rng(0).integers(0, 256, (10, *SHAPE), dtype=np.uint8)


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image[0]).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    for index, image in enumerate(IMAGES):
        path = folder / ("ab"[index % 2]) / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(image))
    return folder


def plan(*inputs: Path, shard_size: int = 4, column: str = "image") -> list[Shard]:
    files = image_files(map(str, inputs), sys.stdin.buffer, INPUT_SUFFIXES)
    return plan_shards(files, SHAPE, shard_size=shard_size, column=column)


def read(shards: list[Shard], root: Path = Path("/"), column: str = "image") -> list[tuple[str, Source]]:
    return [item for shard in shards for item in read_sources(Shard.from_json(shard.to_json()), root, column)]


def pixels(items: list[tuple[str, Source]]) -> np.ndarray:
    return np.stack([decode(item, Decoder(SHAPE)).pixels for item in items])


def test_folders_are_cut_in_the_order_of_their_names_and_hidden_files_left_out(folder: Path) -> None:
    (folder / ".hidden.png").touch()
    (folder / "notes.txt").touch()
    shards = plan(folder)
    assert [shard.n for shard in shards] == [4, 4, 2]
    order = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]
    items = read(shards)
    assert [name for name, _ in items] == [str(folder / "ab"[i % 2] / f"{i}.png") for i in order]
    np.testing.assert_array_equal(pixels(items), IMAGES[order])


def test_relative_names_stay_as_given_and_are_read_from_where_the_command_ran(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    shards = plan(Path("a"), Path("b/1.png"))
    monkeypatch.chdir("/")
    items = read(shards, folder)
    assert [name for name, _ in items] == ["a/0.png", "a/2.png", "a/4.png", "a/6.png", "a/8.png", "b/1.png"]
    np.testing.assert_array_equal(pixels(items), IMAGES[[0, 2, 4, 6, 8, 1]])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_files_are_cut_by_rows(save: object, tmp_path: Path) -> None:
    save(tmp_path / "x.npz", images=IMAGES)
    shards = plan(tmp_path / "x.npz")
    assert [shard.n for shard in shards] == [4, 4, 2]
    items = read(shards)
    assert [name for name, _ in items] == [f"{tmp_path}/x.npz#{row}" for row in range(10)]
    np.testing.assert_array_equal(pixels(items), IMAGES)


def columns(folder: Path) -> dict[str, "pa.Array"]:
    """The images in every way that a Parquet column may hold them."""
    encoded = [png(image) for image in IMAGES]
    paths = [f"{'ab'[i % 2]}/{i}.png" for i in range(len(IMAGES))]
    both = [
        {"bytes": None, "path": p} if i % 2 else {"bytes": e, "path": p}
        for i, (e, p) in enumerate(zip(encoded, paths, strict=True))
    ]
    return {
        "binary": pa.array(encoded),
        "large": pa.array(encoded, pa.large_binary()),
        "paths": pa.array(paths),
        "absolute": pa.array([str(folder / path) for path in paths]),
        "struct": pa.array(both, pa.struct({"bytes": pa.binary(), "path": pa.string()})),
    }


@pytest.mark.parametrize("column", ["binary", "large", "paths", "absolute", "struct"])
def test_parquet_files_are_cut_between_row_groups(column: str, folder: Path) -> None:
    path = folder / "x.parquet"
    parquet.write_table(pa.table(columns(folder)), path, row_group_size=3)
    shards = plan(path, shard_size=7, column=column)
    assert [(shard.first_row, shard.n) for shard in shards] == [(0, 6), (6, 4)]
    items = read(shards, column=column)
    assert [name for name, _ in items] == [f"{path}#{row}" for row in range(10)]
    np.testing.assert_array_equal(pixels(items), IMAGES)
    assert [shard.n for shard in plan(path, shard_size=1, column=column)] == [3, 3, 3, 1]


def test_a_parquet_row_without_an_image_is_a_row_with_an_error(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"image": pa.array([png(IMAGES[0]), None, b"no image"])}), tmp_path / "x.parquet")
    found = [decode(item, Decoder(SHAPE)) for item in read(plan(tmp_path / "x.parquet"))]
    assert [(str(image.path), image.error) for image in found] == [
        (f"{tmp_path}/x.parquet#0", None),
        (f"{tmp_path}/x.parquet#1", "the row holds no image"),
        (f"{tmp_path}/x.parquet#2", "not an image that can be read; give PNG, JPEG, BMP, GIF, WebP, TIFF, PPM or AVIF"),
    ]


def test_pictures_in_parquet_are_inverted_as_files_are(folder: Path) -> None:
    parquet.write_table(pa.table({"image": [png(image) for image in IMAGES]}), folder / "x.parquet")
    inverted = [decode(item, Decoder(SHAPE, Preparation(invert="yes"))) for item in read(plan(folder / "x.parquet"))]
    np.testing.assert_array_equal(np.stack([image.pixels for image in inverted]), 255 - IMAGES)
    assert {image.notes for image in inverted} == {("inverted",)}


def test_an_empty_parquet_file_gives_no_shard(folder: Path) -> None:
    parquet.write_table(pa.table({"image": pa.array([], pa.binary())}), folder / "x.parquet")
    assert [shard.kind for shard in plan(folder)] == ["files"] * 3


def test_images_npz_and_parquet_may_share_a_folder(folder: Path) -> None:
    np.savez(folder / "a" / "x.npz", images=IMAGES)
    assert [(shard.kind, shard.n) for shard in plan(folder, shard_size=10)] == [("files", 5), ("npz", 10), ("files", 5)]


def test_a_shard_is_the_same_until_one_of_its_files_changes(folder: Path) -> None:
    before = plan(folder)
    assert plan(folder) == before
    os.utime(folder / "b" / "9.png", (0, 0))
    after = plan(folder)
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, False]
    (folder / "a" / "0.png").write_bytes(b"")
    assert plan(folder)[0] != before[0]


def test_what_cannot_be_read_is_a_row_with_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.png").symlink_to(tmp_path / "absent")
    (tmp_path / "text.txt").write_text("no image")
    (tmp_path / "empty").mkdir()
    items = read(plan(tmp_path / "x.png", tmp_path / "text.txt", tmp_path / "absent", tmp_path / "empty"))
    errors = [decode(item, Decoder(SHAPE)).error for item in items]
    assert [error.partition(";")[0] for error in errors] == [
        "no such file",
        "not an image that can be read",
        "no such file",
        "a folder without image files",
    ]


def test_nothing_to_label_is_refused(folder: Path) -> None:
    parquet.write_table(pa.table({"image": pa.array([], pa.binary())}), folder / "x.parquet")
    with refused("nothing to label: no images"):
        plan(folder / "x.parquet")


def test_inputs_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_text("no archive")
    (tmp_path / "x.parquet").write_text("no table")
    np.savez(tmp_path / "other.npz", labels=np.zeros(3))
    np.savez(tmp_path / "large.npz", images=np.zeros((2, 1, 7, 7), np.uint8))
    np.savez(tmp_path / "float.npz", images=np.zeros((2, 1, 6, 6)))
    parquet.write_table(pa.table({"label": pa.array([1]), "text": pa.array(["x"])}), tmp_path / "label.parquet")
    for name, said in {
        "absent.npz": "absent.npz is not an npz file with images",
        "absent.parquet": "absent.parquet is not a readable Parquet file",
        "x.npz": "x.npz is not an npz file with images",
        "other.npz": "other.npz is not an npz file with images",
        "large.npz": "large.npz holds uint8 images (1, 7, 7); the model takes uint8 (1, 6, 6)",
        "float.npz": "float.npz holds float64 images (1, 6, 6)",
        "x.parquet": "x.parquet is not a readable Parquet file",
        "label.parquet": "has no column 'image' (--column names it); it has label, text",
    }.items():
        with refused(said):
            plan(tmp_path / name)
    with refused("column 'label' is int64; expected encoded images (binary) or their paths (string)"):
        plan(tmp_path / "label.parquet", column="label")
