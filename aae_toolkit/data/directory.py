"""Data directory: four npz files, and `dataset.json` with their description and checksums."""

from __future__ import annotations

import math
import os
import struct
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from aae_toolkit.data.sources import UNLABELED, Source, SourceName
from aae_toolkit.data.splits import split_indices
from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.files import atomic_path, require_index, sha256, verify_sha256, write_text
from aae_toolkit.files.archives import read_npz
from aae_toolkit.files.documents import Name, read_document
from aae_toolkit.files.lock import lock_directory
from aae_toolkit.progress import Progress
from aae_toolkit.text import one_line

SplitName = Literal["train_labeled", "train_unlabeled", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train_labeled", "train_unlabeled", "validation", "test")
INDEX = "dataset.json"
_ZIP_NAME_LENGTH_AT = 26  # offset in a member's local header, before the name and the extra field


@dataclass(frozen=True)
class Split:
    """Images and labels of one split.

    Attributes:
        images: [N, C, H, W], uint8 in 0-255, or, in memory only, float32 in [0, 1].
        labels: int64 [N], -1 where unknown.
    """

    images: NDArray[Any]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)


Side = Annotated[int, Field(ge=1, le=2**16)]


class SplitIndex(BaseModel):
    """Entry of `dataset.json` for one split; `class_counts` leaves out images without a label."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    n: int = Field(ge=0)
    class_counts: dict[Name, int]
    sha256: str


class DatasetIndex(BaseModel):
    """Content of `dataset.json`; `image_shape` is (C, H, W) in pixels."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: Literal["aae-dataset-1"] = "aae-dataset-1"
    source: SourceName
    seed: int
    image_shape: tuple[Side, Side, Side]
    class_names: tuple[Name, ...]
    splits: dict[SplitName, SplitIndex]


