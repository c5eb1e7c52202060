"""Neighbourhoods of the training images, and the first pseudo-labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.data.split import UNLABELED, Split, evenly
from aae_toolkit.errors import UsageError
from aae_toolkit.training.blending import IMAGES, blend, taught
from aae_toolkit.training.clustering import cluster
from aae_toolkit.training.frequencies import balanced_weights, weighs_classes
from aae_toolkit.training.neighbors import (
    CANDIDATES,
    Search,
    describe_images,
    describe_in_parts,
    is_thinned,
    nearest_neighbors,
    spread_labels,
)
from aae_toolkit.training.run import Run
from aae_toolkit.training.standardizing import moments_of

_CLUSTERED = 4096  # most images that are clustered
_VALUES = ("features", "directions")  # descriptions by values that are standardized


def find_neighborhoods(
    passed: Split, labeled: Split, run: Run
) -> tuple[NDArray[np.int64] | None, NDArray[np.float32] | None]:
    """Find the neighbours of each image, int64 [N, k], and the first y, float32 [N, K]; None where not configured.

    The first y is zero where no label arrived, and for images that were not clustered.

    Raises:
        UsageError: there are too few images.
    """
    terms, n = run.config.consistency, len(passed)
    first = _clustered(passed, run) if terms.cluster_first else None
    if not (terms.lambda_pairs or terms.spread_labels):
        return None, first
    if terms.n_neighbors == 0:
        return np.arange(n)[:, np.newaxis], first
    if n <= terms.n_neighbors:
        raise UsageError(f"{n} training images have no {terms.n_neighbors} neighbours; lower n_neighbors")
    run.progress.say(f"looking for {terms.n_neighbors} neighbours of {n} images...")
    are_rows = passed.embeddings is not None or terms.likeness in _VALUES
    neighbors = labeled_neighbors = None
    if terms.lambda_pairs or (terms.spread_labels and not (terms.blend_regression and are_rows)):
        neighbors, labeled_neighbors = _search(passed, labeled, run)
    if terms.blend_regression and are_rows:
        first = _blended_rows(passed, labeled, run)
    elif neighbors is not None and labeled_neighbors is not None:
        first = _first_y(passed, labeled, neighbors, labeled_neighbors, run)
    return (neighbors if terms.lambda_pairs else None), first


def _search(passed: Split, labeled: Split, run: Run) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Find the neighbours of the images, int64 [N, k], and of the labelled ones, [L, k], where labels spread."""
    terms = run.config.consistency
    if is_thinned(len(passed)):
        run.progress.say(
            f'neighbours are sought among {CANDIDATES} images; to search all: pip install "aae-toolkit[faiss]"'
        )
    search = Search(passed.compared, run.runtime.device, likeness=terms.likeness, world=run.runtime.world)
    neighbors = search.nearest(terms.n_neighbors)
    return neighbors, search.nearest(terms.n_neighbors, of=labeled.compared) if terms.spread_labels else None


def _first_y(
    passed: Split, labeled: Split, neighbors: NDArray[np.int64], labeled_neighbors: NDArray[np.int64], run: Run
) -> NDArray[np.float32]:
    """Compute the first y of images, float32 [N, K], from the neighbours of both sets, int64 [N, k] and [L, k].

    It is certain: an unsure y leaves the hardest images to a young network, which then confirms its own guesses.
    """
    terms, device, n_categories = run.config.consistency, run.runtime.device, run.n_categories
    certain = np.eye(n_categories + 1, n_categories, dtype=np.float32)  # the last row, of zeros, is UNLABELED's
    if not terms.blend_regression:
        return certain[spread_labels(neighbors, labeled_neighbors, labeled.labels, _class_weights(labeled, run))]
    unlabeled = (part.cpu().numpy() for part in describe_in_parts(passed.images, device, terms.likeness))
    described = describe_images(labeled.images, device, terms.likeness, at=taught(len(labeled))).cpu().numpy()
    nodes = np.concatenate([neighbors, labeled_neighbors])
    weights = _class_weights(labeled, run)
    y = blend(nodes, unlabeled, described, labeled.labels, n_categories, IMAGES, weights)
    return certain[np.where(y.any(axis=1), y.argmax(axis=1), UNLABELED)]


def _blended_rows(passed: Split, labeled: Split, run: Run) -> NDArray[np.float32]:
    """Compute the first y of the rows of an epoch, float32 [N, K]; labelled rows among them keep their class."""
    n_unlabeled = run.data.size("train_unlabeled")
    rows = np.concatenate([passed.averaged[:n_unlabeled], labeled.averaged])
    terms, runtime, n_categories = run.config.consistency, run.runtime, run.n_categories
    moments, by_direction = moments_of([rows]), terms.likeness == "directions"
    features = moments.directions(rows) if by_direction else moments.standardize(rows)
    seen = features if by_direction else rows
    neighbors = nearest_neighbors(seen, terms.n_neighbors, runtime.device, likeness=terms.likeness, world=runtime.world)
    chosen = n_unlabeled + taught(len(labeled))
    weights = _class_weights(labeled, run)
    blended = blend(
        neighbors,
        [features[:n_unlabeled]],
        features[chosen],
        labeled.labels,
        n_categories,
        class_weights=weights,
    )
    return np.concatenate([blended, np.eye(n_categories, dtype=np.float32)[labeled.labels]])[: len(passed)]


def _clustered(passed: Split, run: Run) -> NDArray[np.float32]:
    """Compute the first y, float32 [N, K], by clustering an evenly thinned set; it is zero for all others."""
    likeness, device = run.config.consistency.likeness, run.runtime.device
    chosen = evenly(len(passed), _CLUSTERED)
    run.progress.say(f"looking for {run.n_categories} clusters of {len(chosen)} images...")
    features = passed.compared[chosen].astype(np.float32)
    if passed.embeddings is None:  # those of a backbone have a scale of their own
        moments = moments_of([passed.images]) if likeness in _VALUES else None
        features = describe_images(passed.images, device, likeness, moments, at=chosen).cpu().numpy()
    first = np.zeros((len(passed), run.n_categories), np.float32)
    first[chosen, cluster(features, run.n_categories)] = 1
    return first


def _class_weights(labeled: Split, run: Run) -> NDArray[np.float32] | None:
    """Weight of a label of each category, float32 [K]; None where all have 1."""
    if not weighs_classes(run.config):
        return None
    return balanced_weights(np.bincount(labeled.labels, minlength=run.n_categories))
