"""Page of results, docs/results.md, written from docs/results.json.

The keys of docs/results.json are names of rows, with their runs by seed, and besides: `baselines` by task, name and
seed, `ablations` by row, name and seed, and those of `feature_page.py` for data of features.
"""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import numpy as np
from ablations import ABLATIONS, ablations_of
from feature_page import feature_rows
from methods import baselines_for
from rows import DATA_SETS, ROWS, Row, Task, tasks_of
from tables import Results, mean_and_spread, table

from aae_toolkit.files import write_json, write_text

DOCS = Path(__file__).parent.parent / "docs"
GLYPHS = ["glyphs.py", "--output", "glyphs", "--n", "40000"]

PROTOCOL = """\
# Results

`make results` measures these accuracies into [results.json](results.json) and writes this page from it. Only published
figures and targets are typed by hand.

- Accuracy is measured on the official test set (digits: on the 360 images that were split off; photographs: on a fifth
  of them). Each run reads it once, at its end. All settings were chosen on validation images, with a few trials a row.
- Photographs are the 369 PNG files of Tux Paint's stamps, without its SVG files, in five classes (animals, food,
  plants, town, vehicles), at 32 x 32 pixels in colour: single objects on a plain background, 73 of them test images.
- Glyphs are ten letters in matplotlib's fonts ([benchmarks/glyphs.py](../benchmarks/glyphs.py)). No setting was chosen
  on them, so their rows have no target.
- A seed draws the splits, including the labelled images, and starts the training. All seeds use the same settings, and
  no seed was left out.
- Training never stops early. The model is the last weights, or their moving average where the configuration keeps one.
- *Target* is our own; a mean under it is marked. A row without a figure is still to be measured with the current
  settings.
- Without labels, validation images name the categories: by majority, or one to one where the row says so. The test set
  is then scored with these names.
- Minutes cover the whole training command, including start-up and the search for neighbours. `--precision auto`
  computes in bf16 where the processor has it (AMX or AVX-512), else in fp32. Runs beside other work on the same cores
  are not timed.
- *Best baseline* is the [baseline](#baselines) with the highest mean test accuracy on the same splits, which favours
  baselines. The difference is ours minus the baseline, in points.
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
BASELINES = """\
## Baselines

Anyone would try these methods first. They get the same splits as our rows, with the same seeds. Their settings are
fixed and were not tuned; all else is scikit-learn's default. `python benchmarks/baselines.py --raw-dir RAW` measures
them.

- Pixels are in [0, 1]. Gradients are the histograms of oriented gradients by which `likeness: gradients` finds
  neighbours. Colours are roots of the shares of 64 colours. Embeddings are those stored in the data directory.
"""
ABLATION_NOTES = """\
## Ablations

An ablation is a row's training without a part of it: the same data, seeds, network and number of steps.
`python benchmarks/accuracy.py --raw-dir RAW --ablations all` measures them.

- *labels alone*: classification of the labelled images, with the same augmentation. `use_autoencoder` is off, every
  term on y is 0, and the unlabelled images are not used.
- *without the autoencoder*: `use_autoencoder` is off. The terms on y stay.
- *without the terms on y*: every `lambda_` of the section `consistency` is 0, and no labels spread. The autoencoder
  runs at every step from the start. Labelled images get the slight augmentation of `augment_labeled`.
