"""Over-clustering: pairs and balance on a second head that has more categories. [IIC]."""

from __future__ import annotations

from torch import Tensor

from aae_toolkit.config import VariantConfig
from aae_toolkit.models.networks import Networks
from aae_toolkit.training import losses
from aae_toolkit.training.frequencies import ALL_ALIKE, Frequencies
from aae_toolkit.training.terms.term import Encodings, Term


class OverClustering(Term[Encodings]):
    """Pairs and balance, with no tolerance, of the second head's categories.

    They are even whatever the classes are: a larger class takes more of them.
    """

    name = "over_clustering"
    views = ("image", "partner")
    trains = ("over_clustering",)

    def __init__(
        self, weight: float, config: VariantConfig, networks: Networks, frequencies: Frequencies = ALL_ALIKE
    ) -> None:
        """Keep the second head."""
        super().__init__(weight, config, networks, frequencies)
        self.head = networks.over_clustering

    def __call__(self, inputs: Encodings) -> Tensor:
        """Apply the head to the features of both views."""
        assert self.head is not None
        logits = self.head(inputs.features_of("image", "partner")).float()
        weights = None if inputs.recalled is None else inputs.recalled.shared
        image, partner = logits.chunk(2)
        return losses.pairs(image, partner, weights) + losses.balance(logits.softmax(dim=1))
