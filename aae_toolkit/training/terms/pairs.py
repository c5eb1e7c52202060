"""Pairs: an image and its partner share a category. [IMSAT; SCAN]."""

from __future__ import annotations

from torch import Tensor

from aae_toolkit.training import losses
from aae_toolkit.training.terms.term import Encodings, Term


class Pairs(Term[Encodings]):
    """Cross-entropy between the views of an image and its partner, weighted by the memory where there is one."""

    name = "pairs"
    views = ("image", "partner")

    def __call__(self, inputs: Encodings) -> Tensor:
        """Compare the logits of both views."""
        weights = None if inputs.recalled is None else inputs.recalled.shared
        return losses.pairs(inputs.y_logits_of("image"), inputs.y_logits_of("partner"), weights)
