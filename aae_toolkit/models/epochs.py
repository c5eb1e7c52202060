"""Epochs of a model, as `model.json` keeps them: progress of its training, and the epoch of its weights."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from aae_toolkit.files.documents import Name
from aae_toolkit.text import percent


class ChosenBy(BaseModel):
    """Reason for an epoch: the best score on labelled validation images, which is therefore slightly too high.

    Attributes:
        measure: name of the score, as in `metrics.jsonl`.
        score: score of the epoch, a fraction.
        n_epochs: number of epochs compared.
        n_images: number of labelled validation images.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    measure: Name
    score: float = Field(ge=0, le=1)
    n_epochs: int = Field(ge=1)
    n_images: int = Field(ge=1)


class Epochs(BaseModel):
    """Epochs of a training.

    Attributes:
        done: number of epochs done.
        total: number of epochs of the whole run.
        kept: epoch that the weights are of, from 1.
        chosen_by: why this epoch was chosen; None: it was the last one.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    done: int = Field(ge=1)
    total: int = Field(ge=1)
    kept: int = Field(ge=1)
    chosen_by: ChosenBy | None = None

    @property
    def unfinished(self) -> str | None:
        """Progress of an unfinished training, such as "epoch 12 of 60"; None for a finished one."""
        return f"epoch {self.done} of {self.total}" if self.done < self.total else None

    @property
    def choice(self) -> str | None:
        """Chosen epoch and the reason, in words; None for the last epoch."""
        if (by := self.chosen_by) is None:
            return None
        return (
            f"epoch {self.kept}, the best of {by.n_epochs} by {by.measure.replace('_', ' ')}:"
            f" {percent(by.score)} of {by.n_images} images"
        )
