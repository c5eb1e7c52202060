"""Saved estimators: a model directory with `estimator.json`, as safetensors and JSON, without pickle."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from aae_toolkit.errors import AaeError
from aae_toolkit.files import write_json
from aae_toolkit.models.directory import TrainedModel, load_model, save_model

FILE_NAME = "estimator.json"


def write_estimator(directory: Path, model: TrainedModel, facts: dict[str, Any]) -> None:
    """Write a model and the facts of its estimator; raise `AaeError` if the directory cannot be written."""
    plain = facts | {"params": {name: _plain(value) for name, value in facts["params"].items()}}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        save_model(directory, model, model.description)
        write_json(directory / FILE_NAME, plain)
    except OSError as error:
        raise AaeError(f"model directory {directory} cannot be written: {error.strerror or error}") from error


@contextmanager
def reading_estimator(directory: Path, name: str) -> Iterator[tuple[TrainedModel, dict[str, Any]]]:
    """Read the model and the facts of an estimator of class `name`, for a block that builds the estimator from them.

    Raises:
        AaeError: a file is absent or from another class, or an error of the block shows that it is damaged.
    """
    path = directory / FILE_NAME
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["estimator"] != name:
            raise AaeError(f"{directory} holds a {facts['estimator']}; load it with that class")
        yield load_model(directory), facts
    except OSError as error:
        raise AaeError(f"{path} cannot be read: {error.strerror or error}; write it with save") from error
    except (ValueError, KeyError, TypeError) as error:
        raise AaeError(f"{path} is damaged; save the estimator again") from error


def _plain(value: Any) -> Any:
    """Turn a parameter into JSON's types; a random stream becomes None."""
    if isinstance(value, Mapping):
        return {key: dict(section) for key, section in value.items()}
    if isinstance(value, np.random.RandomState):
        return None
    return value.item() if isinstance(value, np.generic) else str(value) if isinstance(value, Path) else value
