"""The base of all phases: a module whose `forward(batch)` returns its named, weighted loss terms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from aae_toolkit.config import TrainingConfig
from aae_toolkit.models.networks import Decoder, Discriminator, Encoder, ModeDecoder, Networks
from aae_toolkit.training.batches import Batch
from aae_toolkit.training.weights import master

_BATCH_NORM_MOMENTUM = 0.1  # torch's default
_SGD_MOMENTUM = 0.9


class Phase(nn.Module, ABC):
    """One optimizer step's worth of loss over a fixed set of trained networks.

    A phase owns the choice of networks that it trains, its optimizer and its BatchNorm policy, and nothing else.

    Attributes:
        name: name in errors and checkpoints.
        trains: names of the networks that the optimizer steps.
        uses: names of further networks that the loss depends on.
        out_of_reach: names of the parts of trained networks that the loss does not depend on.
        style_parts: names of the parts of trained networks that take the style learning rate.
        is_autoencoder: True if `autoencoder_every` and `autoencoder_after` apply.
        every: number of steps between two runs of the phase.
        first_epoch: number of epochs before the phase first runs.
        updates_batch_norm: True if running statistics move. Only clean, real images move them, because a trained model
            sees only such images. A consistency phase is the exception: y is learned there, and it alone moves them.
    """

    name: ClassVar[str]
    trains: tuple[str, ...]
    uses: ClassVar[tuple[str, ...]] = ()
    out_of_reach: ClassVar[tuple[str, ...]] = ()
    style_parts: ClassVar[tuple[str, ...]] = ()
    is_autoencoder: ClassVar[bool] = True
    updates_batch_norm: bool = True

    encoder: Encoder
    decoder: Decoder
    mode_decoder: ModeDecoder
    categorical_discriminator: Discriminator
    gaussian_discriminator: Discriminator

    def __init__(
        self, networks: Networks, learning_rate: float, training: TrainingConfig, *, style_rate: float | None = None
    ) -> None:
        """Register the networks that are trained or used, and build the optimizer of the trained ones."""
        super().__init__()
        self.every, self.first_epoch = 1, 0
        if self.is_autoencoder:
            self.every = training.autoencoder_every
            self.first_epoch = int(training.autoencoder_after * training.n_epochs)
        self.memory: nn.Module | None = None  # state from step to step beside the optimizer's
        for name in self.trains + self.uses:
            self.add_module(name, getattr(networks, name))
        trained = {name: p for name, p in self.named_parameters() if self._steps(name)}
        self.trained_names, self.trained = list(trained), list(trained.values())
        groups: dict[float, list[Tensor]] = {}  # by learning rate
        for name, weight in trained.items():
            rate = learning_rate if style_rate is None or not name.startswith(self.style_parts) else style_rate
            groups.setdefault(rate, []).append(master(weight))
        rated = [{"params": masters, "lr": rate, "initial_lr": rate} for rate, masters in groups.items()]
        self.optimizer: torch.optim.Optimizer
        options: dict[str, Any] = {"lr": learning_rate, "weight_decay": training.weight_decay, "fused": True}
        if training.use_adam_optimization:
            self.optimizer = torch.optim.AdamW(rated, **options)
        else:
            self.optimizer = torch.optim.SGD(rated, momentum=_SGD_MOMENTUM, **options)
            for own in map(master, self.trained):  # a skipped step would leave it uninitialized
                self.optimizer.state[own]["momentum_buffer"] = torch.zeros_like(own)
        self._untrained = {name: p for name, p in self.named_parameters() if not self._steps(name)}
        self._batch_norms = [m for m in self.modules() if isinstance(m, _BatchNorm)]

    def prepare(self) -> None:
        """Enable gradients of the trained networks only, and set the BatchNorm policy."""
        for parameter in self._untrained.values():
            parameter.requires_grad_(False)
        for parameter in self.trained:
            parameter.requires_grad_(True)
        for module in self._batch_norms:
            module.momentum = _BATCH_NORM_MOMENTUM if self.updates_batch_norm else 0.0

    def is_due(self, epoch: int, step: int) -> bool:
        """Tell whether the phase runs at this step of this epoch, both counted from 0."""
        return epoch >= self.first_epoch and step % self.every == 0

    def untrained_names(self) -> list[str]:
        """Return the names of the parameters and buffers that the phase uses and its optimizer does not step."""
        return [*self._untrained, *(name for name, _ in self.named_buffers())]

    def _steps(self, parameter: str) -> bool:
        """Tell whether the optimizer steps the parameter of this name."""
        return parameter.startswith(self.trains) and not parameter.startswith(self.out_of_reach)

    @abstractmethod
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the loss terms, scalars by name; the optimizer minimizes their sum."""
