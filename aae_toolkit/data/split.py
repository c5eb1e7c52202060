"""One split in memory: images, labels and, where a backbone embedded them, embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

UNLABELED = -1
SplitName = Literal["train_labeled", "train_unlabeled", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train_labeled", "train_unlabeled", "validation", "test")


def evenly(n: int, most: int) -> NDArray[np.int64]:
    """Choose indices below n, at most `most`, evenly spaced."""
    return np.linspace(0, n - 1, min(n, most)).astype(np.int64)


@dataclass(frozen=True)
class Split:
    """Images and labels of one split.

    Attributes:
        images: [N, C, H, W], uint8 in 0-255, or, in memory only, float32 in [0, 1].
        labels: int64 [N], -1 where unknown.
        embeddings: float16 [N, 1 + V, F], of each image and V views of it, where `images` are thumbnails; else None.
    """

    images: NDArray[Any]
    labels: NDArray[np.int64]
    embeddings: NDArray[np.float16] | None = None

    @property
    def inputs(self) -> NDArray[Any]:
        """Inputs of an encoder: embeddings [N, 1 + V, F] where there are some, else the images."""
        return self.images if self.embeddings is None else self.embeddings

    @property
    def compared(self) -> NDArray[Any]:
        """Basis of neighbours: embeddings [N, F] of the images themselves where there are some, else the images."""
        return self.images if self.embeddings is None else self.embeddings[:, 0]

    @property
    def averaged(self) -> NDArray[Any]:
        """Means of an image's embedding and its views', float32 [N, F], where there are some, else the images."""
        return self.images if self.embeddings is None else self.embeddings.mean(axis=1, dtype=np.float32)

    def of(self, chosen: NDArray[Any]) -> Split:
        """Return the chosen images, by index or mask."""
        embeddings = None if self.embeddings is None else self.embeddings[chosen]
        return Split(self.images[chosen], self.labels[chosen], embeddings)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)


def join_unlabeled(first: Split, second: Split) -> Split:
    """Join two splits, without their labels."""
    images, embeddings = np.concatenate([first.images, second.images]), None
    if first.embeddings is not None and second.embeddings is not None:
        embeddings = np.concatenate([first.embeddings, second.embeddings])
    return Split(images, np.full(len(images), UNLABELED), embeddings)
