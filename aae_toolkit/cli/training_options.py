"""Options of one training, as commands give them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aae_toolkit.config import Variant
from aae_toolkit.errors import UsageError


@dataclass(frozen=True)
class TrainingOptions:
    """Options of one training.

    Attributes:
        variant: `semi_supervised` or `unsupervised`.
        data_dir: data directory; None is that of the training that is resumed.
        output_dir: model directory; None is `<data_dir>/<variant>`.
        config: YAML file, the name of a shipped one, or `auto`; None is that of the resumed training, or `auto`.
        flags: configuration values that replace the file's; None keeps the file's.
        device: `auto`, `cpu`, `cuda` or `cuda:N`; None is that of the resumed training, or `auto`.
        resume: continue the training in the model directory, if there is one.
        overwrite: replace a model that is already there.
        checkpoint_every: steps between checkpoints; None is one per epoch.
        plot_every: epochs between pictures of the model in training; None draws none.
        tensorboard: write TensorBoard event files.
        quiet: print errors only.
        verbose: print all settings.
        as_seed: print the seed document's lines about data and settings.
    """

    variant: Variant
    data_dir: Path | None
    output_dir: Path | None = None
    config: str | None = None
    flags: Mapping[str, Any] = field(default_factory=dict)
    device: str | None = None
    resume: bool = False
    overwrite: bool = False
    checkpoint_every: int | None = None
    plot_every: int | None = None
    tensorboard: bool = False
    quiet: bool = False
    verbose: bool = False
    as_seed: bool = False

    @property
    def model_dir(self) -> Path:
        """Model directory, given or derived from the data directory."""
        return self.output_dir or self.data / self.variant

    @property
    def data(self) -> Path:
        """Data directory; raise `UsageError` if none was given."""
        if self.data_dir is None:
            needed = (
                "Missing option '--data'" if not self.resume else "--resume: name the model directory, --resume MODEL"
            )
            raise UsageError(needed)
        return self.data_dir