"""
TITLES = (
    *("", "target", "test accuracy, %", "n", "minutes (limit)"),
    *("best baseline, %", "difference", "AAE paper, %", "best published, %"),
)


def read_results() -> Results:
    """Read docs/results.json."""
    recorded = DOCS / "results.json"
    return json.loads(recorded.read_text()) if recorded.exists() else {}  # type: ignore[no-any-return]


def write_results(results: Results) -> None:
    """Write docs/results.json and the page."""
    write_json(DOCS / "results.json", results)
    write_text(DOCS / "results.md", page(results))


def page(results: Results) -> str:
    """Text of docs/results.md."""
    return "\n".join(part for section in SECTIONS if (part := section(results)))


def runs_of(results: Results, row: Row) -> dict[str, dict[str, Any]]:
    """Runs of a row with its current configuration, by seed."""
    found = sorted(results.get(row.name, {}).items(), key=lambda item: int(item[0]))
    return {seed: run for seed, run in found if row.is_current(run)}


def baselines_of(results: Results, task: Task) -> dict[str, list[float]]:
    """Accuracies of the baselines of a task with their current settings, by name."""
    recorded, known = results.get("baselines", {}).get(task.name, {}), baselines_for(task)
    current = (name for name in known if recorded.get(name, {}).get("settings") == known[name].settings)
    return {name: list(recorded[name]["accuracy"].values()) for name in current}


def best_of(accuracies: dict[str, list[float]]) -> str | None:
    """Name of the baseline with the highest mean."""
    return max(accuracies, key=lambda name: np.mean(accuracies[name]), default=None)


def overview(results: Results) -> str:
    """The protocol and the table of all rows."""
    return "\n".join([PROTOCOL, table(TITLES, (overview_cells(row, results) for row in ROWS)), SOURCES])


def overview_cells(row: Row, results: Results) -> list[str]:
    """Cells of a row: its result, beside its best baseline and the published accuracies."""
    runs = runs_of(results, row).values()
    accuracies = [run["accuracy"] for run in runs]
    minutes = [run["minutes"] for run in runs if run["minutes"] is not None]
    ours = "not run"
    if accuracies:
        below = row.target is not None and np.mean(accuracies) < row.target
        ours = mean_and_spread(accuracies) + (", **below**" if below else "")
    took = f"({row.minutes:g})"
    if minutes:
        took = f"{max(minutes):.1f} at most {took}" + (", **over**" if max(minutes) > row.minutes else "")
    compared = ["", ""]
    measured = baselines_of(results, row.task)
    if best := best_of(measured):
        title = baselines_for(row.task)[best].title
        few = f", n = {len(measured[best])}" if len(measured[best]) < tasks_of(ROWS)[row.task] else ""
        compared[0] = f"{mean_and_spread(measured[best])} ({title}{few})"
        if accuracies:
            compared[1] = f"{np.mean(accuracies) - np.mean(measured[best]):+.2f}"
    target = "" if row.target is None else str(row.target)
    return [row.title, target, ours, str(len(accuracies)), took, *compared, row.aae_paper, row.best_published]


def settings(results: Results) -> str:
    """Settings of the baselines, and what the ablations leave out."""
    known = {one.title.partition(" on ")[0]: one for task in tasks_of(ROWS) for one in baselines_for(task).values()}
    listed = [f"- *{title}*: {one.settings}." for title, one in known.items()]
    return BASELINES + "\n".join(listed) + "\n\n" + ABLATION_NOTES


def data_sets(results: Results) -> str:
    """A section for each data set: its baselines by task, and its ablations by row."""
    parts = []
    tasks = tasks_of(ROWS)
    for source, data_set in DATA_SETS.items():
        own = [task for task in tasks if task.source == source]
        kinds = ([task for task in own if task.labeled], [task for task in own if not task.labeled])
        tables = [baseline_table(kind, tasks, results) for kind in kinds if kind]
        tables.append(ablation_table([row for row in ROWS if row.source == source], results))
        if any(tables):
            parts.append("\n\n".join([f"## {data_set.title}", *filter(None, tables)]) + "\n")
    return "\n".join(parts)


def baseline_table(tasks: list[Task], draws: dict[Task, int], results: Results) -> str:
    """Baselines in rows, tasks in columns; the best of a column is bold. Empty if none was measured."""
    measured = {task: baselines_of(results, task) for task in tasks}
    best = {task: best_of(found) for task, found in measured.items()}
    rows = []
    for name, baseline in baselines_for(tasks[0]).items():
        cells = []
        for task, found in measured.items():
            accuracies = found.get(name, [])
            few = f" (n = {len(accuracies)})" if accuracies and len(accuracies) != draws[task] else ""
            bold = "**" if name == best[task] else ""
            cells.append(f"{bold}{mean_and_spread(accuracies)}{bold}{few}" if accuracies else "")
        if any(cells):
            rows.append([baseline.title, *cells])
    titles = ["baseline, %", *(f"{task.title} (n = {draws[task]})" for task in tasks)]
    return table(titles, rows) if rows else ""


def ablation_table(rows: list[Row], results: Results) -> str:
    """Rows beside their ablations. Empty if none was measured."""
    lines, measured = [], False
    for row in rows:
        ours = [run["accuracy"] for run in runs_of(results, row).values()]
        cells = [row.title, f"{mean_and_spread(ours)} (n = {len(ours)})" if ours else "not run"]
        applicable = ablations_of(row)
        for name, ablation in ABLATIONS.items():
            recorded = results.get("ablations", {}).get(row.name, {}).get(name, {}).values()
            found = [run["accuracy"] for run in recorded if ablation.is_current(row, run)]
            measured = measured or bool(found)
            absent = "not run" if name in applicable else ""
            cells.append(f"{mean_and_spread(found)} (n = {len(found)})" if found else absent)
        lines.append(cells)
    return table(("ablation, %", "ours", *(one.title for one in ABLATIONS.values())), lines) if measured else ""


def machines(results: Results) -> dict[str, str]:
    """Letters of the machines, by what they are."""
    letters: dict[str, str] = {}
    for row in ROWS:
        for run in runs_of(results, row).values():
            letters.setdefault(describe_machine(run["environment"]), string.ascii_uppercase[len(letters)])
    return letters


def _took(run: dict[str, Any]) -> str:
    return "" if run["minutes"] is None else f" in {run['minutes']:.1f} min"


def each_run(results: Results) -> str:
    """The machines, each run, and the commands that repeat it."""
    letters, details = machines(results), []
    for row in ROWS:
        runs = runs_of(results, row)
        each = [
            f"{seed}: {run['accuracy']:.2f} ({run['validation_accuracy']:.2f}){_took(run)} on"
            f" {letters[describe_machine(run['environment'])]}"
            for seed, run in runs.items()
        ]
        commands = "\n".join("aae " + " ".join(command) for command in row.commands(0))
        if row.source == "glyphs":
            commands = "\n".join(["python benchmarks/" + " ".join(GLYPHS), commands.replace("RAW", GLYPHS[2])])
        if runs:
            details.append(f"**{row.title}**. {', '.join(each)}.\n\n```sh\n{commands}\n```\n")
    where = "\n".join(f"- {letter}: {machine}" for machine, letter in letters.items())
    what = "Test accuracy by seed, with validation accuracy in brackets. The commands are those of seed 0."
    return "\n".join(["## Machines\n", where, "\n## Each run\n", what + "\n", *details])


def describe_machine(environment: dict[str, Any]) -> str:
    """Processor, cores and versions, in one line."""
    cores = environment["cores"]
    versions = [f"{package} {version}" for package, version in environment["versions"].items()]
    return ", ".join(
        [environment["cpu"], f"{cores} core" + "s" * (cores != 1), f"Python {environment['python']}", *versions]
    )


SECTIONS = (overview, settings, data_sets, feature_rows, each_run)
