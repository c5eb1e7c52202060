"""Accuracies of baselines on the tasks of docs/results.md, into docs/results.json and docs/results.md.

    python benchmarks/baselines.py --raw-dir RAW [--photos-dir PHOTOS] [--rows labels-100,mnist-10]

Each seed draws the splits that `benchmarks/accuracy.py` draws, and each baseline of `methods.py` labels the test split
once. Accuracies in docs/results.json are skipped. The page is written again after each draw.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer
from accuracy import raw_dir_of
from methods import Baseline, Problem, baselines_for, describe
from results_page import read_results, write_results
from rows import ROWS, Task, tasks_of

from aae_toolkit.cli.app import run
from aae_toolkit.data.directory import DataDirectory


def main(
    raw_dir: Annotated[Path, typer.Option(help="Files of the MNIST family: <raw-dir>/MNIST/raw/...")] = Path("data"),
    photos_dir: Annotated[Path | None, typer.Option(help="Folder of photographs, a directory per class.")] = None,
    rows: Annotated[str, typer.Option(help="Names of rows or tasks, separated by commas; default: all.")] = "",
    only: Annotated[
        str, typer.Option("--baselines", help="Names of baselines, separated by commas; default: all.")
    ] = "",
    again: Annotated[bool, typer.Option("--again", help="Measure recorded accuracies again.")] = False,
    work_dir: Annotated[Path, typer.Option(help="Folder of the drawn glyphs, kept.")] = Path("results"),
) -> None:
    """Measure all missing accuracies."""
    draws_of, named = tasks_of(ROWS), {row.name: row.task.name for row in ROWS}
    names = chosen(only, {name for task in draws_of for name in baselines_for(task)})
    wanted = {named.get(name, name) for name in chosen(rows, {*named, *(task.name for task in draws_of)})}
    draws = [(seed, task) for task, n in draws_of.items() if task.name in wanted for seed in range(n)]
    for seed, task in sorted(draws, key=lambda draw: draw[0]):  # draws of one seed share neighbours
        missing = {
            name: baseline
            for name, baseline in baselines_for(task).items()
            if name in names and (again or not is_recorded(task, name, baseline, seed))
        }
        if missing:
            raw = raw_dir_of(task.source, raw_dir, photos_dir, work_dir)
            if raw is None:
                print(f"{task.name}: skipped without --photos-dir")
            else:
                measure(task, seed, missing, str(raw))


def chosen(names: str, known: set[str]) -> set[str]:
    """Split names at commas; all that are known for an empty text."""
    found = set(names.split(",")) if names else known
    if unknown := found - known:
        raise typer.BadParameter(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
    return found


def is_recorded(task: Task, name: str, baseline: Baseline, seed: int) -> bool:
    """Tell whether docs/results.json has an accuracy of the current settings."""
    found = read_results().get("baselines", {}).get(task.name, {}).get(name, {})
    return found.get("settings") == baseline.settings and str(seed) in found["accuracy"]


def measure(task: Task, seed: int, missing: dict[str, Baseline], raw_dir: str) -> None:
    """Draw the splits, and record the accuracy of each baseline in percent."""
    with tempfile.TemporaryDirectory() as directory:
        with contextlib.redirect_stdout(io.StringIO()):
            assert run(task.command(seed, directory, raw_dir)) == 0
        data = DataDirectory(Path(directory))
        labels = {split: data.load(split).labels for split in ("train_labeled", "validation")}
        test = data.load("test").labels
        found = {}
        for features, due in groupby(missing.items(), key=lambda item: item[1].features):
            problem = Problem(describe(data, features), labels, task.n_categories, task.one_to_one, seed)
            for name, baseline in due:
                started = time.perf_counter()
                found[name] = 100 * float((baseline.method(problem) == test).mean())
                seconds = time.perf_counter() - started
                print(f"{task.name}, seed {seed}: {name} {found[name]:.2f}% in {seconds:.0f} s", flush=True)
    results = read_results()
    of_task = results.setdefault("baselines", {}).setdefault(task.name, {})
    for name, accuracy in found.items():
        if of_task.get(name, {}).get("settings") != missing[name].settings:
            of_task[name] = {"settings": missing[name].settings, "accuracy": {}}
        of_task[name]["accuracy"][str(seed)] = accuracy
    write_results(results)


if __name__ == "__main__":
    typer.run(main)
