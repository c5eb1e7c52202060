"""Test accuracies of shipped configurations over seeds and label draws, into docs/results.json and docs/results.md.

    python benchmarks/accuracy.py --raw-dir RAW [--rows labels-100,clusters-10] [--work-dir results]

Runs follow one another, each with the commands that the page shows: the seed draws the splits and starts the training,
and the test split is read once at the end. Runs in docs/results.json are skipped. An interrupted run continues from its
last checkpoint. The page is written again after each run.
"""

from __future__ import annotations

import json
import shutil
import signal
import string
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rows import ROWS, Row
from scipy.optimize import linear_sum_assignment  # noqa: TID253

from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.evaluation import contingency_table, encode, evaluate
from aae_toolkit.files import write_json, write_text
from aae_toolkit.machine.environment import describe_environment
from aae_toolkit.models.directory import load_model

DOCS = Path(__file__).parent.parent / "docs"
GLYPHS = ["glyphs.py", "--output-dir-path", "glyphs", "--n", "40000"]


def main(
    raw_dir: Annotated[Path, typer.Option(help="MNIST's files: <raw-dir>/MNIST/raw/...")] = Path("data"),
    rows: Annotated[str, typer.Option(help="Names of rows, separated by commas; default: all.")] = "",
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas; default: all that a row needs.")] = "",
    work_dir: Annotated[Path, typer.Option(help="Data, models and logs, kept.")] = Path("results"),
) -> None:
    """Measure all missing runs."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the clock of a run that is cut off is kept
    known = {row.name: row for row in ROWS}
    chosen = [known[name] for name in rows.split(",")] if rows else ROWS
    recorded = DOCS / "results.json"
    results: dict[str, dict[str, Any]] = json.loads(recorded.read_text()) if recorded.exists() else {}
    for row in chosen:
        raw = draw_glyphs(work_dir) if row.source == "glyphs" else raw_dir
        for seed in [int(seed) for seed in seeds.split(",")] if seeds else range(row.seeds):
            found = results.get(row.name, {}).get(str(seed))
            if found is None or found["config_sha256"] != row.config_sha256:
                directory = work_dir / f"{row.name}-{row.config_sha256[:8]}" / str(seed)
                results.setdefault(row.name, {})[str(seed)] = run(row, seed, directory, raw)
                write_json(recorded, results)
            write_text(DOCS / "results.md", page(results))


def draw_glyphs(work_dir: Path) -> Path:
    """Folder of glyphs; draw it if it does not exist."""
    script, flag, folder, *n = GLYPHS
    if not (work_dir / folder).exists():
        drawn = work_dir / f"{folder}.part"
        shutil.rmtree(drawn, ignore_errors=True)
        subprocess.run([sys.executable, Path(__file__).parent / script, flag, drawn, *n], check=True)
        drawn.rename(work_dir / folder)
    return work_dir / folder


def run(row: Row, seed: int, directory: Path, raw_dir: Path) -> dict[str, Any]:
    """Draw the splits, train, and score once."""
    split, training = row.commands(seed, str(directory), str(raw_dir))
    if not (directory / "dataset.json").exists():
        subprocess.run([sys.executable, "-m", "aae_toolkit", *split], check=True, stdout=subprocess.DEVNULL)
    print(f"{row.name}, seed {seed}: aae {' '.join(training)}", flush=True)
    clock = directory / "seconds.json"  # of the parts of a run that was cut off
    before = json.loads(clock.read_text()) if clock.exists() else 0.0
    started = time.perf_counter()
    with (directory / "train.log").open("a") as log:
        try:
            subprocess.run([sys.executable, "-u", "-m", "aae_toolkit", *training], check=True, stdout=log, stderr=log)
        finally:
            seconds = before + time.perf_counter() - started
            write_json(clock, seconds)
    kept = {"config_sha256": row.config_sha256, "minutes": seconds / 60, "environment": describe_environment()}
    result = score(row, directory) | kept
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


PROTOCOL = """\
# Results

`make results` measures these accuracies into [results.json](results.json) and writes this page from it. Only published
figures and targets are typed by hand.

- Accuracy is measured on the official test set (digits: on the 360 images that were split off). Each run reads it once,
  at its end. All settings were chosen on validation images, with a few trials a row.
- Glyphs are ten letters in matplotlib's fonts ([benchmarks/glyphs.py](../benchmarks/glyphs.py)). No setting was chosen
  on them, so their rows have no target.
- A seed draws the splits, including the labelled images, and starts the training. All seeds use the same settings, and
  no seed was left out.
- Training never stops early. The model is the last weights, or their moving average where the configuration keeps one.
- Without labels, validation images name the categories: by majority, or one to one where the row says so. The test set
  is then scored with these names.
