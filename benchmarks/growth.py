"""Seconds and peak memory of every command, from ten thousand images to a million, of 10 to 1000 classes.

    python benchmarks/growth.py --work-dir growth [--cells 10000/10/28,100000/10/28] [--preliminary]

A cell is a number of images, of classes, and of pixels along a side. Its images are drawn letters; ten of each class
are labelled, and one in ten is for validation. Each step is a process of its own on one thread; its memory is the
process's peak, which counts pages of mapped files too. Facts are those by which `auto` chooses. Training is one epoch
of a small network with the losses that `auto` chooses for few labels. Splitting starts from an array: files are read by
`aae predict` alone here, which labels a thousand files until it has labelled as many as there are images.

Results go into docs/growth.json, a table and a picture of them into docs/scaling.md. Cells that are recorded there are
not repeated.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Annotated, Any, NamedTuple

import typer
from growth_steps import N_FILES, n_labeled

from aae_toolkit.files import write_json, write_text
from aae_toolkit.machine.environment import describe_environment

RESULTS = Path(__file__).parent.parent / "docs" / "growth.json"
CONFIG = """\
semi_supervised:
  model: {encoder: conv, conv_channels: [16, 32], hidden_size: 100, z_size: 5}
  training: {n_epochs: 1, batch_size: 250, labeled_batch_size: 50, ema_decay: 0.99, autoencoder_every: 4}
  consistency:
    {lambda_pairs: 1.0, lambda_balance: 2.0, lambda_pseudo_labels: 1.0, confidence: 0.5, memory: 0.9, n_neighbors: 10,
     spread_labels: true, blend_regression: true}
"""
_TABLES = 5  # of N x K float32: known, spread and smoothed labels, the first y, and the memory
_GIB = 2**30


class Cell(NamedTuple):
    """Number of images and classes, and the side of an image in pixels."""

    n: int
    n_classes: int
    side: int

    @property
    def name(self) -> str:
        """Name on the command line and in the results."""
        return f"{self.n}/{self.n_classes}/{self.side}"

    def left_out(self, disk_gib: float, memory_gib: float) -> str | None:
        """Reason why the cell is not measured; None if it is."""
        if (size := self.n * self.side**2 / _GIB) > disk_gib:
            return f"the images take {size:.0f} GiB"
        if (size := _TABLES * 4 * self.n * self.n_classes / _GIB) > memory_gib:
            return f"the probabilities of all images take {size:.0f} GiB in training"
        return None


CELLS = [Cell(*cell) for cell in itertools.product((10**4, 10**5, 10**6), (10, 100, 1000), (28, 64, 224))]


def cells_named(names: str) -> list[Cell]:
    """Cells by their names, separated by commas; all if there are none."""
    known = {cell.name: cell for cell in CELLS}
    wanted = [name for name in names.split(",") if name]
    if unknown := [name for name in wanted if name not in known]:
        raise typer.BadParameter(f"no cell is named {unknown[0]}; choose from {', '.join(known)}")
    return [known[name] for name in wanted] or CELLS


def measure(command: Iterable[object], log: IO[str], stdin: IO[str] | None = None) -> dict[str, float]:
    """Run a command; return its seconds, its seconds of processor time, and its peak memory in MiB."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    started = time.perf_counter()
    process = subprocess.Popen([*map(str, command)], stdin=stdin, stdout=log, stderr=log, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return {
        "seconds": round(time.perf_counter() - started, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mib": round(usage.ru_maxrss / 1024, 1),
    }


def run_cell(cell: Cell, directory: Path) -> dict[str, Any]:
    """Measure every step of a cell in an empty directory."""
    own = [sys.executable, str(Path(__file__).with_name("growth_steps.py"))]
    aae = [sys.executable, "-m", "aae_toolkit"]
    data, model, config = directory / "data", directory / "model", directory / "growth.yaml"
    write_text(config, CONFIG)
    steps: dict[str, dict[str, float]] = {}
    with (directory / "log").open("w+") as log:
        sizes = ("--n", cell.n, "--n-classes", cell.n_classes, "--side", cell.side)
        measure([*own, "draw", directory, *sizes], log)
        steps["init-datasets"] = measure([*own, "init-datasets", directory], log)
        (directory / "images.npy").unlink()
        steps["facts"] = measure([*own, "facts", directory], log)
        steps["neighbours"] = measure([*own, "neighbors", directory], log)
        paths = ["--data", data, "--output", model, "--config", config, "--device", "cpu"]
        steps["train"] = measure([*aae, "train", "semi-supervised", *paths], log)
        scored = ["--model", model, "--data", data]
        steps["evaluate"] = measure([*aae, "evaluate", *scored, "--json"], log)
        steps["visualize"] = measure([*aae, "visualize", *scored], log)
        measure([*aae, "export", "--model", model, "--format", "onnx"], log)
        files = sorted((directory / "files").iterdir())
        listed = directory / "listed"
        listed.write_text("".join(f"{path}\n" for path in files) * (cell.n // N_FILES))
        predict = [*aae, "predict", "--model", model / "export", "--threads", "1", "--output", directory / "labels.csv"]
        with listed.open() as stdin:
            steps["predict"] = measure([*predict, "-"], log, stdin)
    return {
        "steps": steps,
        "labels": n_labeled(cell.n, cell.n_classes),
        "images_mib": round(sum(path.stat().st_size for path in data.glob("*.npz")) / 2**20, 1),
        "checkpoint_mib": round((model / "checkpoint.pt").stat().st_size / 2**20, 1),
        "environment": describe_environment(),
    }


def main(
    cells: Annotated[str, typer.Option(help="Cells, images/classes/side, separated by commas; default: all.")] = "",
    work_dir: Annotated[Path | None, typer.Option(help="Directory for data; default: the system's.")] = None,
    disk_gib: Annotated[float, typer.Option(help="Cells with more GiB of images are left out.")] = 10,
    memory_gib: Annotated[float, typer.Option(help="Cells with more GiB of probabilities are left out.")] = 8,
    preliminary: Annotated[bool, typer.Option(help="Mark the times: the machine has other work.")] = False,
    again: Annotated[bool, typer.Option(help="Repeat cells that are recorded.")] = False,
) -> None:
    """Measure cell by cell, and write the results after each."""
    if work_dir:
        work_dir.mkdir(parents=True, exist_ok=True)
    for cell in cells_named(cells):
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        if cell.name in results and "steps" in results[cell.name] and not again:
            continue
        if reason := cell.left_out(disk_gib, memory_gib):
            results[cell.name] = {"left_out": reason}
        else:
            with tempfile.TemporaryDirectory(dir=work_dir, prefix="aae-growth-") as directory:
                try:
                    results[cell.name] = run_cell(cell, Path(directory)) | {"preliminary": preliminary}
                except subprocess.CalledProcessError:
                    shutil.copyfileobj((Path(directory) / "log").open(), sys.stderr)
                    raise
        write_json(RESULTS, results)
        print(cell.name, json.dumps(results[cell.name].get("steps", results[cell.name])), flush=True)
    from growth_page import write_page  # imports torch: a child's peak memory is at least its parent's size

    write_page(json.loads(RESULTS.read_text()))


if __name__ == "__main__":
    typer.run(main)
