"""Balance: all categories are used alike, or as often as the labels' classes. [IMSAT]."""

from __future__ import annotations

from torch import Tensor

from aae_toolkit.config import VariantConfig
from aae_toolkit.distributed.collectives import batch_mean
from aae_toolkit.models.networks import Networks
from aae_toolkit.training import losses
from aae_toolkit.training.frequencies import ALL_ALIKE, Frequencies
from aae_toolkit.training.terms.term import Encodings, Term


class Balance(Term[Encodings]):
    """Entropy that the mean y of images and partners lacks, or its divergence from the prior, beyond a tolerance.

    The tolerance goes from `balance_tolerance` to `trusted_balance_tolerance` with the share of images whose memory is
    trusted: even use finds categories, pseudo-labels then keep them.
    """

    name = "balance"
    views = ("image", "partner")

    def __init__(
        self, weight: float, config: VariantConfig, networks: Networks, frequencies: Frequencies = ALL_ALIKE
    ) -> None:
        """Keep both tolerances, nats."""
        super().__init__(weight, config, networks, frequencies)
        self.first_tolerance = config.consistency.balance_tolerance
        self.last_tolerance = config.consistency.trusted_balance_tolerance

    def __call__(self, inputs: Encodings) -> Tensor:
        """Compare the mean y with even use of all categories, or with the prior."""
        tolerance: Tensor | float = self.first_tolerance
        if inputs.recalled is not None:
            share_trusted = batch_mean(inputs.recalled.trusted.float())
            tolerance = tolerance + (self.last_tolerance - tolerance) * share_trusted
        return losses.balance(inputs.y_logits_of("image", "partner").softmax(dim=1), tolerance, self.frequencies.prior)
