"""TensorBoard log of a training (`--tensorboard`): scalars, reconstructions and modes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from aae_toolkit.progress import Silent
from aae_toolkit.training.metrics import WARNINGS
from aae_toolkit.training.observer import Epoch
from aae_toolkit.visualization.canvas import tile
from aae_toolkit.visualization.reconstructions import examples
from aae_toolkit.visualization.view import View

DIRECTORY = "tensorboard"  # in a model directory
_EVENTS = "events.out.tfevents.*"
_MODES_A_ROW = 10


class TensorBoardLog:
    """Observer that writes event files; a step is an epoch. Close it, or use it in a `with` statement.

    A new training replaces earlier event files. A resumed one purges events after its checkpoint, and writes the
    scalars of earlier epochs if no log of them is there.
    """

    def __init__(self, model_dir: Path) -> None:
        """Write event files into `<model_dir>/tensorboard`.

        Raises:
            ModuleNotFoundError: the tensorboard package is not installed.
        """
        from torch.utils.tensorboard import SummaryWriter

        self._new_writer = SummaryWriter
        self._directory = model_dir / DIRECTORY
        self._writer: Any = None

    def started(self, history: Sequence[dict[str, Any]]) -> None:
        """Open an event file, after those of earlier runs if training is resumed."""
        earlier = sorted(self._directory.glob(_EVENTS))
        if not history:
            for events in earlier:
                events.unlink()
        self._writer = self._new_writer(str(self._directory), purge_step=len(history) + 1)
        for line in () if earlier else history:
            self._write_scalars(line)

    def epoch_ended(self, epoch: Epoch) -> None:
        """Write an epoch's scalars and pictures."""
        self._write_scalars(epoch.metrics)
        step = epoch.metrics["epoch"]
        if len(epoch.validation):
            view = View.of(epoch.model, epoch.validation, Silent())
            for tag, sheet in pictures(view).items():
                self._writer.add_image(tag, sheet, step)
        self._writer.flush()

    def _write_scalars(self, metrics: Mapping[str, Any]) -> None:
        for name, value in metrics.items():
            if name not in ("epoch", WARNINGS) and value is not None:
                self._writer.add_scalar(f"{_group(name)}/{name}", value, metrics["epoch"])

    def close(self) -> None:
        """Finish the event file."""
        if self._writer is not None:
            self._writer.close()

    def __enter__(self) -> TensorBoardLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def pictures(view: View) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Return images [3, height, width] in [0, 1] by tag: images above their reconstructions, and the modes.

    Without a trained decoder there are none.
    """
    if not view.model.description.decoder_is_trained:
        return {}
    chosen = examples(view)
    rows = {"reconstructions": [list(view.images[chosen]), list(view.decode(view.y[chosen], view.z[chosen]))]}
    sheets = {"modes": view.modes()}
    if view.model.mode_decoder is not None:
        sheets["mode_decoder"] = view.mode_decoder_modes()
    for tag, modes in sheets.items():
        rows[tag] = [list(modes[i : i + _MODES_A_ROW]) for i in range(0, len(modes), _MODES_A_ROW)]
    return {tag: _rgb(tile(content, len(content[0]))) for tag, content in rows.items()}


def _rgb(sheet: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return an image with three channels; other numbers of channels become their mean."""
    return sheet if len(sheet) == 3 else np.repeat(sheet.mean(axis=0, keepdims=True), 3, axis=0)


_OF_CODES = ("categories_used", "certainty", "z_divergence", "picture_variance_rebuilt", "style_share")


def _group(name: str) -> str:
    """Return the TensorBoard section of a metric."""
    if name.endswith("accuracy"):
        return "accuracy"
    if name in _OF_CODES or name.startswith("largest_"):
        return "codes"
    return "speed" if name in ("seconds", "images_per_second", "peak_memory_mib") else "loss"
