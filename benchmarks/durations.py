"""CPU time of whole trainings on one core, from the steps of an epoch: it tells what a run costs, whatever else runs.

    OMP_NUM_THREADS=1 python benchmarks/durations.py --data data [--configs fast,labels-3000] [--images 47000]

Each configuration trains two epochs on the data, whose images should be of MNIST's size; the steps of the second are
timed. The training would have `--images` images an epoch. Neighbours, start-up and validation are not counted.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from aae_toolkit.config import Variant, load_config, with_flags
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.machine.environment import describe_environment
from aae_toolkit.progress import Silent
from aae_toolkit.training.trainer import train

T = TypeVar("T")
DEFAULT = "fast,labels-3000,labels-100,clusters-10,seed,unsupervised:seed"


class Clock(Silent):
    """Listener that keeps the CPU seconds of each epoch's steps."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.n_steps = 0

    def track(self, items: Iterable[T], description: str, total: int | None, done: int = 0) -> Iterator[T]:
        started = time.process_time()
        yield from items
        self.seconds.append(time.process_time() - started)
        self.n_steps = total or 0


def seconds_a_step(name: str, variant: Variant, precision: str, data: DataDirectory) -> float:
    config = with_flags(load_config(name, variant), n_epochs=2, precision=precision)
    clock = Clock()
    with tempfile.TemporaryDirectory() as directory:
        train(config, data, Path(directory) / "model", device="cpu", progress=clock)
    return clock.seconds[1] / clock.n_steps


def main(
    data: Annotated[Path, typer.Option(help="Data directory of 28 x 28 images.")],
    configs: Annotated[str, typer.Option(help="Shipped configurations; unsupervised:NAME for that section.")] = DEFAULT,
    images: Annotated[int, typer.Option(help="Images of an epoch.")] = 47_000,
) -> None:
    table = Table(title=f"one core of {describe_environment()['cpu']}, {images} images an epoch")
    for column in ("configuration", "precision", "CPU ms a step", "steps", "CPU minutes"):
        table.add_column(column, justify="right" if column[0] in "Cs" else "left")
    for entry in configs.split(","):
        section, _, name = entry.rpartition(":")
        labels = not (section or name.startswith("clusters"))
        variant: Variant = "semi_supervised" if labels else "unsupervised"
        training = load_config(name, variant).training
        n_steps = training.n_epochs * math.ceil(images / training.batch_size)
        for precision in ("auto", "fp32"):
            seconds = seconds_a_step(name, variant, precision, DataDirectory(data))
            minutes = f"{seconds * n_steps / 60:.1f}"
            table.add_row(entry, precision, f"{1000 * seconds:.0f}", str(n_steps), minutes)
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
