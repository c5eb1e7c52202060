"""Checkpoints: `checkpoint.pt` holds everything that a resumed run needs, and is read without running code.

After the last epoch only the model is left to be written: optimizers, memory and, beside an average, the weights of the
last step are left out then.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import IO, Any, cast

import torch

from aae_toolkit.config import dump_config
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.files import atomic_path, native_sink, require_own
from aae_toolkit.files.archives import check_archive
from aae_toolkit.training.run import CHECKPOINT_FILE, Run, TrainingState
from aae_toolkit.training.weights import refresh

_FORMAT = "aae-checkpoint-3"


def save_checkpoint(directory: Path, state: TrainingState, run: Run) -> None:
    """Write the state atomically."""
    averages, goes_on = state.average is not state.networks, state.epoch < run.config.training.n_epochs
    content = {
        "format": _FORMAT,
        "data": _fingerprint(run),
        "config": dump_config(run.config),
        "epoch": state.epoch,
        "step": state.step,
        "sums": state.sums,
        "n_runs": state.n_runs,
        "seconds": state.seconds,
        "history": state.history,
        "networks": state.networks.state_dict() if goes_on or not averages else None,
        "average": state.average.state_dict() if averages else None,
        "phases": {runner.phase.name: runner.state_dict() for runner in state.runners} if goes_on else {},
    }
    with atomic_path(directory / CHECKPOINT_FILE) as temporary, native_sink(temporary) as sink:
        torch.save(content, cast(IO[bytes], sink))


def load_checkpoint(directory: Path) -> dict[str, Any] | None:
    """Read the state; return None where there is no checkpoint.

    Raises:
        AaeError: the file is damaged, or no checkpoint of this tool.
    """
    path = directory / CHECKPOINT_FILE
    if not path.is_file():
        return None
    require_own(path)
    try:
        check_archive(path)  # torch checks no checksums
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the error below is clearer
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may raise anything
        raise AaeError(f"{path} is damaged or not a checkpoint; delete it and train again") from error
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise AaeError(f"{path} is not a checkpoint of this version ({_FORMAT}); delete it and train again")
    return state


def resume_from(checkpoint: dict[str, Any], state: TrainingState, run: Run) -> None:
    """Restore `state` from a checkpoint.

    Raises:
        AaeError: the checkpoint lacks a part, or a part has another type or shape.
        UsageError: the checkpoint is from other data or other settings.
    """
    try:
        _restore(checkpoint, state, run)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, IndexError) as error:
        path = run.output_dir / CHECKPOINT_FILE
        raise AaeError(f"{path} is not a whole checkpoint of this version; delete it and train again") from error


def _restore(checkpoint: dict[str, Any], state: TrainingState, run: Run) -> None:
    if checkpoint["data"] != _fingerprint(run):
        raise UsageError(
            f"--resume: the checkpoint was trained on other data than {run.data.path}; name that directory"
        )
    asked = dump_config(run.config)
    if checkpoint["config"] != asked:
        pairs = zip(checkpoint["config"].splitlines(), asked.splitlines(), strict=False)
        saved, wanted = next(((a.strip(), b.strip()) for a, b in pairs if a != b), ("another variant", "this one"))
        raise UsageError(f"--resume: trained so far with {saved!r}, asked for {wanted!r}; use the same settings")
    averages, goes_on = state.average is not state.networks, checkpoint["epoch"] < run.config.training.n_epochs
    if averages:
        state.average.load_state_dict(checkpoint["average"])
    if goes_on or not averages:
        state.networks.load_state_dict(checkpoint["networks"])
    if goes_on:
        for runner in state.runners:
            runner.load_state_dict(checkpoint["phases"][runner.phase.name])
        refresh(state.working.parameters())
    for name in ("epoch", "step", "n_runs", "seconds", "history"):
        setattr(state, name, checkpoint[name])
    state.sums = {name: total.to(run.runtime.device) for name, total in checkpoint["sums"].items()}


def _fingerprint(run: Run) -> dict[str, str]:
    """Return the checksums of the training data; a resumed run must read the same."""
    assert isinstance(run.data, DataDirectory)  # training in memory writes no checkpoints
    index = run.data.index
    splits = {name: split.sha256 for name, split in index.splits.items() if name != "test"}
    return splits | (index.embeddings.sha256 if index.embeddings else {})
