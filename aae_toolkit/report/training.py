"""What a model directory says of how the model was trained."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from aae_toolkit.config import DEFAULT_CONFIG, Variant, load_config
from aae_toolkit.errors import AaeError

CONFIG_FILE = "config.yml"
METRICS_FILE = "metrics.jsonl"


class Setting(NamedTuple):
    """A setting that the default configuration has otherwise; values as JSON."""

    name: str
    value: str
    default: str


@dataclass(frozen=True)
class Training:
    """A run's settings and epochs.

    `config` is the text of config.yml, None where there is none. `epochs` are the lines of metrics.jsonl: `epoch` and
    numbers by name, None where there was nothing to measure; empty where there is no such file.
    """

    config: str | None
    changed: list[Setting]
    epochs: list[dict[str, float | None]]

    @property
    def seconds(self) -> float:
        """Of all epochs."""
        return sum(epoch.get("seconds") or 0.0 for epoch in self.epochs)

    @property
    def names(self) -> list[str]:
        """What was measured in the last epoch."""
        return [name for name in (self.epochs[-1] if self.epochs else {}) if name != "epoch"]

    def best(self, name: str) -> dict[str, float | None] | None:
        """The first epoch with the largest value of `name`, such as an accuracy; None where there is none."""
        known = [epoch for epoch in self.epochs if epoch.get(name) is not None]
        return max(known, key=lambda epoch: epoch[name] or 0.0, default=None)


def read_training(model_dir: Path, variant: Variant) -> Training:
    """Read config.yml and metrics.jsonl, each where it is there.

    Raises:
        AaeError: one is damaged.
        UsageError: config.yml is of another version or variant.
    """
    config, changed = model_dir / CONFIG_FILE, []
    if config.is_file():
        now, usual = (_flat(load_config(c, variant).model_dump(mode="json")) for c in (config, DEFAULT_CONFIG))
        changed = [
            Setting(name, json.dumps(value), json.dumps(usual[name]))
            for name, value in now.items()
            if value != usual[name]
        ]
    text = config.read_text(encoding="utf-8") if config.is_file() else None
    return Training(text, changed, _read_epochs(model_dir / METRICS_FILE))


def _flat(section: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by their full path."""
    found: dict[str, Any] = {}
    for name, value in section.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def _read_epochs(path: Path) -> list[dict[str, float | None]]:
    if not path.is_file():
        return []
    try:
        epochs = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise AaeError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    for number, epoch in enumerate(epochs, 1):
        if not isinstance(epoch, dict) or "epoch" not in epoch or not all(map(_is_measured, epoch.values())):
            raise AaeError(f"{path} line {number} is not what an epoch measured; train again, or take the file away")
    return epochs


def _is_measured(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
