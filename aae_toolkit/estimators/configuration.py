"""Configuration of a training from an estimator's parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aae_toolkit.config import DEFAULT_CONFIG, Variant, VariantConfig, load_config, with_flags
from aae_toolkit.config.auto_rows import RowFacts, choose_for_rows
from aae_toolkit.errors import UsageError


def resolve_config(
    source: str | Path | Mapping[str, Any] | None,
    variant: Variant,
    *,
    rows: RowFacts | None,
    n_samples: int,
    **flags: Any,
) -> VariantConfig:
    """Resolve the configuration of a fit.

    Args:
        source: a YAML file, the name of a shipped one, or a mapping of sections that changes the default; None: the
            default, which is chosen from the data for rows, and the seed's for images.
        variant: section of the file.
        rows: facts of X if it is rows of features, which are not augmented as pictures are; None for images.
        n_samples: number of samples, a bound of the number of neighbours.
        flags: values that replace the configuration's, except None.

    Raises:
        ValueError: the configuration refuses a value.
        AaeError: a file cannot be read.
    """
    try:
        if isinstance(source, str | Path):
            config = load_config(source, variant)
        elif rows:
            config, _ = choose_for_rows(rows, variant)
        else:
            config = load_config(DEFAULT_CONFIG, variant)
        content = config.model_dump()
        for section, values in (source if isinstance(source, Mapping) else {}).items():
            content[section] = content.get(section, {}) | dict(values)
        if rows:
            content["training"] |= {"augment_labeled": False} if variant == "semi_supervised" else {}
            content["consistency"] |= {"augmentation": 0.0, "elastic": 0.0}
            if content["consistency"]["likeness"] == "gradients":
                content["consistency"]["likeness"] = "pixels"
        consistency = content["consistency"]
        consistency["n_neighbors"] = min(consistency["n_neighbors"], n_samples - 1)
        return with_flags(type(config).model_validate(content), **flags)
    except UsageError as error:
        raise ValueError(re.sub("^--[a-z-]+: ", "", str(error))) from error
