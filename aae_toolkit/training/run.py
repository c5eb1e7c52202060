"""A training: the part that stays, and the part that changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from aae_toolkit.config import VariantConfig
from aae_toolkit.data.arrays import TrainingData
from aae_toolkit.files.lock import DirectoryLock
from aae_toolkit.models.networks import Networks
from aae_toolkit.progress import Progress
from aae_toolkit.training.best import Best
from aae_toolkit.training.observer import Observer
from aae_toolkit.training.runtime import Runtime
from aae_toolkit.training.step import PhaseRunner


@dataclass(frozen=True)
class Run:
    """The part of a training that does not change."""

    config: VariantConfig
    data: TrainingData
    runtime: Runtime
    output_dir: Path
    progress: Progress
    checkpoint_every: int | None = None  # steps between checkpoints within an epoch
    lock: DirectoryLock | None = None  # lock of output_dir, in the process that writes
    observers: Sequence[Observer] = ()  # none outside the main process

    @property
    def n_categories(self) -> int:
        """Number of categories, K, which is known once the configuration is fitted to the data."""
        assert self.config.model.n_classes is not None
        return self.config.model.n_classes


@dataclass
class TrainingState:
    """The part of a training that changes, which a checkpoint holds."""

    networks: Networks  # float32
    working: Networks  # the networks that phases run on
    average: Networks  # EMA of the weights, the trained model; `networks` itself without EMA
    runners: list[PhaseRunner]
    epoch: int = 0  # epochs done
    step: int = 0  # steps done of the running epoch
    sums: dict[str, Tensor] = field(default_factory=dict)  # sum of each loss term over these steps
    n_runs: dict[str, int] = field(default_factory=dict)  # number of values in each sum
    seconds: float = 0.0  # time of these steps
    history: list[dict[str, Any]] = field(default_factory=list)  # lines of metrics.jsonl
    best: Best | None = None  # None where the last epoch is kept
