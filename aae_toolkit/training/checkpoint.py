"""`checkpoint.pt`: everything that a resumed run needs, read without executing anything."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from aae_toolkit.errors import AaeError
from aae_toolkit.files import atomic_path

FILE_NAME = "checkpoint.pt"
_FORMAT = "aae-checkpoint-1"


def save_checkpoint(directory: Path, state: dict[str, Any]) -> None:
    """Write the state, whole or not at all."""
    with atomic_path(directory / FILE_NAME) as temporary:
        torch.save({"format": _FORMAT, **state}, temporary)


def load_checkpoint(directory: Path) -> dict[str, Any]:
    """Read the state.

    Raises:
        AaeError: absent, damaged, or not a checkpoint of this tool.
    """
    path = directory / FILE_NAME
    if not path.is_file():
        raise AaeError(f"nothing to resume: {path} does not exist; leave out --resume to start")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise AaeError(f"{path} is damaged or not a checkpoint; delete it and train again") from error
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise AaeError(f"{path} is not a checkpoint of this version ({_FORMAT}); delete it and train again")
    return state
