"""Steps of benchmarks/growth.py that no command of `aae` has, each for a process of its own.

python benchmarks/growth_steps.py draw CELL --n 10000 --n-classes 10 --side 28
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import typer
from PIL import Image

N_FILES = 1000  # image files, which are labelled again and again
_HELD_OUT = 10  # one image in ten is for validation
_LABELS = 10  # a class

app = typer.Typer(pretty_exceptions_enable=False)


def n_labeled(n: int, n_classes: int) -> int:
    """Number of labelled images: ten of each class, and at most a fifth."""
    return min(_LABELS * n_classes, n // 5)


@app.command()
def draw(cell: Path, n: int = 10_000, n_classes: int = 10, side: int = 28) -> None:
    """Draw the images of a cell into images.npy, labels.npy and files/."""
    from many_glyphs import draw_many

    (cell / "files").mkdir(parents=True, exist_ok=True)
    np.save(cell / "labels.npy", draw_many(cell / "images.npy", n, n_classes, side))
    images = np.load(cell / "images.npy", mmap_mode="r")
    for number in range(N_FILES):
        Image.fromarray(images[number, 0]).save(cell / "files" / f"{number:04}.png")


@app.command()
def init_datasets(cell: Path) -> None:
    """Split the images and write the data directory, as `aae init-datasets` does with images that are read."""
    from aae_toolkit.data.directory import write_data_directory
    from aae_toolkit.data.sources import Source

    images, labels = np.load(cell / "images.npy", mmap_mode="r"), np.load(cell / "labels.npy")
    names = tuple(map(str, range(labels.max() + 1)))
    source = Source("folder", names, images, labels, None, None, None, 0, 0)
    sizes = n_labeled(len(images), len(names)), len(images) // _HELD_OUT, 0
    write_data_directory(cell / "data", source, *sizes, seed=0, overwrite=True)


@app.command()
def neighbors(cell: Path) -> None:
    """Search for ten neighbours of each training image."""
    import torch

    from aae_toolkit.data.directory import DataDirectory
    from aae_toolkit.training.neighbors import nearest_neighbors

    torch.set_num_threads(1)
    split = DataDirectory(cell / "data").load("train_unlabeled", mapped=True)
    nearest_neighbors(split.images, 10, torch.device("cpu"))


@app.command()
def facts(cell: Path) -> None:
    """Measure the facts by which `auto` chooses a configuration."""
    import torch

    from aae_toolkit.data.directory import DataDirectory
    from aae_toolkit.training.facts import measure_facts

    torch.set_num_threads(1)
    measure_facts(DataDirectory(cell / "data"))


if __name__ == "__main__":
    app()
