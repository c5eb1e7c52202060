"""Accuracy on rows of features with few labels, against logistic regression and label spreading; and clusters.

    python benchmarks/feature_rows.py [--embeddings photos.npz]

Sets are scikit-learn's iris, wine, breast cancer and digits (8 x 8 pixels as rows of 64), and embeddings of pictures
from an npz file with arrays X [n, F] and y [n]. A fixed stratified 30% of the rows is the test set. A seed draws 2, 5,
10 or 20 labels of each class from the others, which are given without a label otherwise. All parameters are the
defaults. Logistic regression and label spreading see rows that were standardized over all training rows; label
spreading has its RBF kernel or its kernel of nearest neighbours. Clusters are of all rows, scored by the adjusted Rand
index against the classes, beside k-means on standardized rows.

Results go into docs/results.json under `rows` and `rows-clusters`; draws that are recorded there are not repeated.
"""

from __future__ import annotations

import functools
import itertools
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from sklearn.cluster import KMeans  # noqa: TID253
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine  # noqa: TID253
from sklearn.linear_model import LogisticRegression  # noqa: TID253
from sklearn.metrics import adjusted_rand_score  # noqa: TID253
from sklearn.model_selection import train_test_split  # noqa: TID253
from sklearn.preprocessing import StandardScaler  # noqa: TID253
from sklearn.semi_supervised import LabelSpreading  # noqa: TID253

from aae_toolkit import AAEClusterer, SemiSupervisedAAEClassifier
from aae_toolkit.files import write_json

RESULTS = Path(__file__).parent.parent / "docs" / "results.json"
SETS: dict[str, Callable[..., Any]] = {
    "iris": load_iris,
    "wine": load_wine,
    "breast cancer": load_breast_cancer,
    "digits": load_digits,
}
LABELS = (2, 5, 10, 20)  # a class
BASELINES: dict[str, Callable[[], Any]] = {
    "logistic regression": LogisticRegression,
    "label spreading, rbf": LabelSpreading,
    "label spreading, knn": lambda: LabelSpreading(kernel="knn"),
}
Array = NDArray[Any]


def main(
    embeddings: Annotated[Path | None, typer.Option(help="Embeddings: an npz file with X [n, F] and y [n].")] = None,
    draws: Annotated[int, typer.Option(help="Draws of labels from each of scikit-learn's sets.")] = 10,
    embedding_draws: Annotated[int, typer.Option(help="Draws of labels from the embeddings.")] = 20,
    cluster_seeds: Annotated[int, typer.Option(help="Seeds of the clusters of each set.")] = 5,
) -> None:
    """Measure all cells, and print a table of the means."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    sets = {name: load(return_X_y=True) for name, load in SETS.items()}
    n_draws = dict.fromkeys(sets, draws)
    if embeddings:
        with np.load(embeddings) as file:
            sets["embeddings"], n_draws["embeddings"] = (file["X"], file["y"]), embedding_draws
    for seed in range(max(n_draws.values())):
        for name, n_labels in itertools.product(sets, LABELS):
            if seed < n_draws[name]:
                record("rows", f"{name}, {n_labels} labels", seed, functools.partial(cell, *sets[name], n_labels, seed))
    for seed, name in itertools.product(range(cluster_seeds), SETS):
        record("rows-clusters", name, seed, functools.partial(clusters, *sets[name], seed))
    show()


def cell(rows: Array, y: Array, n_labels: int, seed: int) -> dict[str, float]:
    """Percentage of the test rows that each method labels correctly, and the seconds of our fit."""
    train, test = train_test_split(np.arange(len(y)), test_size=0.3, stratify=y, random_state=0)
    rng = np.random.default_rng(seed)
    known = np.full(len(train), -1)
    for label in np.unique(y):
        known[rng.permutation(np.flatnonzero(y[train] == label))[:n_labels]] = label
    started = time.process_time()
    ours = SemiSupervisedAAEClassifier(random_state=seed, device="cpu").fit(rows[train], known)
    scores = {"seconds": time.process_time() - started, "ours": 100 * ours.score(rows[test], y[test])}
    scaler = StandardScaler().fit(rows[train])
    for name, build in BASELINES.items():
        used = known != -1 if name == "logistic regression" else np.full(len(train), True)
        model = build().fit(scaler.transform(rows[train][used]), known[used])
        scores[name] = 100 * float(model.score(scaler.transform(rows[test]), y[test]))
    return scores


def clusters(rows: Array, y: Array, seed: int) -> dict[str, float]:
    """Adjusted Rand index of our clusters and of k-means, with as many clusters as classes."""
    n_clusters = len(np.unique(y))
    started = time.process_time()
    ours = AAEClusterer(n_clusters, random_state=seed, device="cpu").fit_predict(rows)
    seconds = time.process_time() - started
    standardized = StandardScaler().fit_transform(rows)
    means = KMeans(n_clusters, n_init=10, random_state=seed).fit_predict(standardized)
    return {"seconds": seconds, "ours": adjusted_rand_score(y, ours), "k-means": adjusted_rand_score(y, means)}


def record(section: str, name: str, seed: int, measure: Callable[[], dict[str, float]]) -> None:
    """Measure what is not in the results yet, and write it there."""
    results = json.loads(RESULTS.read_text())
    runs = results.setdefault(section, {}).setdefault(name, {})
    if str(seed) not in runs:
        runs[str(seed)] = {key: round(value, 4) for key, value in measure().items()}
        write_json(RESULTS, results)
        print(section, name, seed, {key: round(value, 3) for key, value in runs[str(seed)].items()}, flush=True)


def show() -> None:
    """Print the mean of each cell, with the number of draws."""
    results = json.loads(RESULTS.read_text())
    for section in ("rows", "rows-clusters"):
        for name, runs in results.get(section, {}).items():
            columns = next(iter(runs.values()))
            means = "  ".join(f"{key} {np.mean([run[key] for run in runs.values()]):.2f}" for key in columns)
            print(f"{name} (n = {len(runs)}): {means}")


if __name__ == "__main__":
    typer.run(main)
