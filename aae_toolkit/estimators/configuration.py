"""Configuration of a training from an estimator's parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aae_toolkit.config import DEFAULT_CONFIG, Variant, VariantConfig, load_config, with_flags
from aae_toolkit.errors import UsageError

ROWS_CONFIG = "features"


def resolve_config(
    source: str | Path | Mapping[str, Any] | None,
    variant: Variant,
    *,
    rows: bool,
    n_samples: int,
    **flags: Any,
) -> VariantConfig:
    """Resolve the configuration of a fit.

    Args:
        source: a YAML file, the name of a shipped one, or a mapping of sections that changes the default; None: the
            default, which differs for rows and images.
        variant: section of the file.
        rows: True if X is rows of features, which are not augmented as pictures are.
        n_samples: number of samples, a bound of the number of neighbours.
        flags: values that replace the configuration's, except None.

    Raises:
        ValueError: the configuration refuses a value.
        AaeError: a file cannot be read.
    """
    try:
        named = source if isinstance(source, str | Path) else ROWS_CONFIG if rows else DEFAULT_CONFIG
        config = load_config(named, variant)
        content = config.model_dump()
        for section, values in (source if isinstance(source, Mapping) else {}).items():
            content[section] = content.get(section, {}) | dict(values)
        if rows:
            content["training"] |= {"augment_labeled": False} if variant == "semi_supervised" else {}
            content["consistency"] |= {"augmentation": 0.0, "elastic": 0.0, "likeness": "pixels"}
        consistency = content["consistency"]
        consistency["n_neighbors"] = min(consistency["n_neighbors"], n_samples - 1)
        return with_flags(type(config).model_validate(content), **flags)
    except UsageError as error:
        raise ValueError(re.sub("^--[a-z-]+: ", "", str(error))) from error
