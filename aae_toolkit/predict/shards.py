"""Shards of image files, npz and Parquet files; the same input gives the same shards.

A worker labels one shard at a time, into one output file. Needs neither torch nor Ray.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import groupby, repeat
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.data.borders import opposite_borders
from aae_toolkit.data.formats import SUFFIXES
from aae_toolkit.data.split_files import map_images
from aae_toolkit.errors import AaeError
from aae_toolkit.predict.decoding import Decoded, Decoder
from aae_toolkit.progress import Progress

Shape = tuple[int, int, int]  # C, H, W in pixels
Source = Path | bytes | NDArray[np.uint8] | None  # file, encoded image, pixels, or None for an empty row

_TABLES: dict[str, Literal["npz", "parquet"]] = {".npz": "npz", ".parquet": "parquet"}
INPUT_SUFFIXES = SUFFIXES | _TABLES.keys()
_READ_ROWS = 256  # rows read from a Parquet file at a time, and of an npz file for its scale


@dataclass(frozen=True)
class Shard:
    """Images that one worker labels together.

    Attributes:
        kind: type of the input.
        names: image files, or one npz or Parquet file.
        start: first row of the npz file, or row group of the Parquet file.
        stop: end of these rows or row groups.
        first_row: number of the first row in its file.
        n: number of images.
        sha256: fingerprint of names, sizes and modification times of the files.
    """

    kind: Literal["files", "npz", "parquet"]
    names: tuple[str, ...]
    start: int
    stop: int
    first_row: int
    n: int
    sha256: str

    def to_json(self) -> str:
        """Return text that `from_json` reads, in another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Shard:
        """Read the text of `to_json`."""
        content = json.loads(text)
        return cls(**content | {"names": tuple(content["names"])})


def plan_shards(
    files: Iterable[Path],
    shape: Shape,
    *,
    shard_size: int,
    column: str,
    border: float | None = None,
    progress: Progress | None = None,
) -> list[Shard]:
    """Divide files into shards, in order; the same files give the same shards.

    Args:
        files: npz files with uint8 `images` [N, C, H, W], Parquet files, and image files (all others).
        shape: (C, H, W) of the model input, required of npz files.
        shard_size: maximum number of images per shard; Parquet files are divided between row groups only.
        column: image column of Parquet files.
        border: `border_brightness` of the training images, 0-255; None if unknown.
        progress: listener for doubts about the scale and inversion of npz files.

    Raises:
        AaeError: no images are given, or an npz or Parquet file is absent, damaged, or holds no such images.
    """
    shards: list[Shard] = []
    for kind, group in groupby(files, lambda path: _TABLES.get(path.suffix.lower(), "files")):
        if kind == "files":
            shards += _cut_files(list(group), shard_size)
            continue
        for path in group:
            if kind == "parquet":
                shards += _cut_parquet(path, column, shard_size)
                continue
            shards += _cut_npz(path, shape, shard_size)
            first = _npz_images(path)[:_READ_ROWS]
            if progress and first.max(initial=0) <= 1:
                progress.say(f"{path}: its first images hold no value above 1, and pixels are 0 to 255")
            elif progress and (doubt := opposite_borders(first, border)):
                progress.say(f"{path}: of its first images, {doubt}")
    if not shards:
        raise AaeError("nothing to label: no images at the given paths")
    return shards


def _cut_files(paths: list[Path], shard_size: int) -> list[Shard]:
    shards = []
    for start in range(0, len(paths), shard_size):
        part = paths[start : start + shard_size]
        shards.append(Shard("files", tuple(map(str, part)), 0, len(part), 0, len(part), _fingerprint(part)))
    return shards


def _cut_npz(path: Path, shape: Shape, shard_size: int) -> list[Shard]:
    images = _npz_images(path)
    if images.dtype != np.uint8 or images.shape[1:] != shape:
        raise AaeError(f"{path} holds {images.dtype} images {images.shape[1:]}; the model takes uint8 {shape}")
    n = len(images)
    cuts = [(start, min(start + shard_size, n)) for start in range(0, n, shard_size)]
    return [Shard("npz", (str(path),), a, b, a, b - a, _fingerprint([path], a, b)) for a, b in cuts]


