"""Share of nearest neighbours in the same class, and accuracy of spread labels, on all of MNIST.

    python benchmarks/neighbors.py --raw-dir RAW [--seeds 3]

Of the 60000 training images, whose labels are only scored by.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from aae_toolkit.data.sources import load_source
from aae_toolkit.training.neighbors import nearest_neighbors, spread_labels

LABELED = (100, 1000, 3000)
NEIGHBORS = 10


def main(
    raw_dir: Annotated[Path, typer.Option(help="MNIST's files: <raw-dir>/MNIST/raw/...")] = Path("data"),
    seeds: Annotated[int, typer.Option(help="Draws of labelled images.")] = 3,
) -> None:
    """Print a line for each likeness."""
    source = load_source("mnist", raw_dir, raw_dir, (1, 28, 28))
    images, labels, device = source.images, source.labels, torch.device("cpu")
    columns = [f"{n} labels spread, % right" for n in LABELED]
    print(f"| likeness | s | % of {NEIGHBORS} neighbours of the same class | {' | '.join(columns)} |")
    print("| --- " * (3 + len(LABELED)) + "|")
    for likeness in ("pixels", "gradients"):
        started = time.perf_counter()
        neighbors = nearest_neighbors(images, NEIGHBORS, device, likeness=likeness)
        seconds = time.perf_counter() - started
        same = (labels[neighbors] == labels[:, np.newaxis]).mean()
        cells = [f"{seconds:.0f}", f"{100 * same:.1f}"]
        for n in LABELED:
            right = []
            for seed in range(seeds):
                order = np.random.default_rng(seed).permutation(len(labels))
                drawn = np.concatenate([order[labels[order] == c][: n // 10] for c in range(10)])
                found = spread_labels(neighbors, neighbors[drawn], labels[drawn])
                right.append(100 * (found == labels).mean())
            cells.append(f"{np.mean(right):.2f} ± {np.std(right, ddof=1):.2f}")
        print(f"| {likeness} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
