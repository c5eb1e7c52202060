"""Data directory: four npz files, and `dataset.json` with their description and checksums."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from aae_toolkit.backbones.description import WEIGHTS_FILE, BackboneDescription, Shape, thumbnail_shape
from aae_toolkit.data.embeddings import (
    EmbeddingsIndex,
    SplitEmbedder,
    embeddings_file,
    read_table,
    remove_embeddings,
    remove_parts,
    thumbnails_file,
    write_embeddings,
)
from aae_toolkit.data.preparation import Preparation
from aae_toolkit.data.sources import UNLABELED, Source, SourceName
from aae_toolkit.data.split import SPLITS, Split, SplitName
from aae_toolkit.data.split_files import read_split
from aae_toolkit.data.splits import draw_splits
from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.files import atomic_path, require_index, sha256, verify_sha256, write_text
from aae_toolkit.files.documents import Name, read_document
from aae_toolkit.files.lock import lock_directory
from aae_toolkit.progress import Progress

INDEX = "dataset.json"


class SplitIndex(BaseModel):
    """Entry of `dataset.json` for one split; `class_counts` leaves out images without a label."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    n: int = Field(ge=0)
    class_counts: dict[Name, int]
    sha256: str


class DatasetIndex(BaseModel):
    """Content of `dataset.json`; `image_shape` is (C, H, W) in pixels, `preparation` is absent in older files."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: Literal["aae-dataset-1"] = "aae-dataset-1"
    source: SourceName
    seed: int
    image_shape: Shape
    class_names: tuple[Name, ...]
    preparation: Preparation | None = None
    splits: dict[SplitName, SplitIndex]
    backbone: BackboneDescription | None = None
    embeddings: EmbeddingsIndex | None = None


def write_data_directory(
    path: Path,
    source: Source,
    labeled: int | None,
    validation: int | None,
    test: int | None,
    seed: int,
    *,
    overwrite: bool = False,
    embedder: SplitEmbedder | None = None,
    n_views: int = 0,
    progress: Progress | None = None,
) -> DatasetIndex:
    """Split `source` and write the data directory.

    Files are temporary first. Then the old index is removed, they take their places, and the new index is written last:
    a killed run leaves a directory that `DataDirectory` refuses, never a mixture.

    Args:
        path: data directory.
        source: images and labels.
        labeled: size of the labelled set, in images; None takes the source's default, as for `validation`.
        validation: size of the validation set.
        test: size of the test set; None takes the source's own test set, or its default size.
        seed: random seed of the split.
        overwrite: replace other splits that are already there.
        embedder: backbone that embeds every image; None: no embeddings.
        n_views: views to embed of each training image.
        progress: listener for warnings and progress.

    Raises:
        AaeError: the directory cannot be written, or another process is writing there.
        UsageError: the source has too few images for these sizes, or other splits are there without `overwrite`.
    """
    splits = draw_splits(source, labeled, validation, test, seed)
    try:
        with lock_directory(path, progress), ExitStack() as placed:
            written = {name: placed.enter_context(atomic_path(path / f"{name}.npz")) for name in SPLITS}
            index = DatasetIndex(
                source=source.name,
                seed=seed,
                image_shape=source.images.shape[1:],
                class_names=source.class_names,
                preparation=source.preparation,
                splits={name: _write_split(written[name], splits[name], source.class_names) for name in SPLITS},
            )
            earlier = _earlier(path / INDEX)
            index = index.model_copy(update={"backbone": embedder.description if embedder else None})
            if not overwrite and (path / INDEX).exists():
                _refuse_other_splits(path, earlier, index, n_views)
            if embedder is not None:
                kept = earlier.embeddings if earlier and earlier.backbone == index.backbone and not overwrite else None
                kept = write_embeddings(path, splits, embedder, n_views, seed, placed, kept, progress)
                index = index.model_copy(update={"embeddings": kept})
            _place(path, index, earlier, placed)
    except OSError as error:
        raise AaeError(f"data directory {path} cannot be written: {error.strerror or error}") from error
    return index


def _place(path: Path, index: DatasetIndex, earlier: DatasetIndex | None, placed: ExitStack) -> None:
    """Replace the files of an earlier index."""
    (path / INDEX).unlink(missing_ok=True)
    if earlier and earlier.embeddings and index.embeddings is None:
        remove_embeddings(path, earlier.embeddings)
    placed.close()
    write_text(path / INDEX, index.model_dump_json(indent=2, exclude_none=True) + "\n")
    remove_parts(path)


def earlier_class_names(path: Path) -> tuple[str, ...]:
    """Return the class names of an existing data directory, in its order; none if there is none."""
    earlier = _earlier(path / INDEX)
    return earlier.class_names if earlier else ()


def _earlier(index: Path) -> DatasetIndex | None:
    """Read an earlier index; None if there is none, or a damaged one."""
    try:
        return read_document(index, DatasetIndex)
    except (OSError, ValueError):
        return None


def _refuse_other_splits(path: Path, earlier: DatasetIndex | None, index: DatasetIndex, n_views: int) -> None:
    """Raise `UsageError` if other splits or embeddings are there, for models; embeddings may be added."""
    held, message = "splits", ""
    if earlier is not None and earlier.splits == index.splits and earlier.class_names == index.class_names:
        if earlier.embeddings is None or (earlier.backbone, earlier.embeddings.n_views) == (index.backbone, n_views):
            return
        held, message = "embeddings", f" of {earlier.backbone.name if earlier.backbone else 'another backbone'}"
    raise UsageError(
        f"{path} already holds other {held}{message} ({INDEX}), and models may have been trained on them; replace"
        " them with --overwrite, or give another --data"
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
        require_index(index, "data directory", f"write one with: aae init-datasets --data {path}")
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

    @property
    def preparation(self) -> Preparation | None:
        """Preparation of each image; None if the index does not say."""
        return self.index.preparation

    @property
    def backbone(self) -> BackboneDescription | None:
        """Backbone that embedded the images; None if there are no embeddings."""
        return self.index.backbone

    @property
    def backbone_file(self) -> Path | None:
        """File with the weights of that backbone."""
        return self.path / WEIGHTS_FILE if self.backbone else None

    @property
    def inputs_bytes(self) -> int:
        """Size of what training reads, in bytes."""
        n = self.size("train_labeled") + self.size("train_unlabeled")
        if self.index.backbone is None or self.index.embeddings is None:
            return n * math.prod(self.image_shape)
        features = (1 + self.index.embeddings.n_views) * self.index.backbone.embedding_size
        return n * (2 * features + math.prod(thumbnail_shape(self.image_shape)))

    def load(self, name: SplitName, *, mapped: bool = False) -> Split:
        """Read one split; `mapped` leaves its images in the file until they are used.

        Raises:
            AaeError: the file is absent, damaged, or contradicts the index.
        """
        entry = self.index.splits[name]
        return self._read(f"{name}.npz", entry.sha256, (entry.n, *self.image_shape), mapped=mapped)

    def load_inputs(self, name: SplitName, *, mapped: bool = False) -> Split:
        """Read what training takes of one split: embeddings with thumbnails where there are some, else the images.

        Raises:
            AaeError: a file is absent, damaged, or contradicts the index.
        """
        backbone, embeddings = self.index.backbone, self.index.embeddings
        if backbone is None or embeddings is None:
            return self.load(name, mapped=mapped)
        n, file, small = self.size(name), embeddings_file(name), thumbnails_file(name)
        pictures = n, *thumbnail_shape(self.image_shape)
        split = self._read(small, embeddings.sha256.get(small, ""), pictures, mapped=mapped)
        verify_sha256(self.path / file, embeddings.sha256.get(file, ""))
        n_views = embeddings.n_views if name.startswith("train") else 0
        table = read_table(self.path / file, (n, 1 + n_views, backbone.embedding_size), mapped=mapped)
        return replace(split, embeddings=table)

    def _read(self, file: str, checksum: str, shape: tuple[int, ...], *, mapped: bool) -> Split:
        """Read images of `shape` [N, C, H, W] with their labels."""
        path = self.path / file
        verify_sha256(path, checksum)
        return Split(*read_split(path, shape, len(self.class_names), mapped=mapped))
