"""Search space: the settings that are tuned, their ranges, and the reasons, in one table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aae_toolkit.config import VariantConfig

_DIGITS = 3  # significant digits of a value that is tried


@dataclass(frozen=True)
class Setting:
    """A line of the table.

    Attributes:
        path: section and key of the configuration.
        low: lower end of the range; with `relative` in units of the base configuration's value.
        high: upper end, likewise.
        reason: why it is tuned over this range.
        relative: the range is a factor around the base value, searched on a logarithmic scale.
        most: largest value that the key allows.
        needs: path of a value without which the setting has no effect; empty: none.
        unless: path of a value with which it has none; empty: none.
    """

    path: str
    low: float
    high: float
    reason: str
    relative: bool = True
    most: float = math.inf
    needs: str = ""
    unless: str = ""


# Settings that the base configuration has at 0 stay off, except the dropout, which costs nothing to turn on.
SETTINGS = (
    Setting(
        "learning_rates.consistency_lr",
        *(1 / 4, 4),
        "It trains the category in every shipped configuration but `seed`, and the best rate depends on the images.",
        most=1,
        needs="consistency.is_on",
    ),
    Setting(
        "learning_rates.classifier_lr",
        *(1 / 4, 4),
        "It trains the category from labels where no consistency term is on.",
        most=1,
        unless="consistency.is_on",
    ),
    Setting(
        "learning_rates.generator_lr",
        *(1 / 4, 4),
        "Without a consistency term, matching the prior decides how the categories divide the images.",
        most=1,
        unless="consistency.is_on",
    ),
    Setting(
        "learning_rates.discriminator_lr",
        *(1 / 4, 4),
        "It decides with generator_lr whether the adversaries keep pace.",
        most=1,
        unless="consistency.is_on",
    ),
    Setting(
        "consistency.augmentation",
        *(1 / 3, 2.5),
        "A view must keep the class; how far it may be turned and shifted differs most between data sets.",
        most=4,
        needs="consistency.is_on",
    ),
    Setting(
        "consistency.elastic",
        *(1 / 4, 2.5),
        "Elastic deformation imitates handwriting, and can be too strong for other images.",
        most=1,
        needs="consistency.is_on",
    ),
    Setting(
        "consistency.crop",
        *(1 / 4, 2.5),
        "A crop may lose what tells classes apart, and helps where objects differ in size.",
        most=0.9,
        needs="consistency.is_on",
    ),
    Setting(
        "consistency.erasing",
        *(1 / 4, 2),
        "A covered part may be what tells classes apart.",
        most=1,
        needs="consistency.is_on",
    ),
    Setting(
        "consistency.lambda_pairs",
        *(1 / 4, 4),
        "Neighbours share a class more or less often, which decides how far they can be trusted.",
    ),
    Setting(
        "consistency.lambda_balance",
        *(1 / 4, 4),
        "Too little lets categories die, too much forces equal sizes on unequal classes.",
    ),
    Setting(
        "consistency.confidence",
        *(0.3, 0.97),
        "It trades the number of pseudo-labels for their correctness.",
        relative=False,
        needs="consistency.lambda_pseudo_labels",
    ),
    Setting("model.encoder_dropout", *(0.0, 0.5), "It limits overfitting to few labels.", relative=False),
    Setting(
        "training.weight_decay",
        *(1 / 10, 10),
        "It also limits overfitting; its effect is small, hence the wide range.",
    ),
)


@dataclass(frozen=True)
class Dimension:
    """Range of one setting for a base configuration, which it contains; `log` searches it by ratios."""

    path: str
    low: float
    high: float
    log: bool
    base: float

    @property
    def name(self) -> str:
        """Key of the setting, without its section."""
        return self.path.rpartition(".")[2]


def dimensions(config: VariantConfig) -> tuple[Dimension, ...]:
    """Return the dimensions of a base configuration: the settings that it has and that have an effect in it."""
    found = []
    for setting in SETTINGS:
        base = _value(config, setting.path)
        in_effect = not setting.needs or _value(config, setting.needs)
        if base is None or not in_effect or (setting.unless and _value(config, setting.unless)):
            continue
        if setting.relative and base == 0:
            continue
        low, high = (end * base if setting.relative else end for end in (setting.low, setting.high))
        high = min(high, setting.most)
        found.append(Dimension(setting.path, min(low, base), max(high, base), setting.relative, float(base)))
    return tuple(found)


def with_values(config: VariantConfig, values: Mapping[str, float]) -> VariantConfig:
    """Return `config` with values by path."""
    content = config.model_dump()
    for path, value in values.items():
        section, key = path.split(".")
        content[section][key] = value
    return type(config).model_validate(content)


def rounded(value: float) -> float:
    """Round a value that is to be tried, so that a person can read it."""
    return float(f"{value:.{_DIGITS}g}")


def _value(config: VariantConfig, path: str) -> Any:
    """Return the value at a path; None where the configuration has no such key."""
    value: Any = config
    for name in path.split("."):
        value = getattr(value, name, None)
    return value
