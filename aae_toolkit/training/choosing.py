"""The configuration that a command asks for: a file, a shipped one, or settings chosen for the data."""

from __future__ import annotations

from aae_toolkit.config import Variant, VariantConfig, load_config
from aae_toolkit.config.auto import AUTO, Choice, Facts, choose
from aae_toolkit.config.auto_rows import RowFacts, choose_for_rows
from aae_toolkit.data.arrays import TrainingData
from aae_toolkit.training.facts import measure_facts


def configuration_for(
    data: TrainingData, source: str, variant: Variant, n_categories: int | None = None
) -> tuple[VariantConfig, list[Choice]]:
    """Load a configuration, or choose one for the data; return it, and the choices with their reasons.

    Args:
        data: training data.
        source: path of a file, name of a shipped configuration, or `auto`.
        variant: section to read.
        n_categories: number of categories asked for; None: the number of classes.

    Raises:
        AaeError: the file is absent or is not YAML, or the data is unreadable.
        UsageError: the file is no configuration.
    """
    if source != AUTO:
        return load_config(source, variant), []
    return chosen_by(facts_of(data, n_categories), variant)


def facts_of(data: TrainingData, n_categories: int | None = None) -> Facts | RowFacts:
    """Measure the facts of the images, or of the embeddings of a backbone where there is one."""
    if data.backbone is None:
        return measure_facts(data, n_categories)
    n_labeled, n_unlabeled = data.size("train_labeled"), data.size("train_unlabeled")
    return RowFacts(n_labeled + n_unlabeled, data.backbone.embedding_size, n_labeled, are_embeddings=True)


def chosen_by(facts: Facts | RowFacts, variant: Variant) -> tuple[VariantConfig, list[Choice]]:
    """Choose a configuration by facts; return it, and the choices with their reasons."""
    return choose(facts, variant) if isinstance(facts, Facts) else choose_for_rows(facts, variant)
