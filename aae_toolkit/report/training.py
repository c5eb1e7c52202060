"""Training record of a model directory: settings and metrics."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from aae_toolkit.config import CONFIG_FILE, Variant, changed_settings, load_config
from aae_toolkit.training.metrics import FILE_NAME, WARNINGS, Line, read_metrics


class Setting(NamedTuple):
    """Setting that differs from the default configuration; values as JSON."""

    name: str
    value: str
    default: str


@dataclass(frozen=True)
class Training:
    """Settings and epochs of a run.

    Attributes:
        config: text of config.yml; None if there is no such file.
        changed: settings that differ from the default configuration.
        epochs: lines of metrics.jsonl, with `epoch` and numbers by name, None where there was nothing to measure;
            empty if there is no such file.
    """

    config: str | None
    changed: list[Setting]
    epochs: list[Line]

    @property
    def seconds(self) -> float:
        """Total duration of the epochs, in seconds."""
        return sum(epoch.get("seconds") or 0.0 for epoch in self.epochs)

    @property
    def warnings(self) -> list[tuple[int, str]]:
        """Warnings, each with its epoch."""
        return [(epoch["epoch"], name.replace("_", " ")) for epoch in self.epochs for name in epoch.get(WARNINGS, ())]

    @property
    def names(self) -> list[str]:
        """Names of the measures in the last epoch."""
        return [name for name in (self.epochs[-1] if self.epochs else {}) if name not in ("epoch", WARNINGS)]

    def best(self, name: str) -> Line | None:
        """Return the first epoch with the largest value of a measure, such as an accuracy; None if there is none."""
        known = [epoch for epoch in self.epochs if epoch.get(name) is not None]
        return max(known, key=lambda epoch: epoch[name] or 0.0, default=None)


def read_training(model_dir: Path, variant: Variant) -> Training:
    """Read config.yml and metrics.jsonl, if they exist.

    Raises:
        AaeError: a file is damaged.
        UsageError: config.yml is of another version or variant.
    """
    config, metrics, changed = model_dir / CONFIG_FILE, model_dir / FILE_NAME, []
    if config.is_file():
        changed = [
            Setting(name, json.dumps(value), json.dumps(usual))
            for name, (value, usual) in changed_settings(load_config(config, variant)).items()
        ]
    text = config.read_text(encoding="utf-8") if config.is_file() else None
    return Training(text, changed, read_metrics(metrics) if metrics.is_file() else [])
