"""Ablations: the rows of docs/results.md again, each without a part of its training.

Each run has the data, seed and commands of the row's own run, with a derived configuration.
`benchmarks/accuracy.py --ablations all` measures them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rows import AUTO, Row, checksum

from aae_toolkit.config import VariantConfig, load_config
from aae_toolkit.config.sections import ConsistencyConfig

Overrides = dict[str, dict[str, Any]]

NO_AUTOENCODER: Overrides = {"training": {"use_autoencoder": False}}
NO_TERMS: Overrides = {
    "consistency": {key: 0.0 for key in ConsistencyConfig.model_fields if key.startswith("lambda_")}
    | {"spread_labels": False, "blend_regression": False, "cluster_first": False}
}
AUTOENCODER_ALWAYS: Overrides = {"training": {"autoencoder_every": 1, "autoencoder_after": 0.0}}


@dataclass(frozen=True)
class Ablation:
    """Training without a part; `overrides` are the keys that change, by section."""

    title: str
    overrides: Overrides
    needs_labels: bool = False

    def of(self, config: VariantConfig) -> VariantConfig:
        """Derive the configuration."""
        content = config.model_dump()
        for section, values in self.overrides.items():
            content[section] |= values
        return type(config).model_validate(content)

    def is_current(self, row: Row, run: Mapping[str, Any]) -> bool:
        """Tell whether a recorded run had the configuration that it would have now."""
        return bool(run) and run["config_sha256"] == checksum(self.of(row.config_for(run)))


ABLATIONS = {
    "labels-alone": Ablation("labels alone", NO_AUTOENCODER | NO_TERMS, needs_labels=True),
    "no-autoencoder": Ablation("without the autoencoder", NO_AUTOENCODER),
    "no-terms": Ablation("without the terms on y", NO_TERMS | AUTOENCODER_ALWAYS),
}


def ablations_of(row: Row) -> dict[str, Ablation]:
    """Return the ablations that take something from a row, and that differ from each other."""
    chosen = {name: one for name, one in ABLATIONS.items() if row.labeled or not one.needs_labels}
    if row.config == AUTO:
        return chosen
    config = load_config(row.config, row.variant)
    if config.consistency.is_on:
        return chosen
    return {name: one for name, one in chosen.items() if name == "labels-alone"}
