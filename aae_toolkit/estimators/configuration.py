"""Configuration of a training from an estimator's parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aae_toolkit.config import Variant, VariantConfig, load_config, validated, with_flags
from aae_toolkit.config.auto import choose
from aae_toolkit.config.auto_rows import RowFacts, choose_for_rows
from aae_toolkit.data.arrays import ArrayData
from aae_toolkit.errors import UsageError
from aae_toolkit.files.documents import brief
from aae_toolkit.training.facts import measure_facts


def resolve_config(
    source: str | Path | Mapping[str, Any] | None,
    variant: Variant,
    data: ArrayData,
    *,
    are_rows: bool,
    **flags: Any,
) -> VariantConfig:
    """Resolve the configuration of a fit.

    Args:
        source: a YAML file, the name of a shipped one, or a mapping of sections that changes the default; None: the
            default, which is chosen for the data.
        variant: section of the file.
        data: the samples; their number bounds the number of neighbours.
        are_rows: True if X is rows of features, which are not augmented as pictures are.
        flags: values that replace the configuration's, except None.

    Raises:
        ValueError: the configuration refuses a value, or `source` is neither of these.
        AaeError: a file cannot be read.
    """
    try:
        if isinstance(source, str | Path):
            config = load_config(source, variant)
        else:
            config = _chosen(data, variant, are_rows, flags.get("n_classes"))
        content = config.model_dump()
        for section, values in _sections(source).items():
            content[section] = content.get(section, {}) | values
        content = (validated({variant: content}, variant, "config") or config).model_dump()
        if are_rows:
            content["training"] |= {"augment_labeled": False} if variant == "semi_supervised" else {}
            content["consistency"] |= {"augmentation": 0.0, "elastic": 0.0}
            if content["consistency"]["likeness"].startswith("gradients"):
                content["consistency"]["likeness"] = "pixels"
        consistency = content["consistency"]
        n_labeled, n_unlabeled = data.size("train_labeled"), data.size("train_unlabeled")
        consistency["n_neighbors"] = min(consistency["n_neighbors"], n_labeled + n_unlabeled - 1)
        return with_flags(type(config).model_validate(content), **flags)
    except UsageError as error:
        raise ValueError(re.sub("^--[a-z-]+: ", "", str(error))) from error


def _sections(source: str | Path | Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Return the sections of a mapping; none of a file, whose content is there already."""
    if source is None or isinstance(source, str | Path):
        return {}
    if not isinstance(source, Mapping):
        raise ValueError(f"config is {brief(source)}; give a path, the name of a configuration, or a mapping")
    for section, values in source.items():
        if not isinstance(values, Mapping):
            raise ValueError(f"config: {section!r} is {brief(values)}; give a mapping, such as {{'n_epochs': 5}}")
    return {section: dict(values) for section, values in source.items()}


def _chosen(data: ArrayData, variant: Variant, are_rows: bool, n_categories: int | None) -> VariantConfig:
    """Choose a configuration by the facts of the samples."""
    if not are_rows:
        return choose(measure_facts(data, n_categories), variant)[0]
    n_labeled, n_unlabeled = data.size("train_labeled"), data.size("train_unlabeled")
    return choose_for_rows(RowFacts(n_labeled + n_unlabeled, data.image_shape[-1], n_labeled), variant)[0]
