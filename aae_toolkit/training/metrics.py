"""Metrics of a training: `metrics.jsonl` has a line an epoch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aae_toolkit.errors import AaeError
from aae_toolkit.files import require_own

FILE_NAME = "metrics.jsonl"
WARNINGS = "warnings"  # key of a line's warnings, a list of names; every other value is a number or null

Line = dict[str, Any]


def read_metrics(path: Path) -> list[Line]:
    """Read the lines in the order of epochs; of two lines of one epoch the later counts.

    A last line that is cut off is left out: the file may have been copied during training.

    Raises:
        AaeError: the file is absent or damaged.
    """
    require_own(path)
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AaeError(f"{path} cannot be read; it is written by aae train") from error
    by_epoch: dict[int, Line] = {}
    lines = content.splitlines()
    for number, line in enumerate(lines, 1):
        try:
            metrics = json.loads(line)
            if not all(_is_measured(key, value) for key, value in metrics.items()):
                raise ValueError
            by_epoch[int(metrics["epoch"])] = metrics
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            if number == len(lines) and not content.endswith("\n"):
                break
            raise AaeError(f"{path}, line {number}, is not the metrics of an epoch; train the model again") from error
    return [by_epoch[epoch] for epoch in sorted(by_epoch)]


def _is_measured(key: str, value: object) -> bool:
    if key == WARNINGS:
        return isinstance(value, list) and all(isinstance(name, str) for name in value)
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
