"""Trials: trainings in memory that share images and batches, and differ in a few settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from aae_toolkit.config import VariantConfig
from aae_toolkit.data.arrays import TrainingData
from aae_toolkit.evaluation import Floats, encode
from aae_toolkit.progress import Progress, Silent
from aae_toolkit.training.loop import train_epochs
from aae_toolkit.training.run import Run
from aae_toolkit.training.runtime import Runtime
from aae_toolkit.training.setup import build_batches, fit_config_to_data, initial_state
from aae_toolkit.training.stop import StopRequest


class Trials:
    """Training data on the device. Nothing is written, and a training can be left at the end of any epoch."""

    def __init__(self, config: VariantConfig, data: TrainingData, runtime: Runtime, progress: Progress) -> None:
        """Read the images, and find their neighbours where `config` needs them.

        Raises:
            UsageError: a configuration that does not fit the data.
            AaeError: images are unreadable or too few.
        """
        self._run = Run(fit_config_to_data(config, data), data, runtime, Path(), progress)
        self._validation = data.load_inputs("validation")
        self._batches, self._first_y = build_batches(self._run)

    def train(self, config: VariantConfig, stop: StopRequest) -> Iterator[Floats]:
        """Train, and yield the category probabilities of the validation images after each epoch, float32 [N, K].

        Args:
            config: settings that may differ from those of the constructor where neither batches nor neighbours depend
                on them.
            stop: request that ends the training between two steps.

        Raises:
            AaeError: a loss, a gradient or a weight is not finite.
            Stopped: a stop was asked for.
        """
        run = dataclasses.replace(self._run, config=fit_config_to_data(config, self._run.data), progress=Silent())
        state = initial_state(run, self._batches.n_images, self._first_y, self._batches.moments())
        for _ in train_epochs(state, self._batches, run, stop):
            y, _ = encode(state.average.encoder, self._validation.inputs)
            yield y
