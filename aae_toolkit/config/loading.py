"""Reading configurations: YAML files, shipped configurations, and flags that override the file."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from aae_toolkit.config.auto import AUTO
from aae_toolkit.config.sections import VARIANTS, ConfigFile, ModelConfig, Variant, VariantConfig
from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.files.documents import brief, explain
from aae_toolkit.files.safe_yaml import read_yaml
from aae_toolkit.text import nearest, one_line

DEFAULT_CONFIG = "seed"
CONFIG_FILE = "config.yml"  # of a model directory


_LONGEST_KEY = 80  # characters of an unknown key in a message


def shipped_configs() -> dict[str, Path]:
    """Return the configuration files that come with the package, by name."""
    package = Path(__file__).parent.parent
    directory = next(d for d in (package / "configs", package.parent / "configs") if d.is_dir())  # wheel, checkout
    return {path.stem: path for path in sorted(directory.glob("*.yaml"))}


def load_config(source: Path | str, variant: Variant) -> VariantConfig:
    """Read one variant's section of a YAML file.

    Args:
        source: path of the file, or the name of a shipped configuration.
        variant: section to read.

    Raises:
        AaeError: the file is absent or is not YAML.
        UsageError: unknown key, wrong type, value out of range, or no section for `variant`.
    """
    path = shipped_configs().get(str(source), Path(source))
    _require_file(path, str(source))
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UsageError(f"configuration {path} holds no sections; expected {' and/or '.join(VARIANTS)}")
    config = validated(content, variant, f"configuration {path}")
    if config is None:
        held = ", ".join(brief(name) for name, value in content.items() if value is not None) or "none"
        raise UsageError(f"configuration {path} has no section {variant!r}; it holds {held}")
    return config


def _require_file(path: Path, given: str) -> None:
    """Refuse a name that no shipped configuration has, and a directory, with what would work."""
    if path.is_dir():
        own = path / CONFIG_FILE
        advice = f"pass {own}, its configuration" if own.is_file() else "give a YAML file or the name of a shipped one"
        raise AaeError(f"configuration {given} is a directory; {advice}")
    if not path.exists():
        names = [AUTO, *shipped_configs()]
        near = nearest(path.stem, names) if path.parent == Path() else []
        hint = f"did you mean {near[0]}?" if near else f"give a YAML file, or one of {', '.join(names)}"
        raise AaeError(f"configuration {given} does not exist; {hint}")


def validated(content: dict[Any, Any], variant: Variant, source: str) -> VariantConfig | None:
    """Return a variant's section of a configuration; None if it has none.

    Args:
        content: sections by variant.
        variant: section to return.
        source: where the content is from, for messages.

    Raises:
        UsageError: unknown key, wrong type, or value out of range.
    """
    try:
        return getattr(ConfigFile.model_validate(content), variant)  # type: ignore[no-any-return]
    except ValidationError as error:
        raise UsageError(f"{source}: {_explain(error)}") from error


def with_flags(config: VariantConfig, **flags: Any) -> VariantConfig:
    """Return `config` with values from the command line; None keeps the value of `config`.

    Raises:
        UsageError: a value that is invalid in the configuration file too.
    """
    content = config.model_dump()
    for name, value in flags.items():
        if value is not None:
            section = "model" if name in ModelConfig.model_fields else "training"
            content[section][name] = value
    try:
        return type(config).model_validate(content)
    except ValidationError as error:
        location = error.errors()[0]["loc"]
        flag = f"--{str(location[-1]).replace('_', '-')}: " if location else ""  # no location: several keys disagree
        raise UsageError(f"{flag}{_explain(error)}") from error


def dump_config(config: VariantConfig) -> str:
    """Return one variant's fully resolved section as YAML, which `load_config` reads back unchanged."""
    return yaml.safe_dump({config.variant: config.model_dump(mode="json")}, sort_keys=False)


def _explain(error: ValidationError) -> str:
    """Return one line for pydantic's first error: the key's path, the value, and a correct one."""
    first = error.errors()[0]
    if first["type"] != "extra_forbidden":
        return explain(error)
    path = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    known = _keys_at(first["loc"][:-1])
    near = nearest(str(first["loc"][-1]), known)
    hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
    if other := _variant_with(first["loc"]):
        hint = f"only the {other} variant has this key"
    return f"unknown key {one_line(path, _LONGEST_KEY)!r}; {hint}{more}"


def _variant_with(location: tuple[int | str, ...]) -> str | None:
    """Return the other variant if it knows the key that the given one does not."""
    for other in VARIANTS:
        with contextlib.suppress(KeyError, StopIteration):
            if location[0] in VARIANTS and str(location[-1]) in _keys_at((other, *location[1:-1])):
                return other.replace("_", "-")
    return None


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that a section may have."""
    model: type[BaseModel] = ConfigFile
    for part in location:
        annotation = model.model_fields[str(part)].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(model.model_fields)
