"""An estimator's parameters as the configuration that training takes."""

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
    """The configuration of a fit.

    Args:
        source: a YAML file, the name of a shipped one, or a mapping of sections that changes the default one; None: the
            default, which is another for rows than for images.
        variant: the file's section.
        rows: whether X is rows of features, which must not be moved or bent as pictures are.
        n_samples: which bounds the neighbours that a sample can have.
        flags: values that go before the configuration's; those of None do not.

    Raises:
        ValueError: a value that the configuration refuses.
        AaeError: a file that cannot be read.
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