- Minutes cover the whole training command, including start-up and the search for neighbours. `--precision auto`
  computes in bf16 on the Xeon, whose hardware supports it, and in fp32 on the EPYC.
- *SVM* is a baseline: a support vector machine with an RBF kernel (C = 10, not tuned) on the pixels of the same
  labelled images, without the unlabelled ones. It was measured with seeds 0 to 2
  (`python benchmarks/baselines.py --raw-dir RAW`).
"""

SOURCES = """
Accuracies are the mean ± standard deviation over n seeds. On MNIST, 50000 images are used for training. The rows named
MLP, the seed's configuration and digits use a fully connected network, all others a convolutional one. The adversarial
autoencoders of [1] are MLPs trained without augmentation: compare them with the rows named *MLP, no augmentation*.

[1] Makhzani et al., "Adversarial Autoencoders", 2016. [2] Dai et al., "Good Semi-supervised Learning That Requires a
Bad GAN", 2017: convolutional. [3] Rasmus et al., "Semi-Supervised Learning with Ladder Networks", 2015. [4] Hu et al.,
"Learning Discrete Representations via Information Maximizing Self-Augmented Training", 2017. [5] Ji et al., "Invariant
Information Clustering", 2019: mean over heads.
"""
TITLES = ("", "target", "test accuracy, %", "n", "minutes (limit)", "SVM, %", "AAE paper, %", "best published, %")


def mean_and_spread(accuracies: list[float]) -> str:
    """Mean, with the standard deviation of several values."""
    spread = f" ± {np.std(accuracies, ddof=1):.2f}" if len(accuracies) > 1 else ""
    return f"{np.mean(accuracies):.2f}{spread}"


def reference_cells(row: Row, results: dict[str, dict[str, Any]]) -> str:
    """Cells with the baseline and the published accuracies of a row."""
    runs = results.get(f"svm-{row.labeled}", {}) if row.source == "mnist" else {}
    baseline = mean_and_spread([run["accuracy"] for run in runs.values()]) if runs else ""
    return f"| {baseline} | {row.aae_paper} | {row.best_published} |"


def page(results: dict[str, dict[str, Any]]) -> str:
    """Text of docs/results.md: the table, each run, and the commands that repeat it."""
    lines = [PROTOCOL, f"| {' | '.join(TITLES)} |", "| --- " * len(TITLES) + "|"]
    details: list[str] = []
    machines: dict[str, str] = {}  # letters, by what they are
    for row in ROWS:
        found = sorted(results.get(row.name, {}).items(), key=lambda item: int(item[0]))
        runs = {seed: run for seed, run in found if run["config_sha256"] == row.config_sha256}
        target = "" if row.target is None else row.target
        if not runs:
            lines.append(f"| {row.title} | {target} | not run | 0 | ({row.minutes:g}) {reference_cells(row, results)}")
            continue
        accuracies = [run["accuracy"] for run in runs.values()]
        met = "" if row.target is None or np.mean(accuracies) >= row.target else ", **below**"
        minutes = max(run["minutes"] for run in runs.values())
        late = "" if minutes <= row.minutes else ", **over**"
        lines.append(
            f"| {row.title} | {target} | {mean_and_spread(accuracies)}{met} | {len(runs)} |"
            f" {minutes:.1f} at most ({row.minutes:g}){late} {reference_cells(row, results)}"
        )
        each = []
        for seed, run in runs.items():
            machine = machines.setdefault(describe_machine(run["environment"]), string.ascii_uppercase[len(machines)])
            scores = f"{run['accuracy']:.2f} ({run['validation_accuracy']:.2f})"
            each.append(f"{seed}: {scores} in {run['minutes']:.1f} min on {machine}")
        commands = "\n".join("aae " + " ".join(command) for command in row.commands(0))
        if row.source == "glyphs":
            commands = "\n".join(["python benchmarks/" + " ".join(GLYPHS), commands.replace("RAW", GLYPHS[2])])
        details.append(f"**{row.title}**. {', '.join(each)}.\n\n```sh\n{commands}\n```\n")
    where = "\n".join(f"- {letter}: {machine}" for machine, letter in machines.items())
    each_run = "Test accuracy by seed, with validation accuracy in brackets. The commands are those of seed 0."
    parts = ["\n".join(lines), SOURCES, "## Machines\n", where, "\n## Each run\n", each_run + "\n", "\n".join(details)]
    return "\n".join(parts)


def describe_machine(environment: dict[str, Any]) -> str:
    """Processor, cores and versions, in one line."""
    cores = environment["cores"]
    versions = [f"{package} {version}" for package, version in environment["versions"].items()]
    return ", ".join(
        [environment["cpu"], f"{cores} core" + "s" * (cores != 1), f"Python {environment['python']}", *versions]
    )


if __name__ == "__main__":
    typer.run(main)
