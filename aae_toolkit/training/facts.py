"""Facts of a training set, by which the `auto` configuration is chosen; labels of held-out tests are never read."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from aae_toolkit.config.auto import Facts
from aae_toolkit.data.arrays import TrainingData
from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.data.split import evenly
from aae_toolkit.training.neighbors import describe_images, nearest_neighbors

_SAMPLE = 8000  # most images that neighbours are sought among
_AT_ONCE = 500  # images whose pixels are in memory as float32
_CHANGED = 1500  # most images that are mirrored
_NEIGHBORS = 10
_DEVIATION = 0.1  # of an image's range of brightness, from which a pixel is ink
_ENOUGH_LABELS = 50  # validation labels from which class shares are known
_CLUSTERS = 10  # where the number of classes is not known


def measure_facts(data: TrainingData, n_categories: int | None = None) -> Facts:
    """Measure the facts of training data; the same data gives the same facts.

    Args:
        data: labelled, unlabelled and validation images.
        n_categories: number of categories asked for; None: the number of classes.
    """
    unlabeled, labeled = (data.load_inputs(name, mapped=True) for name in ("train_unlabeled", "train_labeled"))
    n_classes = len(data.class_names)
    counts = np.bincount(labeled.labels[labeled.labels != UNLABELED], minlength=n_classes)
    n = len(unlabeled)
    n_images = n if n >= len(labeled) else n + len(labeled)  # of an epoch
    chosen = evenly(n_images, _SAMPLE)
    parts = unlabeled.images[chosen[chosen < n]], labeled.images[chosen[chosen >= n] - n]
    sample = _to_uint8(np.concatenate(parts))
    return Facts(
        image_shape=data.image_shape,
        n_images=n_images,
        n_classes=n_classes,
        labels_per_class=int(counts.min()) if n_classes else 0,
        class_shares=_class_shares(data, counts),
        ink=ink(sample),
        kept=neighbors_kept(sample, n_categories or n_classes or _CLUSTERS),
    )


def ink(images: NDArray[np.uint8]) -> float:
    """Measure the share of pixels that differ from the background, which is the median of the border.

    Args:
        images: uint8 [N, C, H, W].
    """
    parts = (images[first : first + _AT_ONCE] for first in range(0, len(images), _AT_ONCE))
    return float(sum(_inked(part) for part in parts) / (len(images) * images.shape[2] * images.shape[3]))


def _inked(images: NDArray[np.uint8]) -> int:
    """Count the pixels of images [N, C, H, W] that differ from the background."""
    values = images.astype(np.float32)
    edges = (values[:, :, 0], values[:, :, -1], values[:, :, :, 0], values[:, :, :, -1])
    background = np.median(np.concatenate(edges, axis=-1), axis=-1)[:, :, None, None]
    spans = values.max(axis=(1, 2, 3)) - values.min(axis=(1, 2, 3))
    differs = np.abs(values - background).max(axis=1) > _DEVIATION * spans[:, None, None]
    return int(differs.sum())


def neighbors_kept(images: NDArray[np.uint8], n_clusters: int) -> dict[str, float]:
    """Measure, for each way to mirror or turn, how many of an image's neighbours stay in the image's cluster.

    The share is relative to the unchanged image's, so that it is 1 where a change makes no difference.

    Args:
        images: uint8 [N, C, H, W].
        n_clusters: number of clusters of the images' gradients, by k-means.
    """
    from sklearn.cluster import KMeans

    if len(images) <= _NEIGHBORS:
        return {}
    described = describe_images(images, torch.device("cpu"), "gradients")
    clusters = KMeans(min(n_clusters, len(images)), n_init=1, random_state=0).fit_predict(described.numpy())
    some = evenly(len(images), _CHANGED)
    own = _clusters_near(images, images[some], clusters)
    typical = np.array([np.bincount(row).argmax() for row in own])[:, None]
    before = (own == typical).mean()
    changes = {"horizontal_flip": images[some][..., ::-1], "vertical_flip": images[some][..., ::-1, :]}
    if images.shape[2] == images.shape[3]:
        changes["quarter_turns"] = np.rot90(images[some], axes=(2, 3))
    return {
        name: float((_clusters_near(images, np.ascontiguousarray(changed), clusters) == typical).mean() / before)
        for name, changed in changes.items()
    }


def _clusters_near(images: NDArray[np.uint8], of: NDArray[np.uint8], clusters: NDArray[np.int64]) -> NDArray[np.int64]:
    """Find the clusters of the images nearest to others, int64 [M, k]."""
    near: NDArray[np.int64] = clusters[nearest_neighbors(images, _NEIGHBORS, torch.device("cpu"), of=of)]
    return near


def _class_shares(data: TrainingData, labeled_counts: NDArray[np.int64]) -> tuple[float, ...]:
    """Compute each class's share of the validation images, or of the labelled ones; nothing from too few labels."""
    labels = data.load_inputs("validation").labels
    counts = np.bincount(labels[labels != UNLABELED], minlength=len(data.class_names))
    counts = counts if counts.sum() >= _ENOUGH_LABELS else labeled_counts
    return tuple((counts / counts.sum()).tolist()) if counts.sum() >= _ENOUGH_LABELS else ()


def _to_uint8(images: NDArray[np.uint8 | np.float32]) -> NDArray[np.uint8]:
    """Turn images in [0, 1], as arrays in memory may be, into uint8."""
    return images if images.dtype == np.uint8 else np.rint(images * 255).astype(np.uint8)  # type: ignore[return-value]
