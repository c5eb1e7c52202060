"""Checkpoints: `checkpoint.pt` holds everything that a resumed run needs, and is read without running code.

After the last epoch optimizers and, beside an average, the weights of the last step are left out. A run that is then
extended by further epochs goes on from the model, with new optimizers.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import torch

from aae_toolkit.config import VariantConfig, dump_config, parse_config, settings
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.files import atomic_path, native_sink, require_own
from aae_toolkit.files.archives import check_archive
from aae_toolkit.models.description import CHECKPOINT_FILE
from aae_toolkit.training.run import Run, TrainingState
from aae_toolkit.training.weights import refresh

_FORMAT = "aae-checkpoint-3"
_MAY_CHANGE = ("training.n_epochs", "training.keep")


def save_checkpoint(directory: Path, state: TrainingState, run: Run) -> None:
    """Write the state atomically."""
    averages, goes_on = state.average is not state.networks, state.epoch < run.config.training.n_epochs
    content = {
        "format": _FORMAT,
        "data": _fingerprint(run),
        "config": dump_config(run.config),
        "precision": run.runtime.precision,
        "epoch": state.epoch,
        "step": state.step,
        "sums": state.sums,
        "n_runs": state.n_runs,
        "seconds": state.seconds,
        "history": state.history,
        "networks": state.networks.state_dict() if goes_on or not averages else None,
        "average": state.average.state_dict() if averages else None,
        "phases": {runner.phase.name: runner.state_dict(with_optimizer=goes_on) for runner in state.runners},
        "best": state.best and state.best.state_dict(),
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


def require_same_run(checkpoint: dict[str, Any], run: Run) -> None:
    """Refuse to continue with other data or settings; the number of epochs and the epoch to keep may change.

    Raises:
        AaeError: the checkpoint lacks a part.
        UsageError: the data or a setting differs, or the run already has more epochs than are asked for.
    """
    with _whole(run):
        data, epoch, step = checkpoint["data"], int(checkpoint["epoch"]), int(checkpoint["step"])
        before = settings(_config_of(checkpoint, run))
    if data != _fingerprint(run):
        raise UsageError(
            f"--resume: the run was trained on other data than {run.data.path}; name its own data directory"
        )
    for name, value in settings(run.config).items():
        if value != before[name] and name not in _MAY_CHANGE:
            raise UsageError(
                f"--resume: {name} is {json.dumps(before[name])} in this run, and {json.dumps(value)} is asked for;"
                " leave that out, or train another model in another directory"
            )
    n_epochs, least = run.config.training.n_epochs, epoch + (step > 0)
    if n_epochs < least:
        begun = f"has begun epoch {least}" if step else f"has done {epoch} epochs"
        raise UsageError(
            f"--n-epochs {n_epochs}: the run {begun} of {before['training.n_epochs']}; ask for {least} or more"
        )


def resume_from(checkpoint: dict[str, Any], state: TrainingState, run: Run) -> None:
    """Restore `state` from the checkpoint of the same run, and report what differs from now on.

    Raises:
        AaeError: the checkpoint lacks a part, or a part has another type or shape.
    """
    with _whole(run):
        n_before = _config_of(checkpoint, run).training.n_epochs
        is_finished = checkpoint["epoch"] >= n_before
        _restore(checkpoint, state, is_finished=is_finished)
        precision = checkpoint.get("precision", run.runtime.precision)  # absent in earlier versions
    n_epochs = run.config.training.n_epochs
    run.progress.say(f"resuming after {state.epoch} epochs and {state.step} steps")
    if n_epochs != n_before:
        restarts = ", and optimizers start anew" if is_finished else ""
        run.progress.say(
            f"the run now has {n_epochs} epochs instead of {n_before}: learning rates follow the schedule of"
            f" {n_epochs} from here{restarts}"
        )
    if precision != run.runtime.precision:
        run.progress.say(f"warning: trained in {precision} so far, and on this machine in {run.runtime.precision}")


@contextmanager
def _whole(run: Run) -> Iterator[None]:
    """Turn what a damaged checkpoint leads to into one line."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, IndexError) as error:
        path = run.output_dir / CHECKPOINT_FILE
        raise AaeError(f"{path} is not a whole checkpoint of this version; delete it and train again") from error


def _config_of(checkpoint: dict[str, Any], run: Run) -> VariantConfig:
    return parse_config(checkpoint["config"], run.config.variant, str(run.output_dir / CHECKPOINT_FILE))


def _restore(checkpoint: dict[str, Any], state: TrainingState, *, is_finished: bool) -> None:
    averages = state.average is not state.networks
    if averages:
        state.average.load_state_dict(checkpoint["average"])
    state.networks.load_state_dict(checkpoint["average" if averages and is_finished else "networks"])
    for runner in state.runners:
        phases, name = checkpoint["phases"], runner.phase.name
        runner.load_state_dict(phases.get(name, {}) if is_finished else phases[name], with_optimizer=not is_finished)
    refresh(state.working.parameters())
    for name in ("epoch", "step", "n_runs", "seconds", "history"):
        setattr(state, name, checkpoint[name])
    device = next(state.networks.parameters()).device
    if state.best and checkpoint.get("best"):
        state.best.load_state_dict(checkpoint["best"])
    elif state.best and state.step == 0 and state.best.judge.measure in state.history[-1]:
        state.best.compare(state.average, state.history[-1])  # the last epoch was to be kept until now
    state.sums = {name: total.to(device) for name, total in checkpoint["sums"].items()}


def _fingerprint(run: Run) -> dict[str, str]:
    """Return the checksums of the training data; a resumed run must read the same."""
    assert isinstance(run.data, DataDirectory)  # training in memory writes no checkpoints
    index = run.data.index
    splits = {name: split.sha256 for name, split in index.splits.items() if name != "test"}
    return splits | (index.embeddings.sha256 if index.embeddings else {})
