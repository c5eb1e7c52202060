"""Diagnosis of a training, as `model.json` keeps it: what went wrong, and what to change in the settings in force."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from aae_toolkit.files.documents import Name

State = Literal[
    "healthy",
    "collapsed",
    "uneven",
    "categorical_discriminator_wins",
    "gaussian_discriminator_wins",
    "z_far_from_prior",
    "blurred",
    "style_unused",
]

_TITLES: dict[State, str] = {
    "healthy": "healthy",
    "collapsed": "COLLAPSED",
    "uneven": "UNEVEN CATEGORIES",
    "categorical_discriminator_wins": "y unlike its prior",
    "gaussian_discriminator_wins": "z unlike its prior",
    "z_far_from_prior": "z far from its prior",
    "blurred": "blurred pictures",
    "style_unused": "style not used",
}


class Diagnosis(BaseModel):
    """State of a training at its end, the most serious one if there are several.

    Attributes:
        state: name of the state.
        finding: what was measured, in words; empty where healthy.
        advice: what to change in the settings of the run; empty where healthy.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    state: State
    finding: Name = ""
    advice: Name = ""

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is wrong."""
        return self.state == "healthy"

    @property
    def concerns_labels(self) -> bool:
        """Whether labels are affected, and not styles and pictures alone."""
        return self.state in ("collapsed", "uneven", "categorical_discriminator_wins")

    @property
    def title(self) -> str:
        """State in a few words."""
        return _TITLES[self.state]

    @property
    def line(self) -> str:
        """One line for people, such as "COLLAPSED: 1 of 5 categories is used; raise lambda_balance (now 4)"."""
        return self.title + (f": {self.finding}; {self.advice}" if not self.is_healthy else "")
