"""Accuracy on photographs with a frozen backbone, with few labels and with none, beside methods on the same embeddings.

    python benchmarks/backbone_rows.py --photos-dir PHOTOS --weights WEIGHTS --work-dir WORK

Each draw is a data directory as `aae init-datasets --source folder --backbone` writes it, from embeddings that all
draws share (`embedded_draws.py`). It is trained on as by `aae train` with its default configuration, without
checkpoints: the weights are the same. Both take the seed of the draw. A fifth of the photographs each are validation
and test images; the test images are read once, after training.
Without labels, categories are matched to classes one to one on the validation images.

Results go into docs/results.json under `backbone` and `backbone-clusters`, and the page is written after each draw.
Draws that are recorded there with the same settings are not repeated.
"""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from embedded_draws import Draws
from methods import name_categories
from numpy.typing import NDArray
from results_page import read_results, write_results
from rows import checksum
from sklearn.cluster import KMeans  # noqa: TID253
from sklearn.linear_model import LogisticRegression  # noqa: TID253
from sklearn.preprocessing import StandardScaler  # noqa: TID253
from sklearn.semi_supervised import LabelSpreading  # noqa: TID253

from aae_toolkit.config import VariantConfig, with_flags
from aae_toolkit.config.auto import AUTO
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.data.split import SplitName
from aae_toolkit.evaluation import contingency_table, encode
from aae_toolkit.progress import Silent
from aae_toolkit.training.choosing import configuration_for
from aae_toolkit.training.loop import train_epochs
from aae_toolkit.training.run import Run
from aae_toolkit.training.runtime import resolve_runtime
from aae_toolkit.training.setup import build_batches, fit_config_to_data, initial_state
from aae_toolkit.training.stop import StopRequest

Array = NDArray[Any]
BACKBONE = "timm:tf_efficientnet_lite0"
CLASSES = 5
LABELS = (2, 5, 10, 20)  # a class
# Methods that learn from labels, with the unlabelled images or without; False: on embeddings as they are.
BASELINES: dict[str, tuple[Callable[[], Any], bool]] = {
    "logistic regression": (lambda: LogisticRegression(max_iter=1000), True),
    "logistic regression, C = 10, not standardized": (lambda: LogisticRegression(C=10, max_iter=1000), False),
    "label spreading, rbf": (LabelSpreading, True),
    "label spreading, knn": (lambda: LabelSpreading(kernel="knn"), True),
    "label spreading, knn, not standardized": (lambda: LabelSpreading(kernel="knn"), False),
}


