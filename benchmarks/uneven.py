"""Scores on uneven classes by `class_weights` and `class_prior`, beside logistic regression on the same labels.

    python benchmarks/uneven.py --raw-dir RAW [--data-set MNIST] [--ratios 10,100] [--seeds 0,1,2]

Sizes of the classes fall geometrically from the most frequent class to the rarest; the seed says which class
has which size. Labelled, unlabelled and validation images have these shares, the own test images nearly equal ones.
Trainings are short, and have the settings that `auto` chooses, but for their length and the keys compared. The tables
have means over seeds, in percent. Recorded runs are not repeated.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression  # noqa: TID253

from aae_toolkit.config import SemiSupervisedConfig
from aae_toolkit.config.auto import Facts, choose
from aae_toolkit.data.arrays import ArrayData
from aae_toolkit.data.idx import read_idx
from aae_toolkit.data.split import UNLABELED, Split
from aae_toolkit.evaluation import Evaluation, encode, score
from aae_toolkit.files import write_json
from aae_toolkit.progress import Silent
from aae_toolkit.training.facts import measure_facts
from aae_toolkit.training.in_memory import train_in_memory

N_CLASSES, N_UNLABELED, N_VALIDATION, N_EPOCHS = 10, 6000, 4000, 30

# Keys of section `training` that are compared, by the name of a row.
VARIANTS: dict[str, dict[str, str]] = {
    "none, uniform": {"class_weights": "none", "class_prior": "uniform"},
    "balanced, uniform": {"class_weights": "balanced", "class_prior": "uniform"},
    "none, labels": {"class_weights": "none", "class_prior": "labels"},
    "balanced, labels": {"class_weights": "balanced", "class_prior": "labels"},
}
BASELINES: dict[str, str | None] = {"logistic regression": None, "logistic regression, balanced": "balanced"}
SCORES = ("accuracy", "balanced_accuracy", "macro_f1")


def main(
    raw_dir: Annotated[Path, typer.Option(help="Files of the data set: <raw-dir>/<data-set>/raw/...")] = Path("data"),
    data_set: Annotated[str, typer.Option(help="MNIST or FashionMNIST.")] = "MNIST",
    ratios: Annotated[str, typer.Option(help="Sizes of the largest class, in units of the smallest.")] = "10,100",
    seeds: Annotated[str, typer.Option(help="Seeds of draws and trainings.")] = "0,1,2",
    labeled: Annotated[int, typer.Option(help="Number of labelled images.")] = 500,
    output: Annotated[Path, typer.Option(help="File of the scores of every run.")] = Path("uneven.json"),
) -> None:
    """Measure the runs that are missing, and print a table for each ratio."""
    results: dict[str, Any] = json.loads(output.read_text()) if output.exists() else {}
    for ratio in ratios.split(","):
        for seed in seeds.split(","):
            draw = drawn(raw_dir / data_set / "raw", int(ratio), int(seed), labeled)
            facts = measure_facts(draw)
            for name in (*BASELINES, *VARIANTS):
                runs = results.setdefault(f"{data_set}, {ratio}:1, {labeled} labels", {}).setdefault(name, {})
                if seed in runs:
                    continue
                started = time.perf_counter()
                if name in BASELINES:
                    runs[seed] = baseline(draw, BASELINES[name])
                else:
                    runs[seed] = trained(draw, configured(facts, name, int(seed)))
                write_json(output, results)
                print(f"{data_set}, {ratio}:1, {name}, seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)
    for title, by_name in results.items():
        print(f"\n{title}\n\n{table(by_name)}")


def drawn(raw: Path, ratio: int, seed: int, n_labeled: int) -> ArrayData:
    """Draw splits whose classes have geometric sizes; the test images are all of the data set's own."""
    images, labels = _read(raw, "train")
    rng = np.random.default_rng(seed)
    shares = ratio ** (-np.arange(N_CLASSES) / (N_CLASSES - 1))
    shares /= shares.sum()
    sizes = {"train_labeled": n_labeled, "train_unlabeled": N_UNLABELED, "validation": N_VALIDATION}
    chosen: dict[str, list[NDArray[np.int64]]] = {name: [] for name in sizes}
    for class_index, share in zip(rng.permutation(N_CLASSES), shares, strict=True):
        left = rng.permutation(np.flatnonzero(labels == class_index))
        for name, size in sizes.items():
            n = max(1, round(share * size))
            chosen[name].append(left[:n])
            left = left[n:]
    splits: dict[Any, Split] = {}
    for name, parts in chosen.items():
        indices = rng.permutation(np.concatenate(parts))
        splits[name] = Split(images[indices], labels[indices])
    splits["train_unlabeled"].labels[:] = UNLABELED
    splits["test"] = Split(*_read(raw, "t10k"))
    return ArrayData(splits, (1, 28, 28), tuple(map(str, range(N_CLASSES))))


