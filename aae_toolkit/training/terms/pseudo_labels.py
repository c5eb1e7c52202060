"""Pseudo-labels: the memory's likeliest category is an image's label. [FixMatch; Laine & Aila]."""

from __future__ import annotations

from torch import Tensor

from aae_toolkit.config import VariantConfig
from aae_toolkit.models.networks import Networks
from aae_toolkit.training import losses
from aae_toolkit.training.frequencies import ALL_ALIKE, Frequencies
from aae_toolkit.training.terms.term import Encodings, Term


class PseudoLabels(Term[Encodings]):
    """Cross-entropy of trusted images under their likeliest category; other images count as 0.

    The logits are y's, or those of a head of their own: the labels alone then teach y's head. [Chen et al.].
    """

    name = "pseudo_labels"
    views = ("image",)

    def __init__(
        self, weight: float, config: VariantConfig, networks: Networks, frequencies: Frequencies = ALL_ALIKE
    ) -> None:
        """Keep the confidence that a category must exceed, and the head."""
        super().__init__(weight, config, networks, frequencies)
        self.confidence = config.consistency.confidence
        self.head = networks.pseudo_labels
        self.trains = () if self.head is None else ("pseudo_labels",)

    def __call__(self, inputs: Encodings) -> Tensor:
        """Compare the image view's logits with the memory."""
        assert inputs.recalled is not None
        y = inputs.recalled.y * inputs.recalled.trusted.unsqueeze(1)
        logits = inputs.y_logits_of("image") if self.head is None else self.head(inputs.features_of("image")).float()
        return losses.pseudo_label(y, logits, self.confidence, self._weights(inputs.recalled.shares))

    def _weights(self, shares: Tensor | None) -> Tensor | None:
        """Weigh pseudo-labels by 1 / (K * share), [K], but none more than the rarest class's labels.

        The labels' own weights would count twice: the memory of a network taught by weighted labels has few images of
        frequent classes already.
        """
        if self.frequencies.weights is None or shares is None:
            return None
        return (1 / (len(shares) * shares)).clamp_max(self.frequencies.weights.max())
