"""Baselines by name: what anyone would try first with the same images and labels. No setting was tuned.

A method takes a `Problem` and labels its test images. Adding one is an entry in `WITH_LABELS` or `WITHOUT_LABELS`.
"""

from __future__ import annotations

import functools
import hashlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rows import Task
from scipy.optimize import linear_sum_assignment  # noqa: TID253
from scipy.sparse import csr_array  # noqa: TID253
from sklearn.cluster import KMeans  # noqa: TID253
from sklearn.exceptions import ConvergenceWarning  # noqa: TID253
from sklearn.linear_model import LogisticRegression  # noqa: TID253
from sklearn.neighbors import KNeighborsClassifier  # noqa: TID253
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier  # noqa: TID253
from sklearn.svm import SVC  # noqa: TID253

from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.data.split import SPLITS, SplitName
from aae_toolkit.evaluation import contingency_table, majority_map
from aae_toolkit.training.neighbors import describe_images

Features = NDArray[np.float32]
Labels = NDArray[np.int64]

EMBEDDINGS = "embeddings.npz"  # in a data directory: float32 [N, D] for each split, by its name
_NEIGHBORS = 10
_ROWS = 1000  # images compared at once
_SELF_TRAINED = 10000  # most unlabelled images of self-training
_SHADES = 4  # bins of a channel in a histogram of colours


@dataclass(frozen=True)
class Problem:
    """Features and labels of one draw.

    Attributes:
        features: float32 [N, D] by split.
        labels: classes int64 [N] of `train_labeled` and `validation`.
        n_categories: number of categories to find, K; 0 with labels.
        one_to_one: whether categories are matched to classes one to one.
        seed: seed of the draw.
    """

    features: Mapping[SplitName, Features]
    labels: Mapping[SplitName, Labels]
    n_categories: int
    one_to_one: bool
    seed: int


Method = Callable[[Problem], Labels]


def pixels(data: DataDirectory, split: SplitName) -> Features:
    """Pixels in [0, 1]."""
    images = data.load(split).images
    return (images.reshape(len(images), -1) / 255).astype(np.float32)


def gradients(data: DataDirectory, split: SplitName) -> Features:
    """Histograms of oriented gradients, as the search for neighbours computes them."""
    return describe_images(data.load(split).images, torch.device("cpu"), "gradients").numpy()


def colors(data: DataDirectory, split: SplitName) -> Features:
    """Roots of the share of pixels in each of 4 x 4 x 4 colours."""
    images = data.load(split).images
    shades = images.reshape(*images.shape[:2], -1).astype(np.int64) * _SHADES // 256
    bins = (shades * _SHADES ** np.arange(3)[:, np.newaxis]).sum(axis=1)
    shares = np.stack([np.bincount(row, minlength=_SHADES**3) / row.size for row in bins])
    return np.sqrt(shares).astype(np.float32)


def embeddings(data: DataDirectory, split: SplitName) -> Features:
    """Embeddings stored in the data directory; a data set that has them names them in `features`."""
    with np.load(data.path / EMBEDDINGS) as stored:
        return np.asarray(stored[split], np.float32)


FEATURES: dict[str, Callable[[DataDirectory, SplitName], Features]] = {
    "pixels": pixels,
    "gradients": gradients,
    "colours": colors,
    "embeddings": embeddings,
}


def describe(data: DataDirectory, features: str) -> dict[SplitName, Features]:
    """Compute the features of every split that has images."""
    return {split: FEATURES[features](data, split) for split in SPLITS if data.size(split)}


def largest_class(problem: Problem) -> Labels:
    """Label every image with the most frequent class of the validation images."""
    return np.full(len(problem.features["test"]), np.bincount(problem.labels["validation"]).argmax())


def supervised(classifier: Any, problem: Problem) -> Labels:
    """Fit a classifier to the labelled images alone."""
    classifier.fit(problem.features["train_labeled"], problem.labels["train_labeled"])
    return np.asarray(classifier.predict(problem.features["test"]))


def logistic_regression(problem: Problem) -> Labels:
    """Logistic regression."""
    return supervised(LogisticRegression(C=10, max_iter=1000), problem)


def support_vectors(problem: Problem) -> Labels:
    """Support vector machine."""
    return supervised(SVC(C=10), problem)


def nearest_neighbor(problem: Problem) -> Labels:
    """Nearest labelled image."""
    return supervised(KNeighborsClassifier(1, algorithm="brute"), problem)


