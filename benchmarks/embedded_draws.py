"""Draws of embedded images that share one embedding, so that many draws cost little more than one.

`aae init-datasets --backbone` embeds every image and eight random views of each training image for each draw. Here,
each image is embedded once with many views, and each draw is given some of them by its own seed. All else of a data
directory is written by the code of `aae init-datasets`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from aae_toolkit.backbones.description import BackboneDescription
from aae_toolkit.backbones.embedder import Embedder
from aae_toolkit.data.directory import write_data_directory
from aae_toolkit.data.embeddings import default_views
from aae_toolkit.data.sources import Source, load_source
from aae_toolkit.files import atomic_path

_SHAPE = (3, 224, 224)  # of an image: (C, H, W)
_VIEWS = 24  # of each image, of which a draw takes eight
_PART = 64  # images embedded at once


class SharedEmbedder:
    """Embedder that looks images up; it fits `write_data_directory`.

    Attributes:
        description: description of the backbone.
        weights: content of `backbone.safetensors`.
        table: embeddings float16 [N, 1 + V, F] of all images, and of V views of each.
    """

    def __init__(self, embedder: Embedder, images: NDArray[np.uint8], file: Path) -> None:
        """Read `file`, or embed all images uint8 [N, C, H, W] into it."""
        self.description: BackboneDescription = embedder.description
        self.weights: bytes = embedder.weights
        self._rows = {image.tobytes(): row for row, image in enumerate(images)}
        if not file.exists():
            firsts = range(0, len(images), _PART)
            parts = [embedder(images[first : first + _PART], _VIEWS, (0, first)) for first in firsts]
            with atomic_path(file) as temporary:
                np.savez(temporary, table=np.concatenate(parts), sha256=self.description.sha256)
        with np.load(file) as stored:
            if str(stored["sha256"]) != self.description.sha256:
                raise SystemExit(f"{file} is of other weights; delete it")
            self.table: NDArray[np.float16] = stored["table"]

    def __call__(self, images: NDArray[np.uint8], n_views: int, seed: tuple[int, ...]) -> NDArray[np.float16]:
        """Look up images uint8 [n, C, H, W] and views of each, chosen by `seed`: float16 [n, 1 + n_views, F]."""
        rng = np.random.default_rng(seed)
        rows = np.array([self._rows[image.tobytes()] for image in images], dtype=np.int64)
        views = [[0, *(1 + rng.permutation(self.table.shape[1] - 1)[:n_views])] for _ in rows]
        return self.table[rows[:, np.newaxis], np.array(views, dtype=np.int64).reshape(len(rows), 1 + n_views)]


class Draws:
    """Draws of photographs with a backbone."""

    def __init__(self, backbone: str, photos_dir: Path, weights: Path, file: Path) -> None:
        """Read the images, and embed them into `file` unless it is there."""
        self.source: Source = load_source("folder", photos_dir, photos_dir, _SHAPE)
        embedder = Embedder(backbone, weights, _SHAPE, torch.device("cpu"))
        self.embedder = SharedEmbedder(embedder, self.source.images, file)

    def write(self, labeled: int, seed: int, directory: Path) -> None:
        """Write the data directory of a draw."""
        write_data_directory(
            directory,
            self.source,
            labeled,
            None,
            None,
            seed,
            embedder=self.embedder,
            n_views=default_views(len(self.source.images)),
        )
