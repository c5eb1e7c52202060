"""Gain and cost of `training.keep: best` by the number of validation images that it chooses on.

    python benchmarks/keeping.py [--raw-dir RAW] [--photos-dir PHOTOS] [--seeds 0,1]

Each run labels a pool of held-out images after each epoch. From these labels, validation sets of many sizes are drawn
from the pool, 1000 of each size. Each chooses an epoch, which is scored on the rest of the pool, beside the last epoch.
Recorded runs are not repeated.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from aae_toolkit.config import load_config, with_flags
from aae_toolkit.data.arrays import ArrayData
from aae_toolkit.data.sources import Source, load_source
from aae_toolkit.data.split import UNLABELED, Split
from aae_toolkit.progress import Silent
from aae_toolkit.training.runtime import Runtime
from aae_toolkit.training.stop import StopRequest
from aae_toolkit.training.trial import Trials

SIZES, N_DRAWS = (25, 50, 100, 200, 400, 1000, 2000), 1000


@dataclass(frozen=True)
class Case:
    """Training: its data, configuration, numbers of epochs, labelled and unlabelled images, schedule, and width."""

    source: str
    config: str
    n_epochs: int
    n_labeled: int
    n_unlabeled: int
    schedule: str = "cosine"
    hidden_size: int | None = None

    @property
    def name(self) -> str:
        """Name in files."""
        return "-".join(map(str, dataclasses.astuple(self)))


CASES = (
    Case("digits", "digits", 60, 100, 797),
    Case("photos", "seed", 60, 100, 119),
    Case("mnist", "seed", 30, 100, 2000, hidden_size=128),
    Case("mnist", "seed", 30, 100, 2000, "constant", 128),
)


def main(
    raw_dir: Annotated[Path, typer.Option(help="Files of MNIST: <raw-dir>/MNIST/raw/...")] = Path("data"),
    photos_dir: Annotated[Path | None, typer.Option(help="Folder of photographs, a folder a class.")] = None,
    seeds: Annotated[str, typer.Option(help="Seeds of draws and trainings.")] = "0,1",
    output: Annotated[Path, typer.Option(help="Directory for the recorded runs.")] = Path("keeping"),
) -> None:
    """Measure the runs that are missing, and print a table for each case."""
    output.mkdir(exist_ok=True)
    for case in CASES:
        if case.source == "photos" and photos_dir is None:
            continue
        runs = []
        for seed in map(int, seeds.split(",")):
            path = output / f"{case.name}-{seed}.npy"
            if not path.exists():
                np.save(path, correct_by_epoch(case, seed, raw_dir, photos_dir))
            runs.append(np.load(path))
        print(f"\n{case}: {len(runs)} runs, pool of {runs[0].shape[1]} images\n\n{table(runs)}", flush=True)


def correct_by_epoch(case: Case, seed: int, raw_dir: Path, photos_dir: Path | None) -> NDArray[np.bool_]:
    """Train, and tell which images of the pool have the right label after each epoch, [epochs, pool]."""
    raw = photos_dir if case.source == "photos" else raw_dir
    source = load_source("folder" if case.source == "photos" else case.source, raw, raw_dir, (3, 32, 32))  # type: ignore[arg-type]
    data = drawn(source, case, seed)
    config = with_flags(load_config(case.config, "semi_supervised"), n_epochs=case.n_epochs, seed=seed)
    config = with_flags(config, schedule={"kind": case.schedule}, hidden_size=case.hidden_size)
    runtime = Runtime(torch.device("cpu"), "fp32", compile=False)
    labels = data.load_inputs("validation").labels
    with runtime.at_full_speed():
        trials = Trials(config, data, runtime, Silent())
        return np.array([y.argmax(axis=1) == labels for y in trials.train(config, StopRequest())])


def drawn(source: Source, case: Case, seed: int) -> ArrayData:
    """Draw labelled images, as many of each class, and unlabelled ones; the rest, up to 6000, is the pool."""
    labels, rng = source.labels, np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    each = case.n_labeled // len(source.class_names)
    labeled = np.concatenate([order[labels[order] == c][:each] for c in range(len(source.class_names))])
    rest = order[~np.isin(order, labeled)]
    unlabeled, pool = rest[: case.n_unlabeled], rest[case.n_unlabeled :][:6000]
    images: Any = source.images
    splits = {
        "train_labeled": Split(images[labeled], labels[labeled]),
        "train_unlabeled": Split(images[unlabeled], np.full(len(unlabeled), UNLABELED)),
        "validation": Split(images[pool], labels[pool]),
    }
    return ArrayData(splits, images.shape[1:], source.class_names)  # type: ignore[arg-type]


def table(runs: list[NDArray[np.bool_]]) -> str:
    """Return a Markdown table of gains over the last epoch, in points, by number of validation images."""
    lines = [
        "| validation images | gain, mean | gain, 5th percentile | gain, worst run | score too high by |",
        "|---|---|---|---|---|",
    ]
    for n in SIZES:
        if 2 * n > runs[0].shape[1]:
            break
        gains, optimism = zip(*(gains_of(correct, n) for correct in runs), strict=True)
        every = 100 * np.concatenate(gains)
        worst = 100 * min(gain.mean() for gain in gains)
        row = (every.mean(), np.percentile(every, 5), worst, 100 * np.mean(optimism))
        lines.append(f"| {n} | {' | '.join(f'{value:+.2f}' for value in row)} |")
    last = 100 * np.mean([correct[-1].mean() for correct in runs])
    best = 100 * np.mean([correct.mean(axis=1).max() for correct in runs])
    return "\n".join([*lines, "", f"On the whole pool: last epoch {last:.2f}%, best epoch {best:.2f}%."])


def gains_of(correct: NDArray[np.bool_], n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw validation sets of `n` images; return the gain of each chosen epoch, and how far its score is too high."""
    rng, n_pool = np.random.default_rng(0), correct.shape[1]
    gains, optimism = np.empty(N_DRAWS), np.empty(N_DRAWS)
    totals = correct.sum(axis=1)  # [epochs]
    for draw in range(N_DRAWS):
        chosen = rng.choice(n_pool, n, replace=False)
        right = correct[:, chosen].sum(axis=1)
        rest = (totals - right) / (n_pool - n)
        epoch = len(right) - 1 - right[::-1].argmax()  # the last of the best
        gains[draw], optimism[draw] = rest[epoch] - rest[-1], right[epoch] / n - rest[epoch]
    return gains, optimism


if __name__ == "__main__":
    typer.run(main)
