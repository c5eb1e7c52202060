"""The protocol of an optional loss term, and the inputs of terms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from aae_toolkit.config import VariantConfig
from aae_toolkit.models.networks import Networks
from aae_toolkit.training.frequencies import ALL_ALIKE, Frequencies
from aae_toolkit.training.terms.memory import Recalled

Inputs = TypeVar("Inputs")


class Codes(NamedTuple):
    """Codes of a batch: y [B, K] and z [B, Z]."""

    y: Tensor
    z: Tensor


class Encodings(NamedTuple):
    """All views of a step after one pass through the encoder.

    Attributes:
        features: the encoder's features of all views together, [N, F].
        y_logits: logits of all views together, float32 [N, K].
        rows: each view's rows in `features` and `y_logits`, by name.
        targets: what a view's y is compared with, by name: labels int64 [B], or y [B, K].
        recalled: the memory's y of the unlabelled images; None without a memory.
    """

    features: Tensor
    y_logits: Tensor
    rows: dict[str, slice]
    targets: dict[str, Tensor]
    recalled: Recalled | None

    def features_of(self, *views: str) -> Tensor:
        """Features of these views, one after the other."""
        return torch.cat([self.features[self.rows[view]] for view in views])

    def y_logits_of(self, *views: str) -> Tensor:
        """Logits of these views, one after the other."""
        return torch.cat([self.y_logits[self.rows[view]] for view in views])


class Term(ABC, Generic[Inputs]):
    """One optional part of a phase's loss; a term that the configuration turns off is never built.

    Attributes:
        name: key of the term in metrics and messages.
        views: names of the views that the term needs, from `registry.VIEWS`.
        trains: names of further networks that the term trains.
        weight: factor of the term in the loss.
    """

    name: ClassVar[str]
    views: ClassVar[tuple[str, ...]] = ()
    trains: tuple[str, ...] = ()

    def __init__(
        self, weight: float, config: VariantConfig, networks: Networks, frequencies: Frequencies = ALL_ALIKE
    ) -> None:
        """Keep the weight and the classes' frequencies; a subclass keeps what else it needs."""
        self.weight = weight
        self.frequencies = frequencies

    @abstractmethod
    def __call__(self, inputs: Inputs) -> Tensor:
        """Compute the term, a scalar, before it is weighted."""


def weighted(terms: Iterable[Term[Inputs]], inputs: Inputs) -> dict[str, Tensor]:
    """Compute every term and multiply it by its weight; scalars by name."""
    return {term.name: term.weight * term(inputs) for term in terms}
