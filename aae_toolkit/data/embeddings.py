"""Embeddings of the splits of a data directory: written once, resumed after a kill, and read through memory maps.

Beside each split lie `<split>.embeddings.npy` and `<split>.thumbnails.npz`, small pictures with the split's labels.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from aae_toolkit.backbones.description import WEIGHTS_FILE, BackboneDescription, picture_window
from aae_toolkit.errors import AaeError
from aae_toolkit.files import atomic_path, sha256, verify_sha256
from aae_toolkit.files.archives import read_npz
from aae_toolkit.files.documents import Name
from aae_toolkit.progress import Progress, Silent

_ASIDE = ".aae-embeddings-"  # prefix of the directory of a run's finished parts
_PART = 64  # images of a part
_VIEWS_BY_SIZE = ((5_000, 8), (20_000, 4))  # most training images, and the views of each
_FEWEST_VIEWS = 2


class EmbeddingsIndex(BaseModel):
    """Entry of `dataset.json`: views of each training image, and checksums by file name."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    n_views: int = Field(ge=0, le=1000)
    sha256: dict[Name, str]


class SplitEmbedder(Protocol):
    """Backbone that embeds images; `weights` is the content of its file."""

    description: BackboneDescription
    weights: bytes

    def __call__(self, images: NDArray[np.uint8], n_views: int, seed: tuple[int, ...]) -> NDArray[np.float16]:
        """Embed images uint8 [n, C, H, W] and views of each: float16 [n, 1 + V, F]."""


class EmbeddedSplit(Protocol):
    """Images uint8 [N, C, H, W] and labels int64 [N] of a split."""

    @property
    def images(self) -> NDArray[Any]:
        """Images."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels."""


def default_views(n_images: int) -> int:
    """Return the number of views to embed of each of `n_images` training images."""
    return next((views for most, views in _VIEWS_BY_SIZE if n_images <= most), _FEWEST_VIEWS)


def embeddings_file(split: str) -> str:
    """Return the name of the file with a split's embeddings."""
    return f"{split}.embeddings.npy"


def thumbnails_file(split: str) -> str:
    """Return the name of the file with a split's small pictures and labels."""
    return f"{split}.thumbnails.npz"