def _cut_parquet(path: Path, column: str, shard_size: int) -> list[Shard]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            names, rows = file.schema_arrow.names, [0]
            rows += [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
            kind = file.schema_arrow.field(column).type if column in names else None
    except (OSError, pyarrow.ArrowException) as error:
        raise AaeError(f"{path} is not a readable Parquet file") from error
    if kind is None:
        raise AaeError(f"{path} has no column {column!r} (--column names it); it has {', '.join(names)}")
    if not _holds_images(kind):
        raise AaeError(f"{path}: column {column!r} is {kind}; expected encoded images (binary) or their paths (string)")
    begins = np.cumsum(rows).tolist()  # first row of each row group, and the end
    shards, start = [], 0
    for group in range(1, len(begins)):
        n = begins[group] - begins[start]
        full = group + 1 == len(begins) or begins[group + 1] - begins[start] > shard_size
        if full and n:
            sha256 = _fingerprint([path], start, group, column)
            shards.append(Shard("parquet", (str(path),), start, group, begins[start], n, sha256))
        if full:
            start = group
    return shards


def _holds_images(kind: Any) -> bool:
    """Whether an Arrow type is bytes, text, or the struct of `bytes` and `path` of Hugging Face's data sets."""
    from pyarrow import types

    if types.is_struct(kind):
        return {"bytes", "path"} <= {kind.field(i).name for i in range(kind.num_fields)}
    return any(
        is_kind(kind) for is_kind in (types.is_binary, types.is_large_binary, types.is_string, types.is_large_string)
    )


def _fingerprint(paths: Iterable[Path], *rest: object) -> str:
    digest = hashlib.sha256(repr(rest).encode())
    for path in paths:
        try:
            status = path.stat()
            state = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:  # a dangling link; its row gets the error
            state = "absent"
        digest.update(os.fsencode(path) + f"\0{state}\n".encode())
    return digest.hexdigest()


def read_sources(shard: Shard, root: Path, column: str) -> Iterator[tuple[str, Source]]:
    """Yield the name and the source of each image of a shard, for `decode`.

    Images of npz and Parquet files are named by row: `file.npz#17`. Paths are relative to `root`; paths inside a
    Parquet file are relative to its folder.

    Raises:
        AaeError: an npz or Parquet file cannot be read.
    """
    if shard.kind == "files":
        yield from ((name, root / name) for name in shard.names)
        return
    path = root / shard.names[0]
    rows = _npz_images(path)[shard.start : shard.stop] if shard.kind == "npz" else _parquet_rows(path, shard, column)
    for row, source in enumerate(rows, shard.first_row):
        yield f"{shard.names[0]}#{row}", source


def decode(item: tuple[str, Source], decoder: Decoder) -> Decoded:
    """Decode one image of `read_sources`, or return its error. Pixels of npz files are returned unchanged."""
    name, source = item
    if isinstance(source, Path):
        return decoder.decode([source])[0]._replace(path=Path(name))
    if isinstance(source, np.ndarray):
        return Decoded(Path(name), source)
    if source is None:
        return Decoded(Path(name), error="the row holds no image")
    return decoder.decode_content(source, Path(name))


@lru_cache(maxsize=1)  # consecutive shards share one file
def _npz_images(path: Path) -> NDArray[np.uint8]:
    try:
        return map_images(path)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):  # compressed, or not an archive of images
        pass
    try:
        with np.load(path, allow_pickle=False) as content:
            return np.asarray(content["images"])
    except Exception as error:  # the header readers of zipfile and numpy raise several types
        raise AaeError(f"{path} is not an npz file with images: {' '.join(str(error).split())}") from error


def _parquet_rows(path: Path, shard: Shard, column: str) -> Iterator[Source]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            groups = list(range(shard.start, shard.stop))
            for batch in file.iter_batches(_READ_ROWS, row_groups=groups, columns=[column]):
                yield from map(_cell, batch.column(0).to_pylist(), repeat(path.parent))
    except (OSError, pyarrow.ArrowException) as error:
        raise AaeError(f"{path} cannot be read: {' '.join(str(error).split())}") from error


def _cell(value: Any, folder: Path) -> Source:
    if isinstance(value, dict):
        value = value["path"] if value["bytes"] is None else value["bytes"]
    return folder / value if isinstance(value, str) else value