def main(
    photos_dir: Annotated[Path, typer.Option(help="Folder of photographs, a directory per class.")],
    weights: Annotated[Path, typer.Option(help="The backbone's weights, as for --backbone-weights.")],
    work_dir: Annotated[Path, typer.Option(help="Shared embeddings, and the running draw.")] = Path("results"),
    draws: Annotated[int, typer.Option(help="Draws with each number of labels.")] = 20,
    cluster_seeds: Annotated[int, typer.Option(help="Draws without labels.")] = 5,
) -> None:
    """Measure all missing draws."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    work_dir.mkdir(parents=True, exist_ok=True)
    source = Draws(BACKBONE, photos_dir, weights, work_dir / "embeddings.npz")
    for seed in range(cluster_seeds):
        measure(source, "backbone-clusters", f"no labels, K = {CLASSES}", 0, seed, work_dir / "draw")
    for seed in range(draws):
        for labels in LABELS:
            name = f"{labels} labels a class"
            measure(source, "backbone", name, CLASSES * labels, seed, work_dir / "draw")


def measure(source: Draws, section: str, name: str, labeled: int, seed: int, directory: Path) -> None:
    """Record a draw, unless it is recorded with these settings."""
    shutil.rmtree(directory, ignore_errors=True)
    source.write(labeled, seed, directory)
    data = DataDirectory(directory)
    config, _ = configuration_for(data, AUTO, "semi_supervised" if labeled else "unsupervised", CLASSES)
    settings = checksum(config)
    config = with_flags(config, seed=seed, n_classes=CLASSES)
    results = read_results()
    if results.get(section, {}).get(name, {}).get(str(seed), {}).get("config_sha256") != settings:
        scores = with_labels(data, config) if labeled else without_labels(data, config)
        run_ = {key: round(value, 4) for key, value in scores.items()} | {"config_sha256": settings}
        results = read_results()
        results.setdefault(section, {}).setdefault(name, {})[str(seed)] = run_
        write_results(results)
        print(name, seed, scores, flush=True)
    shutil.rmtree(directory)


def train(data: DataDirectory, config: VariantConfig) -> tuple[dict[SplitName, Array], float]:
    """Train; return the category of each validation and test image, and the seconds of processor time."""
    started = time.process_time()
    run = Run(fit_config_to_data(config, data), data, resolve_runtime("cpu", config.training), data.path, Silent())
    with run.runtime.at_full_speed():
        batches, first_y = build_batches(run)
        state = initial_state(run, batches.n_images, first_y, batches.moments())
        for _ in train_epochs(state, batches, run, StopRequest()):
            pass
    encoder = state.average.encoder
    splits: tuple[SplitName, ...] = ("validation", "test")
    found = {name: encode(encoder, data.load_inputs(name).inputs)[0].argmax(axis=1) for name in splits}
    return found, time.process_time() - started


def rows_of(data: DataDirectory, *names: SplitName) -> tuple[Array, Array]:
    """Embeddings float32 [N, F] and labels int64 [N] of splits, without the views."""
    splits = [data.load_inputs(name) for name in names]
    rows = np.concatenate([split.compared for split in splits]).astype(np.float32)
    return rows, np.concatenate([split.labels for split in splits])


def with_labels(data: DataDirectory, config: VariantConfig) -> dict[str, float]:
    """Percentage of the test images that each method labels correctly; ours on validation images too."""
    found, seconds = train(data, config)
    truth = data.load_inputs("test").labels
    validation = 100 * float((found["validation"] == data.load_inputs("validation").labels).mean())
    scores = {"seconds": seconds, "validation": validation, "ours": 100 * float((found["test"] == truth).mean())}
    (rows, labels), (test, _) = rows_of(data, "train_labeled", "train_unlabeled"), rows_of(data, "test")
    scaler = StandardScaler().fit(rows)
    for name, (build, is_standardized) in BASELINES.items():
        prepare = scaler.transform if is_standardized else np.asarray
        used = labels >= 0 if name.startswith("logistic") else np.full(len(labels), True)
        model = build().fit(prepare(rows[used]), labels[used])
        scores[name] = 100 * float((model.predict(prepare(test)) == truth).mean())
    return scores


def without_labels(data: DataDirectory, config: VariantConfig) -> dict[str, float]:
    """Percentage of the test images in the category that validation images match to their class; and collapse."""
    ours, seconds = train(data, config)
    validation, test = data.load_inputs("validation").labels, data.load_inputs("test").labels

    def score(found: dict[SplitName, Array], labels: Array, name: SplitName) -> float:
        names = name_categories(contingency_table(validation, found["validation"], CLASSES, CLASSES), one_to_one=True)
        return 100 * float((names[found[name]] == labels).mean())

    scores = {
        "seconds": seconds,
        "validation": score(ours, validation, "validation"),
        "ours": score(ours, test, "test"),
    }
    rows, _ = rows_of(data, "train_unlabeled")
    for name, scaler in (("k-means", StandardScaler()), ("k-means, not standardized", None)):
        prepare = scaler.fit(rows).transform if scaler else np.asarray
        means = KMeans(CLASSES, n_init=10, random_state=config.training.seed).fit(prepare(rows))
        splits: tuple[SplitName, ...] = ("validation", "test")
        scores[name] = score({split: means.predict(prepare(rows_of(data, split)[0])) for split in splits}, test, "test")
    scores["largest category"] = 100 * float(np.bincount(ours["test"]).max() / len(test))
    return scores


if __name__ == "__main__":
    typer.run(main)
