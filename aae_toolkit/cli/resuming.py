"""Resumed trainings: `run.json` in a model directory keeps the options of its training beside the settings."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from aae_toolkit.cli.training_options import TrainingOptions
from aae_toolkit.config import CONFIG_FILE, VARIANTS, Variant, VariantConfig, load_config, with_flags
from aae_toolkit.config.auto import AUTO
from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.files import require_own, write_json
from aae_toolkit.files.documents import read_document
from aae_toolkit.files.safe_yaml import read_yaml
from aae_toolkit.models.description import CHECKPOINT_FILE

if TYPE_CHECKING:
    from aae_toolkit.training.observer import Epoch

FILE_NAME = "run.json"
_EXTENDING = {"n_epochs": "--n-epochs", "keep": "--keep"}  # settings that may change, and the flags that change them


class RunRecord(BaseModel):
    """Options of a training beside its settings, for `--resume`.

    Attributes:
        data: paths of the data directory: absolute, and relative to the model directory.
        device: device asked for.
        checkpoint_every: steps between checkpoints; None is one per epoch.
        plot_every: epochs between pictures; None draws none.
        tensorboard: whether event files are written.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    data: tuple[str, ...]
    device: str = "auto"
    checkpoint_every: int | None = Field(default=None, ge=1)
    plot_every: int | None = Field(default=None, ge=1)
    tensorboard: bool = False


class Recorder:
    """Observer that writes the record when a training starts."""

    def __init__(self, options: TrainingOptions) -> None:
        """Record the options of a training."""
        self._directory = options.model_dir
        data, model = (os.path.realpath(path) for path in (options.data, options.model_dir))
        self._record = RunRecord(
            data=(data, os.path.relpath(data, model)),
            device=options.device or "auto",
            checkpoint_every=options.checkpoint_every,
            plot_every=options.plot_every,
            tensorboard=options.tensorboard,
        )

    def started(self, history: Sequence[dict[str, Any]]) -> None:
        """Write the record."""
        write_json(self._directory / FILE_NAME, self._record.model_dump())

    def epoch_ended(self, epoch: Epoch) -> None:
        """Do nothing."""


def take_up(options: TrainingOptions) -> TrainingOptions:
    """Complete the options of a resumed training by what its model directory keeps; flags that were given win.

    Raises:
        AaeError: there is nothing to resume, or `run.json` is damaged.
        UsageError: the training is of the other variant, or its data is not found.
    """
    directory = options.model_dir
    if not (directory / CHECKPOINT_FILE).is_file():
        if options.data_dir is None:
            raise AaeError(
                f"{directory} holds no training that can go on, it has no {CHECKPOINT_FILE}; start one with:"
                f" aae train {_command(options.variant)} --data DATA --output {shlex.quote(str(directory))}"
            )
        return options
    variant = variant_of(directory)
    if variant != options.variant:
        again = f"aae train {_command(variant)} --resume {shlex.quote(str(directory))}"
        raise UsageError(f"{directory} holds a training of the {_command(variant)} variant; train on with: {again}")
    record = _read(directory)
    if record is None:  # of an earlier version, or trained through Python
        if options.data_dir is None:
            raise UsageError(f"{directory} does not say what it was trained on; add --data")
        return options
    return dataclasses.replace(
        options,
        data_dir=options.data_dir or _data_of(directory, record),
        device=options.device or record.device,
        checkpoint_every=options.checkpoint_every or record.checkpoint_every,
        plot_every=options.plot_every or record.plot_every,
        tensorboard=options.tensorboard or record.tensorboard,
    )


def configuration_of(options: TrainingOptions) -> VariantConfig | None:
    """Return the settings of the training that is resumed, changed by flags; None where there is none yet.

    With a configuration that was named again, those settings, of which the trainer refuses what differs.

    Raises:
        UsageError: a flag is invalid, or the configuration named has another length or epoch to keep.
    """
    if not options.resume or not (options.model_dir / CHECKPOINT_FILE).is_file():
        return None
    own = load_config(options.model_dir / CONFIG_FILE, options.variant)
    if options.config is None or options.config == AUTO:
        return with_flags(own, **options.flags)
    named = load_config(options.config, options.variant)
    for name, flag in _EXTENDING.items():
        before, asked = (getattr(config.training, name, None) for config in (own, named))
        if before != asked and options.flags.get(name) is None:
            raise UsageError(
                f"--resume: training.{name} is {before} in this run, and {asked} in --config {options.config}; say"
                f" which with {flag}, or leave --config out"
            )
    return with_flags(named, **options.flags)


def variant_of(directory: Path) -> Variant:
    """Return the variant of the training in a model directory.

    Raises:
        AaeError: `config.yml` is absent or damaged.
    """
    path = directory / CONFIG_FILE
    if not path.is_file():
        raise AaeError(f"{directory} holds no training that can go on, it has no {CONFIG_FILE}; name a model directory")
    content = read_yaml(path)
    for variant in VARIANTS:
        if isinstance(content, dict) and content.get(variant) is not None:
            return variant
    raise AaeError(f"{path} holds no settings of a training; train again")


def _read(directory: Path) -> RunRecord | None:
    path = directory / FILE_NAME
    require_own(path)
    if not path.is_file():
        return None
    try:
        return read_document(path, RunRecord)
    except (OSError, ValueError) as error:
        raise AaeError(f"{path} is damaged: {error}; delete it, and give --data") from error


def _data_of(directory: Path, record: RunRecord) -> Path:
    """Find the data directory where it was, or at the same place relative to the model directory."""
    from aae_toolkit.data.directory import INDEX

    for path in (directory / place for place in record.data):
        if (path / INDEX).is_file():
            return Path(os.path.normpath(path))
    first = record.data[0] if record.data else "an unknown data directory"
    raise UsageError(f"{directory} was trained on {first}, which is not there; name its new place with --data")


def _command(variant: Variant) -> str:
    return variant.replace("_", "-")
