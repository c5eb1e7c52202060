"""Baseline for the accuracies in docs/results.md: a support vector machine on the pixels of the labelled images alone.

    python benchmarks/baselines.py --raw-dir RAW

Each seed draws the labelled images that `benchmarks/accuracy.py` draws. The settings (RBF kernel, C = 10, pixels in
[0, 1]) are the same for every number of labels; nothing was tuned. Results go into docs/results.json, and the page is
written again.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from accuracy import DOCS, page
from sklearn.svm import SVC  # noqa: TID253

from aae_toolkit.cli.app import run
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.files import write_json, write_text


def main(raw_dir: Annotated[Path, typer.Option(help="MNIST's files: <raw-dir>/MNIST/raw/...")] = Path("data")) -> None:
    """Measure the baseline for 3000, 1000 and 100 labels, three seeds each."""
    recorded = DOCS / "results.json"
    results = json.loads(recorded.read_text())
    for labels in (3000, 1000, 100):
        scores = {str(seed): {"accuracy": accuracy_of_svm(raw_dir, labels, seed)} for seed in range(3)}
        results[f"svm-{labels}"] = scores
        print(f"{labels} labels: {scores}", flush=True)
    write_json(recorded, results)
    write_text(DOCS / "results.md", page(results))


def accuracy_of_svm(raw_dir: Path, labels: int, seed: int) -> float:
    """Percentage of the test images that the machine labels correctly."""
    with tempfile.TemporaryDirectory() as directory:
        flags = ["--source", "mnist", "--raw-dir", str(raw_dir), "--labeled", str(labels), "--seed", str(seed)]
        with contextlib.redirect_stdout(io.StringIO()):
            assert run(["init-datasets", "--dir-path", directory, *flags]) == 0
        data = DataDirectory(Path(directory))
        train, test = data.load("train_labeled"), data.load("test")
    machine = SVC(C=10).fit(train.images.reshape(len(train.images), -1) / 255, train.labels)
    return 100 * float(machine.score(test.images.reshape(len(test.images), -1) / 255, test.labels))


if __name__ == "__main__":
    typer.run(main)
