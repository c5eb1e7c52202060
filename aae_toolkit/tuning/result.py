"""Result of a search: its trials, the best of them, and whether that is more than luck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from aae_toolkit.config import Variant
from aae_toolkit.tuning.objective import Correct
from aae_toolkit.tuning.space import Dimension

FORMAT = "aae-tuning-1"
_CHANCE = 0.05  # that the best of equal configurations counts as better

End = Literal["complete", "pruned", "diverged"]


class Trial(BaseModel):
    """A trial that has ended, as the journal holds it.

    Attributes:
        number: its number, from 0, the base configuration.
        end: all epochs were trained, or it was below the median, or its loss was not finite.
        score: score after its last epoch, in [0, 1]; None where it diverged in the first.
        values: its settings by path.
        epochs: epochs trained.
        seconds: time that they took.
        correct: a bit a scored image, as hexadecimal digits; None where the score is no accuracy.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    number: int = Field(ge=0)
    end: End
    score: float | None = Field(ge=0, le=1)
    values: dict[str, float]
    epochs: int = Field(ge=0)
    seconds: float = Field(gt=0)
    correct: str | None = Field(pattern="^([0-9a-f]{2})*$")


def packed(correct: Correct | None) -> str | None:
    """Pack bits for `Trial.correct`."""
    return None if correct is None else np.packbits(correct).tobytes().hex()


def _unpacked(trial: Trial, n: int) -> NDArray[np.float64] | None:
    if trial.correct is None:
        return None
    return np.unpackbits(np.frombuffer(bytes.fromhex(trial.correct), np.uint8), count=n).astype(np.float64)


@dataclass(frozen=True)
class Tuning:
    """Outcome of a search.

    Attributes:
        variant: `semi_supervised` or `unsupervised`.
        objective: the score with its images, for people.
        n: number of scored images.
        n_epochs: epochs of a complete trial.
        dimensions: the settings that were tuned.
        trials: every trial that has ended, those of earlier runs included; the first is the base configuration.
        signum: signal that stopped the search; 0: none.
    """

    variant: Variant
    objective: str
    n: int
    n_epochs: int
    dimensions: tuple[Dimension, ...]
    trials: Sequence[Trial]
    signum: int = 0

    @property
    def base(self) -> Trial:
        """The trial of the base configuration."""
        return next(trial for trial in self.trials if trial.end == "complete")

    @property
    def best(self) -> Trial:
        """The complete trial with the highest score; of equal ones the earliest."""
        return max((t for t in self.trials if t.end == "complete"), key=lambda t: (t.score or 0.0, -t.number))

    def standard_error(self, trial: Trial) -> float | None:
        """Compute the standard error of an accuracy; None for another score."""
        return None if trial.correct is None else sqrt((trial.score or 0) * (1 - (trial.score or 0)) / self.n)

    @property
    def gain(self) -> float:
        """Score of the best trial less that of the base configuration."""
        return (self.best.score or 0) - (self.base.score or 0)

    @property
    def gain_error(self) -> float | None:
        """Standard error of the gain, from both trials' answers for the same images; None where it is no accuracy."""
        base, best = _unpacked(self.base, self.n), _unpacked(self.best, self.n)
        return None if base is None or best is None else float((best - base).std() / sqrt(self.n))

    @property
    def chance_gain(self) -> float | None:
        """Gain that the best of as many configurations, all as good as the base, stays below with 95% probability.

        The gain's standard error times a quantile of the normal distribution, with Bonferroni's correction.
        """
        if self.gain_error is None:
            return None
        n_tried = max(1, len(self.trials) - 1)
        return NormalDist().inv_cdf(1 - _CHANCE / n_tried) * self.gain_error

    @property
    def verdict(self) -> str:
        """One line for people about the gain."""
        if self.best is self.base:
            return "no trial was better than the base configuration"
        gain = f"the best trial is {100 * self.gain:.2f} points above the base configuration"
        if self.chance_gain is None or self.gain_error is None:
            return f"{gain}; this score has no standard error, so train both with several seeds to compare them"
        bound = f"standard error {100 * self.gain_error:.2f}, chance limit {100 * self.chance_gain:.2f}"
        real = self.gain > self.chance_gain
        return f"{gain} ({bound}): {'more than chance' if real else 'within noise, so it may be chance'}"

    def to_json(self) -> dict[str, Any]:
        """Return the object that `trials.json` holds and `aae tune --json` prints."""
        return {
            "format": FORMAT,
            "variant": self.variant,
            "objective": self.objective,
            "n": self.n,
            "n_epochs": self.n_epochs,
            "settings": [asdict(dimension) for dimension in self.dimensions],
            "base": self._scored(self.base),
            "best": self._scored(self.best),
            "gain": self.gain,
            "gain_standard_error": self.gain_error,
            "gain_by_chance": self.chance_gain,
            "verdict": self.verdict,
            "stopped": bool(self.signum),
            "trials": [trial.model_dump(exclude={"correct"}) for trial in self.trials],
        }

    def _scored(self, trial: Trial) -> dict[str, Any]:
        return {"number": trial.number, "score": trial.score, "standard_error": self.standard_error(trial)} | {
            "values": trial.values
        }
