"""Test accuracies of shipped configurations over seeds and label draws, into docs/results.json and docs/results.md.

    python benchmarks/accuracy.py --raw-dir RAW [--rows labels-100,clusters-10] [--work-dir results]
    python benchmarks/accuracy.py --raw-dir RAW --ablations all

Runs follow one another, each with the commands that the page shows: the seed draws the splits and starts the training,
and the test split is read once at the end. Runs in docs/results.json are skipped. An interrupted run continues from its
last checkpoint. The page is written again after each run. Ablations are the same runs with a derived configuration. A
run of `auto` records the facts that its settings were chosen by, and counts as long as the rules choose the same.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from ablations import ABLATIONS, ablations_of
from results_page import GLYPHS, read_results, write_results
from rows import AUTO, ROWS, Row, checksum
from scipy.optimize import linear_sum_assignment  # noqa: TID253

from aae_toolkit.config import dump_config
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.evaluation import contingency_table, encode, evaluate
from aae_toolkit.files import write_json, write_text
from aae_toolkit.machine.environment import describe_environment
from aae_toolkit.models.directory import load_model
from aae_toolkit.training.choosing import facts_of


def main(
    raw_dir: Annotated[Path, typer.Option(help="Files of the MNIST family: <raw-dir>/MNIST/raw/...")] = Path("data"),
    photos_dir: Annotated[
        Path | None, typer.Option(help="Folder of the PNG files alone, a directory per class.")
    ] = None,
    rows: Annotated[str, typer.Option(help="Names of rows, separated by commas; default: all.")] = "",
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas; default: all that a row needs.")] = "",
    ablations: Annotated[
        str, typer.Option(help=f"Measure ablations instead: all, or some of {','.join(ABLATIONS)}.")
    ] = "",
    work_dir: Annotated[Path, typer.Option(help="Data, models and logs, kept.")] = Path("results"),
    untimed: Annotated[bool, typer.Option("--untimed", help="Other work shares the cores: record no minutes.")] = False,
) -> None:
    """Measure all missing runs."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the clock of a run that is cut off is kept
    known = {row.name: row for row in ROWS}
    wanted = list(ABLATIONS) if ablations == "all" else [name for name in ablations.split(",") if name]
    for row in [known[name] for name in rows.split(",")] if rows else ROWS:
        raw = raw_dir_of(row.source, raw_dir, photos_dir, work_dir)
        if raw is None:
            print(f"{row.name}: skipped without --photos-dir")
            continue
        for seed in [int(seed) for seed in seeds.split(",")] if seeds else range(row.seeds):
            if not ablations:
                measure(row, seed, raw, work_dir, timed=not untimed)
            for name in (name for name in wanted if name in ablations_of(row)):
                measure_ablation(name, row, seed, raw, work_dir, timed=not untimed)


def raw_dir_of(source: str, raw_dir: Path, photos_dir: Path | None, work_dir: Path) -> Path | None:
    """Directory with the files of a data set; None for photographs that are not there."""
    if source == "glyphs":
        return draw_glyphs(work_dir)
    return photos_dir if source == "photos" else raw_dir


def measure(row: Row, seed: int, raw_dir: Path, work_dir: Path, *, timed: bool = True) -> None:
    """Record a run of a row, unless it is recorded."""
    results = read_results()
    if not row.is_current(results.get(row.name, {}).get(str(seed), {})):
        result = run(row, seed, work_dir / row.name / str(seed), raw_dir, timed=timed)
        results = read_results()
        results.setdefault(row.name, {})[str(seed)] = result
    write_results(results)


