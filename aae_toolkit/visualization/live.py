"""Pictures drawn during training (`--plot-every`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aae_toolkit.data.split import UNLABELED
from aae_toolkit.progress import Silent
from aae_toolkit.training.observer import Epoch
from aae_toolkit.visualization.curves import draw_learning_curves
from aae_toolkit.visualization.pictures import DIRECTORY, PICTURES, draw
from aae_toolkit.visualization.view import View

LIVE_PICTURES = ("reconstruction_example.png", "learned_latent_features.png")


class LivePictures:
    """Observer that draws the learning curves and two pictures every `every` epochs; None draws nothing.

    A new training removes the pictures of the model that it replaces, and a resumed one once it changes the model.
    """

    def __init__(self, model_dir: Path, every: int | None) -> None:
        """Draw into `model_dir`."""
        self._model_dir, self._every, self._are_stale = model_dir, every, True

    def started(self, history: Sequence[dict[str, Any]]) -> None:
        """Remove pictures of an earlier model, unless training is resumed."""
        if not history:
            self._remove()

    def epoch_ended(self, epoch: Epoch) -> None:
        """Draw in every `every`-th epoch."""
        if self._are_stale:
            self._remove()
        if not self._every or epoch.metrics["epoch"] % self._every:
            return
        n_validation = int((epoch.validation.labels != UNLABELED).sum())
        draw_learning_curves(self._model_dir, epoch.model.description.variant, n_validation)
        if len(epoch.validation):
            draw(View.of(epoch.model, epoch.validation, Silent()), LIVE_PICTURES, self._model_dir / DIRECTORY)

    def _remove(self) -> None:
        """Remove the pictures that are there, which are of an earlier model."""
        for name in PICTURES:
            (self._model_dir / DIRECTORY / name).unlink(missing_ok=True)
        self._are_stale = False
