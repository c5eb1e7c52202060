"""Predictions as a file, JSON lines or CSV, which appears whole or not at all."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import TextIO

from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.files import atomic_path
from aae_toolkit.predict.image_files import Prediction


def write_predictions(path: Path, predictions: Iterable[Prediction], top_k: int = 0) -> None:
    """Write a line an image, as the predictions come.

    Args:
        path: its suffix, `.jsonl` or `.csv`, gives the format.
        predictions: in whose order the lines are.
        top_k: how many of the likeliest classes they name, which CSV has columns for.

    Raises:
        UsageError: another suffix.
        AaeError: the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in (".jsonl", ".csv"):
        raise UsageError(f"--output {path}: the suffix gives the format; choose .jsonl (JSON lines) or .csv")
    try:
        with (
            atomic_path(path) as temporary,
            # a path that is not UTF-8 stays as it is
            temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
        ):
            if suffix == ".csv":
                _write_csv(file, predictions, top_k)
            else:
                file.writelines(json.dumps(prediction.to_json()) + "\n" for prediction in predictions)
    except OSError as error:
        raise AaeError(f"{path} cannot be written: {error.strerror or error}") from error


def _write_csv(file: TextIO, predictions: Iterable[Prediction], top_k: int) -> None:
    """Columns path, label, class_name, probability, error, notes; and of each of the likeliest classes two."""
    writer = csv.writer(file)
    ranks = range(1, top_k + 1)
    of_top = chain.from_iterable((f"top_{rank}_class_name", f"top_{rank}_probability") for rank in ranks)
    writer.writerow(["path", "label", "class_name", "probability", "error", "notes", *of_top])
    for p in predictions:
        candidates = chain.from_iterable((c.class_name, c.probability) for c in p.top)
        writer.writerow([p.path, p.label, p.class_name, p.probability, p.error, "; ".join(p.notes), *candidates])