def thumbnails(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average images [N, C, H, W] down to sides of at most 32 pixels."""
    window = picture_window(images.shape[1:])
    if window == 1:
        return images
    small = np.empty((*images.shape[:2], *(-(-side // window) for side in images.shape[2:])), dtype=np.uint8)
    for i, image in enumerate(images):
        sums: NDArray[Any] = image.astype(np.uint32)
        counts: NDArray[Any] = np.array(1)
        for axis in (1, 2):
            edges = np.arange(0, image.shape[axis], window)
            sums = np.add.reduceat(sums, edges, axis=axis)
            counts = np.multiply.outer(counts, np.diff(edges, append=image.shape[axis]))
        small[i] = np.rint(sums / counts)
    return small


def write_embeddings(
    directory: Path,
    splits: Mapping[Any, EmbeddedSplit],
    embedder: SplitEmbedder,
    n_views: int,
    seed: int,
    placed: ExitStack,
    kept: EmbeddingsIndex | None = None,
    progress: Progress | None = None,
) -> EmbeddingsIndex:
    """Embed every split; `placed` moves the files to their places when it is closed.

    Finished parts stay in a directory aside until `remove_parts`, and a run with the same images, backbone and views
    continues from them.

    Args:
        directory: the data directory.
        splits: images and labels by the split's name.
        embedder: the backbone.
        n_views: views of each training image, V; other splits have none.
        seed: random seed of the views.
        placed: stack that the files' places belong to.
        kept: embeddings of the same splits, backbone and views that are there already, and stay if they are whole.
        progress: listener for progress.

    Raises:
        AaeError: an embedding is not finite.
        OSError: the directory cannot be written.
    """
    if kept is not None and _are_whole(directory, kept):
        return kept
    parts = directory / f"{_ASIDE}{_fingerprint(splits, embedder.description, n_views, seed)}"
    for other in directory.glob(f"{_ASIDE}*"):
        if other != parts:
            shutil.rmtree(other)
    checksums = {}

    def place(name: str) -> Path:
        return placed.enter_context(atomic_path(directory / name))

    for number, (split, content) in enumerate(splits.items()):
        pixels = content.images
        views = n_views if split.startswith("train") else 0
        shape = len(pixels), 1 + views, embedder.description.embedding_size
        written = place(embeddings_file(split))
        table = np.lib.format.open_memmap(written, mode="w+", dtype=np.float16, shape=shape)
        firsts = range(0, len(pixels), _PART)
        for first in (progress or Silent()).track(firsts, f"embedding {split}", len(firsts)):
            chunk = pixels[first : first + _PART]
            file = parts / f"{split}-{first}.npz"
            table[first : first + len(chunk)] = _part(file, chunk, embedder, views, (seed, number, first))
        table.flush()
        checksums[embeddings_file(split)] = sha256(written)
        small = place(thumbnails_file(split))
        np.savez(small, images=thumbnails(pixels), labels=content.labels)
        checksums[thumbnails_file(split)] = sha256(small)
    weights = place(WEIGHTS_FILE)
    weights.write_bytes(embedder.weights)
    return EmbeddingsIndex(n_views=n_views, sha256=checksums | {WEIGHTS_FILE: sha256(weights)})


def remove_parts(directory: Path) -> None:
    """Remove the finished parts that `write_embeddings` keeps."""
    for parts in directory.glob(f"{_ASIDE}*"):
        shutil.rmtree(parts)


def remove_embeddings(directory: Path, index: EmbeddingsIndex) -> None:
    """Remove the files of embeddings that an index no longer names."""
    for name in index.sha256:
        if name.endswith((".embeddings.npy", ".thumbnails.npz")) or name == WEIGHTS_FILE:
            (directory / Path(name).name).unlink(missing_ok=True)


def _are_whole(directory: Path, index: EmbeddingsIndex) -> bool:
    """Whether every file of embeddings is there and has its recorded checksum."""
    try:
        for name, checksum in index.sha256.items():
            verify_sha256(directory / Path(name).name, checksum)
    except AaeError:
        return False
    return True


def read_table(path: Path, shape: tuple[int, int, int], *, mapped: bool) -> NDArray[np.float16]:
    """Read embeddings float16 `shape` [N, 1 + V, F] whose checksum was verified; `mapped` leaves them in the file.

    Raises:
        AaeError: the file holds anything else.
    """
    try:
        table = np.load(path, mmap_mode="c", allow_pickle=False)
    except Exception as error:  # numpy's header reader raises several types
        raise AaeError(f"{path} holds no embeddings; write the directory again") from error
    if not isinstance(table, np.ndarray) or table.shape != shape or table.dtype != np.float16:
        raise AaeError(f"{path} does not hold the embeddings float16 {shape} that its index names")
    return table if mapped else np.array(table)


def _part(
    file: Path, chunk: NDArray[np.uint8], embedder: SplitEmbedder, n_views: int, seed: tuple[int, ...]
) -> NDArray[Any]:
    """Return the embeddings of a part, from its file if that is whole, else computed and kept there."""
    shape = len(chunk), 1 + n_views, embedder.description.embedding_size
    try:
        kept = read_npz(file, ("embeddings",))["embeddings"]  # zip archives have checksums
        if kept.shape == shape and kept.dtype == np.float16:
            return kept
    except (OSError, ValueError):
        pass
    embeddings = embedder(chunk, n_views, seed)
    with atomic_path(file) as temporary:
        np.savez(temporary, embeddings=embeddings)
    return embeddings


def _fingerprint(splits: Mapping[Any, EmbeddedSplit], description: BackboneDescription, n_views: int, seed: int) -> str:
    """Return a checksum of all that embeddings depend on."""
    summed = hashlib.sha256(f"{description.model_dump_json()} {n_views} {seed}".encode())
    for split, content in splits.items():
        summed.update(f"{split} {content.images.shape}".encode())
        summed.update(np.ascontiguousarray(content.images).data)
    return summed.hexdigest()[:16]
