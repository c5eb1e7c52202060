"""Pseudo-labels: the memory's likeliest category is an image's label. [FixMatch; Laine & Aila]."""

from __future__ import annotations

from torch import Tensor

from aae_toolkit.config import VariantConfig
from aae_toolkit.models.networks import Networks
from aae_toolkit.training import losses
from aae_toolkit.training.terms.term import Encodings, Term


class PseudoLabels(Term[Encodings]):
    """Cross-entropy of trusted images under their likeliest category; other images count as 0."""

    name = "pseudo_labels"
    views = ("image",)

    def __init__(self, weight: float, config: VariantConfig, networks: Networks) -> None:
        """Keep the confidence that a category must exceed."""
        super().__init__(weight, config, networks)
        self.confidence = config.consistency.confidence

    def __call__(self, inputs: Encodings) -> Tensor:
        """Compare the image view's logits with the memory."""
        assert inputs.recalled is not None
        y = inputs.recalled.y * inputs.recalled.trusted.unsqueeze(1)
        return losses.pseudo_label(y, inputs.y_logits_of("image"), self.confidence)