def _read(raw: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read images uint8 [N, 1, 28, 28] and labels int64 [N]."""
    images, labels = read_idx(raw / f"{part}-images-idx3-ubyte", 3), read_idx(raw / f"{part}-labels-idx1-ubyte", 1)
    return images[:, np.newaxis], labels.astype(np.int64)


def configured(facts: Facts, name: str, seed: int) -> SemiSupervisedConfig:
    """Choose settings as `auto` does, for a short training with the compared keys."""
    content = choose(facts, "semi_supervised")[0].model_dump()
    training, consistency = content["training"], content["consistency"]
    n_steps = N_EPOCHS * -(-N_UNLABELED // training["batch_size"])
    training |= VARIANTS[name] | {"n_epochs": N_EPOCHS, "seed": seed, "ema_decay": 1 - 1 / (0.18 * n_steps + 1)}
    consistency["memory"] = 1 - 1 / max(2, 0.35 * N_EPOCHS)
    content["model"] |= {"early_pool": True, "conv_channels": [16, 32, 64]}
    if training["class_prior"] == "labels":  # the divergence from the labels' shares needs no further tolerance
        consistency |= {"balance_tolerance": 0.0, "trusted_balance_tolerance": 0.05}
    return SemiSupervisedConfig.model_validate(content)


def trained(draw: ArrayData, config: SemiSupervisedConfig) -> dict[str, dict[str, float]]:
    """Train a model and score it."""
    model, _ = train_in_memory(config, draw, device="cpu", progress=Silent())
    return {split: scores(encode(model.encoder, draw.splits[split].images)[0], draw, split) for split in SPLITS}


SPLITS: tuple[Any, ...] = ("validation", "test")


def baseline(draw: ArrayData, class_weight: str | None) -> dict[str, dict[str, float]]:
    """Fit logistic regression to the pixels of the labelled images, and score it."""
    pixels = {name: split.images.reshape(len(split), -1) / 255 for name, split in draw.splits.items()}
    model = LogisticRegression(class_weight=class_weight, max_iter=1000)
    model.fit(pixels["train_labeled"], draw.splits["train_labeled"].labels)
    found = {}
    for split in SPLITS:
        y = np.zeros((len(pixels[split]), N_CLASSES), np.float32)
        y[:, model.classes_] = model.predict_proba(pixels[split])
        found[split] = scores(y, draw, split)
    return found


def scores(y: NDArray[np.float32], draw: ArrayData, split: Any) -> dict[str, float]:
    """Score probabilities [N, 10], in percent."""
    names, labels = draw.class_names, draw.splits[split].labels
    evaluation: Evaluation = score(y, labels, tuple(range(N_CLASSES)), names, "semi_supervised", split)
    return {name: 100 * float(getattr(evaluation, name)) for name in SCORES}


def table(by_name: dict[str, dict[str, Any]]) -> str:
    """Table of the means over seeds, in Markdown."""
    columns = [(split, name) for split in SPLITS for name in SCORES]
    heads = [f"{name.replace('_', ' ')}, {split}" for split, name in columns]
    lines = [f"| weights, prior | {' | '.join(heads)} |", "| --- |" + " ---: |" * len(columns)]
    for name, runs in by_name.items():
        means = (np.mean([run[split][key] for run in runs.values()]) for split, key in columns)
        lines.append(f"| {name} | {' | '.join(f'{mean:.2f}' for mean in means)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
