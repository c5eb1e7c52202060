"""Observers of a training: called at its start and at the end of each epoch, in the main process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aae_toolkit.data.split import Split
from aae_toolkit.models.directory import TrainedModel


@dataclass(frozen=True)
class Epoch:
    """An epoch whose metrics and checkpoint are written.

    Attributes:
        metrics: the epoch's line of metrics.jsonl.
        model: the networks as they are now; read them only, for training goes on with them.
        validation: images that categories are named by.
    """

    metrics: dict[str, Any]
    model: TrainedModel
    validation: Split


class Observer(Protocol):
    """A listener, which leaves weights and random streams unchanged."""

    def started(self, history: Sequence[dict[str, Any]]) -> None:
        """Take the start of a training; `history` is the metrics of the epochs before it, none in a new training."""

    def epoch_ended(self, epoch: Epoch) -> None:
        """Take an epoch whose metrics and checkpoint are written."""