def self_training(problem: Problem) -> Labels:
    """Logistic regression that takes its own confident predictions for labels."""
    labeled, unlabeled = problem.features["train_labeled"], problem.features["train_unlabeled"]
    unlabeled = unlabeled[:: -(-len(unlabeled) // _SELF_TRAINED)]
    known = np.concatenate([problem.labels["train_labeled"], np.full(len(unlabeled), UNLABELED)])
    model = SelfTrainingClassifier(LogisticRegression(C=10, max_iter=1000))
    return np.asarray(model.fit(np.concatenate([labeled, unlabeled]), known).predict(problem.features["test"]))


def label_spreading(problem: Problem) -> Labels:
    """Labels spread through the graph of nearest neighbours; the neighbours of a test image vote."""
    train = np.concatenate([problem.features["train_labeled"], problem.features["train_unlabeled"]])
    known = np.full(len(train), UNLABELED)
    known[: len(problem.labels["train_labeled"])] = problem.labels["train_labeled"]
    order = np.argsort(train.view(f"S{train.itemsize * train.shape[1]}").ravel(), kind="stable")
    train, known = train[order], known[order]  # draws of one seed share the graph
    neighbors, of_test = _graphs(train, problem.features["test"])
    n, k = neighbors.shape
    links = csr_array((np.ones(n * k, np.float32), neighbors.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n))
    model = LabelSpreading(lambda *_: links + links.T, alpha=0.99, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(np.zeros((n, 1)), known)
    votes = model.label_distributions_[of_test].sum(axis=1)
    return np.asarray(model.classes_[votes.argmax(axis=1)])


_GRAPHS: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}  # by checksum of their features


def _graphs(train: Features, test: Features) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the nearest training images of training images, without themselves, and of test images, int64 [N, k]."""
    key = hashlib.sha256(train.tobytes() + test.tobytes()).hexdigest()
    if key not in _GRAPHS:
        _GRAPHS[key] = (_nearest(train, train, _NEIGHBORS + 1)[:, 1:], _nearest(test, train, _NEIGHBORS))
    return _GRAPHS[key]


def _nearest(seekers: Features, sought: Features, n: int) -> NDArray[np.int64]:
    """Find the n nearest of `sought`, [M, n], the nearest first; in float32, twice as fast as scikit-learn."""
    candidates = torch.from_numpy(sought)
    half_squares = candidates.square().sum(dim=1) / 2  # |a - b|^2 / 2 - |a|^2 / 2; the last is equal along a row
    found = [
        torch.addmm(half_squares, rows, candidates.T, alpha=-1).topk(n, largest=False, sorted=True).indices
        for rows in torch.from_numpy(seekers).split(_ROWS)
    ]
    return torch.cat(found).numpy()


def k_means(problem: Problem) -> Labels:
    """k-means on the training images; the validation images name the clusters."""
    model = KMeans(problem.n_categories, n_init=10, random_state=problem.seed)
    model.fit(problem.features["train_unlabeled"])
    categories, labels = model.predict(problem.features["validation"]), problem.labels["validation"]
    table = contingency_table(labels, categories, labels.max() + 1, problem.n_categories)
    return name_categories(table, one_to_one=problem.one_to_one)[model.predict(problem.features["test"])]


def name_categories(table: Labels, *, one_to_one: bool) -> Labels:
    """Find the class of each category, int64 [K], from counts [n_classes, K]."""
    names = majority_map(table)
    if one_to_one:
        classes, matched = linear_sum_assignment(table, maximize=True)
        names[matched] = classes
    return names


@dataclass(frozen=True)
class Baseline:
    """Method on one kind of features; `settings` are all that a reader needs to repeat it."""

    title: str
    settings: str
    method: Method
    features: str


WITH_LABELS: Mapping[str, tuple[str, str, Method]] = MappingProxyType(
    {
        "logistic": ("logistic regression", "L2, C = 10", logistic_regression),
        "svm": ("SVM", "RBF kernel, C = 10, scikit-learn's default width", support_vectors),
        "nearest": ("nearest neighbour", "k = 1 labelled image, Euclidean", nearest_neighbor),
        "self-training": (
            "self-training",
            "logistic regression as above, threshold 0.75, 10 rounds, at most 10000 unlabelled images evenly spaced",
            self_training,
        ),
        "spreading": (
            "label spreading",
            "10 nearest neighbours, alpha = 0.99, all unlabelled images; the 10 neighbours of a test image vote",
            label_spreading,
        ),
    }
)
WITHOUT_LABELS: Mapping[str, tuple[str, str, Method]] = MappingProxyType(
    {"k-means": ("k-means", "best of 10 starts", k_means)}
)


@functools.cache
def baselines_for(task: Task) -> dict[str, Baseline]:
    """All baselines of a task, by name."""
    methods = WITH_LABELS if task.labeled else WITHOUT_LABELS
    found = {"largest-class": Baseline("largest class", "of the validation images", largest_class, "pixels")}
    for features in task.data_set.features:
        for name, (title, settings, method) in methods.items():
            found[f"{name}-{features}"] = Baseline(f"{title} on {features}", settings, method, features)
    return found
