"""Files of predictions, JSON lines or CSV, written whole or not at all."""

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
    """Write one line per image, as predictions arrive.

    Args:
        path: the file; its suffix, `.jsonl` or `.csv`, sets the format.
        predictions: predictions, in the order of the lines.
        top_k: number of classes in `Prediction.top`, for the columns of CSV.

    Raises:
        UsageError: the file has another suffix.
        AaeError: the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in (".jsonl", ".csv"):
        raise UsageError(f"--output {path}: the suffix gives the format; choose .jsonl (JSON lines) or .csv")
    try:
        with (
            atomic_path(path) as temporary,
            # keep paths that are not UTF-8 unchanged
            temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
        ):
            if suffix == ".csv":
                _write_csv(file, predictions, top_k)
            else:
                file.writelines(json.dumps(prediction.to_json()) + "\n" for prediction in predictions)
    except OSError as error:
        raise AaeError(f"{path} cannot be written: {error.strerror or error}") from error


def _write_csv(file: TextIO, predictions: Iterable[Prediction], top_k: int) -> None:
    """Write columns path, label, class_name, probability, error and notes, and two for each of the `top_k` classes."""
    writer = csv.writer(file)
    ranks = range(1, top_k + 1)
    of_top = chain.from_iterable((f"top_{rank}_class_name", f"top_{rank}_probability") for rank in ranks)
    writer.writerow(["path", "label", "class_name", "probability", "error", "notes", *of_top])
    for p in predictions:
        candidates = chain.from_iterable((c.class_name, c.probability) for c in p.top)
        writer.writerow([p.path, p.label, p.class_name, p.probability, p.error, "; ".join(p.notes), *candidates])
