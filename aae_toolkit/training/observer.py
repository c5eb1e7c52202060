"""Who watches a training: told of its start and of each epoch's end, in the main process, never asked anything back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aae_toolkit.data.directory import Split
from aae_toolkit.models.directory import TrainedModel


@dataclass(frozen=True)
class Epoch:
    """An epoch that has been trained, written and kept.

    Attributes:
        metrics: its line of metrics.jsonl.
        model: the networks as they are now, which training goes on to change; look, and leave them alone.
        validation: the images that categories are named by.
    """

    metrics: dict[str, Any]
    model: TrainedModel
    validation: Split


class Observer(Protocol):
    """A listener; what it does leaves weights and random streams as they are."""

    def started(self, history: Sequence[dict[str, Any]]) -> None:
        """Training starts, after the epochs of `history`: lines of metrics.jsonl, none in a new training."""

    def epoch_ended(self, epoch: Epoch) -> None:
        """An epoch's metrics and checkpoint are written."""
