"""The best epoch so far, on labelled validation images (`training.keep: best`)."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from aae_toolkit.config import VariantConfig
from aae_toolkit.config.auto import UNEVEN
from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.data.split import Split
from aae_toolkit.errors import UsageError
from aae_toolkit.models.directory import NETWORKS
from aae_toolkit.models.networks import Networks
from aae_toolkit.training.metrics import Line

LEAST_IMAGES = 500  # labelled validation images; with fewer, the best epoch is one of chance (decision 10)


class Judge(NamedTuple):
    """Score for the comparison of epochs.

    Attributes:
        measure: its name in `metrics.jsonl`.
        n_images: number of labelled validation images.
    """

    measure: str
    n_images: int


@dataclass
class Best:
    """Best epoch so far.

    Attributes:
        networks: networks of that epoch.
        judge: score that epochs are compared by.
        epoch: its number, from 1; 0 before the first.
        score: its score, a fraction.
        n_epochs: number of epochs compared.
    """

    networks: Networks
    judge: Judge
    epoch: int = 0
    score: float = -1.0
    n_epochs: int = 0

    @classmethod
    def among(cls, networks: Networks, judge: Judge) -> Best:
        """Start to compare the epochs of a run, whose `networks` are copied."""
        return cls(copy.deepcopy(networks).eval().requires_grad_(False), judge)

    def compare(self, networks: Networks, line: Line) -> None:
        """Take the networks of an epoch if they score at least as well; `line` is the epoch's metrics."""
        self.n_epochs += 1
        if line[self.judge.measure] >= self.score:
            self.networks.load_state_dict(networks.state_dict())
            self.epoch, self.score = line["epoch"], line[self.judge.measure]

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint, with the networks of the model alone."""
        weights = {k: v for k, v in self.networks.state_dict().items() if k.startswith(NETWORKS)}
        return {"epoch": self.epoch, "score": self.score, "n_epochs": self.n_epochs, "networks": weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        lacking = self.networks.load_state_dict(state["networks"], strict=False).missing_keys
        if any(name.startswith(NETWORKS) for name in lacking):
            raise KeyError(lacking[0])
        self.epoch, self.score, self.n_epochs = state["epoch"], state["score"], state["n_epochs"]


def keeps_best(config: VariantConfig) -> bool:
    """Tell whether a configuration keeps the best epoch instead of the last one."""
    return getattr(config.training, "keep", "last") == "best"


def judge_of(validation: Split, config: VariantConfig) -> Judge | None:
    """Choose the score that epochs are compared by; None where the last epoch is kept.

    Raises:
        UsageError: the validation images are too few to choose by.
    """
    if not keeps_best(config):
        return None
    labels = validation.labels[validation.labels != UNLABELED]
    counts = np.bincount(labels)
    counts = counts[counts > 0]
    uneven = len(counts) > 0 and counts.max() * len(counts) > UNEVEN * len(labels)
    # Balanced accuracy varies as much as the accuracy of fewer images, which are even.
    n = int(len(counts) ** 2 / (1 / counts).sum()) if uneven else len(labels)
    if n < LEAST_IMAGES:
        counted = f"{len(labels)} labelled validation images"
        counted += f" of uneven classes count as {n}, which are" if uneven else " are"
        raise UsageError(
            f"--keep best: {counted} too few to choose an epoch by, at least {LEAST_IMAGES} are needed; leave it out,"
            " or hold more images out (aae init-datasets --validation)"
        )
    return Judge("validation_balanced_accuracy" if uneven else "validation_accuracy", len(labels))
