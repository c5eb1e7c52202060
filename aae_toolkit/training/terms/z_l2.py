"""Penalty on the length of z. [seed, section 7.1, point 2]."""

from __future__ import annotations

from torch import Tensor

from aae_toolkit.training import losses
from aae_toolkit.training.terms.term import Codes, Term


class ZL2(Term[Codes]):
    """Length of z, which pushes information from z into y."""

    name = "z_l2"

    def __call__(self, inputs: Codes) -> Tensor:
        """Measure z."""
        return losses.z_l2(inputs.z)
