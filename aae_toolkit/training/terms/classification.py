"""Classification of labelled images. [AAE, section 5]."""

from __future__ import annotations

from torch import Tensor

from aae_toolkit.training import losses
from aae_toolkit.training.terms.term import Encodings, Term


class Classification(Term[Encodings]):
    """Cross-entropy of labelled images under their labels."""

    name = "classification"
    views = ("labeled",)

    def __call__(self, inputs: Encodings) -> Tensor:
        """Compare the labelled view's logits with the labels."""
        logits, labels = inputs.y_logits_of("labeled"), inputs.targets["labeled"]
        return losses.classification(logits, labels, self.frequencies.weights)