def write_data_directory(
    path: Path,
    source: Source,
    labeled: int | None,
    validation: int | None,
    test: int | None,
    seed: int,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> DatasetIndex:
    """Split `source` and write the data directory.

    All splits are written to temporary files first. Then the old index is removed, the splits take their places, and
    the new index is written last: a killed run leaves a directory that `DataDirectory` refuses, never a mixture.

    Args:
        path: data directory.
        source: images and labels.
        labeled: size of the labelled set, in images; None takes the source's default.
        validation: size of the validation set; None takes the source's default.
        test: size of the test set; None takes the source's own test set, or its default size.
        seed: random seed of the split.
        overwrite: replace other splits that are already there.
        progress: listener for warnings.

    Raises:
        AaeError: the directory cannot be written, or another process is writing there.
        UsageError: the source has too few images for these sizes, or other splits are there without `overwrite`.
    """
    splits = _split(source, labeled, validation, test, seed)
    try:
        with lock_directory(path, progress), ExitStack() as placed:
            written = {name: placed.enter_context(atomic_path(path / f"{name}.npz")) for name in SPLITS}
            index = DatasetIndex(
                source=source.name,
                seed=seed,
                image_shape=source.images.shape[1:],
                class_names=source.class_names,
                splits={name: _write_split(written[name], splits[name], source.class_names) for name in SPLITS},
            )
            content = index.model_dump_json(indent=2) + "\n"
            if not overwrite:
                _refuse_other_splits(path / INDEX, content)
            (path / INDEX).unlink(missing_ok=True)
            placed.close()
            write_text(path / INDEX, content)
    except OSError as error:
        raise AaeError(f"data directory {path} cannot be written: {error.strerror or error}") from error
    return index


def _split(
    source: Source, labeled: int | None, validation: int | None, test: int | None, seed: int
) -> dict[SplitName, Split]:
    """Draw every split; a source's own test set stays unchanged."""
    if test is not None and source.test_images is not None:
        raise UsageError(f"{source.name} brings its own test set of {len(source.test_images)} images; leave --test out")
    indices = split_indices(
        source.labels,
        source.default_labeled if labeled is None else labeled,
        source.default_validation if validation is None else validation,
        0 if source.test_images is not None else source.default_test if test is None else test,
        seed,
    )
    splits: dict[SplitName, Split] = {
        name: Split(source.images[indices[name]], source.labels[indices[name]]) for name in SPLITS
    }
    splits["train_unlabeled"].labels[:] = UNLABELED
    if source.test_images is not None and source.test_labels is not None:
        splits["test"] = Split(source.test_images, source.test_labels)
    return splits


def _refuse_other_splits(index: Path, content: str) -> None:
    """Raise `UsageError` if the directory has another index: models may have been trained on its splits."""
    if index.exists() and index.read_bytes() != content.encode():
        raise UsageError(
            f"{index.parent} already holds other splits ({INDEX}), and models may have been trained on them; replace"
            " them with --overwrite, or give another --dir-path"
        )


def _write_split(path: Path, split: Split, class_names: tuple[str, ...]) -> SplitIndex:
    np.savez(path, images=split.images, labels=split.labels)
    counts = np.bincount(split.labels[split.labels != UNLABELED], minlength=len(class_names))
    return SplitIndex(
        n=len(split),
        class_counts=dict(zip(class_names, counts.tolist(), strict=True)),
        sha256=sha256(path),
    )


class DataDirectory:
    """Open data directory; each split is read and verified on demand."""

    def __init__(self, path: Path) -> None:
        """Open `path`.

        Raises:
            AaeError: it is absent, or not a data directory.
        """
        self.path = path
        index = path / INDEX
        require_index(index, "data directory", f"write one with: aae init-datasets --dir-path {path}")
        try:
            self.index = read_document(index, DatasetIndex)
            if missing := set(SPLITS) - set(self.index.splits):
                raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        except (OSError, ValueError) as error:
            raise AaeError(
                f"{index} is not the index of a data directory: {error}; write it again with aae init-datasets"
            ) from error

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of an image: (C, H, W) in pixels."""
        return self.index.image_shape

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names by class index; empty if no image has a label."""
        return self.index.class_names

    def size(self, name: SplitName) -> int:
        """Return the number of images of a split."""
        return self.index.splits[name].n

    def load(self, name: SplitName, *, mapped: bool = False) -> Split:
        """Read one split; `mapped` leaves its images in the file until they are used.

        Raises:
            AaeError: the file is absent, damaged, or contradicts the index.
        """
        entry = self.index.splits[name]
        path = self.path / f"{name}.npz"
        verify_sha256(path, entry.sha256)
        shape = (entry.n, *self.image_shape)
        try:
            content = read_npz(path, ("labels",) if mapped else ("images", "labels"), inflated=_most_bytes(shape))
            split = Split(map_images(path) if mapped else content["images"], content["labels"])
        except Exception as error:  # numpy's header reader raises several types
            raise AaeError(f"{path} is not a split of a data directory: {one_line(str(error))}") from error
        if split.images.shape != shape or split.images.dtype != np.uint8 or split.labels.shape != shape[:1]:
            raise AaeError(f"{path} holds {split.images.dtype} {split.images.shape}; {INDEX} says uint8 {shape}")
        known = range(UNLABELED, len(self.class_names))
        if split.labels.dtype != np.int64 or not np.isin(split.labels, known).all():
            raise AaeError(f"{path} holds {split.labels.dtype} labels; expected int64 from -1 to {known[-1]}")
        return split


def _most_bytes(shape: tuple[int, ...]) -> int:
    """Return the size in bytes of images of `shape` with labels, with room for the headers."""
    return math.prod(shape) + 8 * shape[0] + 2**16


def map_images(path: Path) -> NDArray[np.uint8]:
    """Return the images of a split as a private memory map; numpy itself cannot map members of an npz file.

    Raises:
        ValueError: the images are not stored as `write_data_directory` stores them.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo("images.npy")
    except (KeyError, zipfile.BadZipFile) as error:
        raise ValueError("it holds no images") from error
    with path.open("rb") as file:
        file.seek(member.header_offset + _ZIP_NAME_LENGTH_AT)
        name_length, extra_length = struct.unpack("<HH", file.read(4))
        file.seek(name_length + extra_length, os.SEEK_CUR)
        np.lib.format.read_magic(file)
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        if member.compress_type != zipfile.ZIP_STORED or dtype != np.uint8 or fortran_order:
            raise ValueError("its images are compressed, or not uint8 in C order")
        return np.memmap(file, np.uint8, mode="c", offset=file.tell(), shape=shape)