def measure_ablation(name: str, row: Row, seed: int, raw_dir: Path, work_dir: Path, *, timed: bool = True) -> None:
    """Record a run of a row without a part of its training, unless it is recorded."""
    results, ablation = read_results(), ABLATIONS[name]
    if ablation.is_current(row, results.get("ablations", {}).get(row.name, {}).get(name, {}).get(str(seed), {})):
        return
    own = results.get(row.name, {}).get(str(seed), {})
    if row.config == AUTO and not row.is_current(own):
        sys.exit(f"settings of {row.name}, seed {seed}, are not known; measure that row first")
    config = ablation.of(row.config_for(own))
    directory = work_dir / f"{row.name}-{name}" / str(seed)
    path = directory / "derived.yaml"
    directory.mkdir(parents=True, exist_ok=True)
    write_text(path, dump_config(config))
    derived = dataclasses.replace(row, name=f"{row.name} {ablation.title}", config=str(path))
    result = run(derived, seed, directory, raw_dir, timed=timed) | {key: own[key] for key in ("facts",) if key in own}
    results = read_results()
    results.setdefault("ablations", {}).setdefault(row.name, {}).setdefault(name, {})[str(seed)] = result
    write_results(results)


def draw_glyphs(work_dir: Path) -> Path:
    """Folder of glyphs; draw it if it does not exist."""
    script, flag, folder, *n = GLYPHS
    if not (work_dir / folder).exists():
        drawn = work_dir / f"{folder}.part"
        shutil.rmtree(drawn, ignore_errors=True)
        subprocess.run([sys.executable, Path(__file__).parent / script, flag, drawn, *n], check=True)
        drawn.rename(work_dir / folder)
    return work_dir / folder


def run(row: Row, seed: int, directory: Path, raw_dir: Path, *, timed: bool = True) -> dict[str, Any]:
    """Draw the splits, train, and score once; minutes are None unless `timed`."""
    split, training = row.commands(seed, str(directory), str(raw_dir))
    if not (directory / "dataset.json").exists():
        subprocess.run([sys.executable, "-m", "aae_toolkit", *split], check=True, stdout=subprocess.DEVNULL)
    print(f"{row.name}, seed {seed}: aae {' '.join(training)}", flush=True)
    facts: dict[str, Any] = {}
    if row.config == AUTO:
        facts["facts"] = dataclasses.asdict(facts_of(DataDirectory(directory), row.n_classes))
    version = {"config_sha256": checksum(row.config_for(facts))}
    clock = directory / "seconds.json"  # of the parts of a run that was cut off
    before = json.loads(clock.read_text()) if clock.exists() else {}
    if before.get("config_sha256") != version["config_sha256"]:
        shutil.rmtree(directory / row.variant, ignore_errors=True)
        before = {"seconds": 0.0}
    started = time.perf_counter()
    with (directory / "train.log").open("a") as log:
        try:
            subprocess.run([sys.executable, "-u", "-m", "aae_toolkit", *training], check=True, stdout=log, stderr=log)
        finally:
            seconds = before["seconds"] + time.perf_counter() - started
            write_json(clock, version | {"seconds": seconds})
    kept = {"minutes": seconds / 60 if timed else None, "environment": describe_environment()}
    result = score(row, directory) | version | facts | kept
    print(f"{row.name}, seed {seed}: {result['accuracy']:.2f}% in {seconds / 60:.1f} min", flush=True)
    return result


def score(row: Row, directory: Path) -> dict[str, Any]:
    """Accuracy in percent on test and validation images; the latter name the categories."""
    model, data = load_model(directory / row.variant), DataDirectory(directory)
    found = {}
    mapping = np.array(model.description.category_to_class)
    for name in ("validation", "test"):
        split = data.load(name)
        if row.one_to_one:
            categories, n = encode(model.encoder, split.images)[0].argmax(axis=1), len(data.class_names)
            if name == "validation":
                classes, matched = linear_sum_assignment(
                    contingency_table(split.labels, categories, n, n), maximize=True
                )
                mapping[matched] = classes
            found[name] = 100 * float((mapping[categories] == split.labels).mean())
        else:
            found[name] = 100 * evaluate(model, split, name).accuracy
    return {"accuracy": found["test"], "validation_accuracy": found["validation"]}


if __name__ == "__main__":
    typer.run(main)
