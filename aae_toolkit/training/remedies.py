"""Remedies for a training that goes wrong, by the settings in force: none is on already, or without effect."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aae_toolkit.config import UnsupervisedConfig, VariantConfig
from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.data.split import Split
from aae_toolkit.training.preflight import DataFacts
from aae_toolkit.training.run import Run

_EASY_TOLERANCE = 0.2  # nats; a balance loss that tolerates more lets categories vanish


@dataclass(frozen=True)
class Situation:
    """Settings in force, and counts of the data that a diagnosis depends on.

    Attributes:
        config: settings of the run, fitted to the data.
        facts: counts of the data.
        class_counts: validation images by class; empty without labels.
        n_validation: number of validation images.
    """

    config: VariantConfig
    facts: DataFacts
    class_counts: tuple[int, ...]
    n_validation: int

    @classmethod
    def of(cls, run: Run, facts: DataFacts, validation: Split) -> Situation:
        """Count the validation images of a run."""
        known = validation.labels[validation.labels != UNLABELED]
        counts = np.bincount(known, minlength=len(run.data.class_names)) if len(known) else ()
        return cls(run.config, facts, tuple(int(n) for n in counts), len(validation))

    @property
    def n_categories(self) -> int:
        """Number of categories, K."""
        assert self.config.model.n_classes is not None
        return self.config.model.n_classes

    @property
    def n_needed(self) -> int:
        """Number of categories that the data needs: K, or the classes with half an even share or more if fewer."""
        if not self.class_counts:
            return self.n_categories
        least = sum(self.class_counts) / len(self.class_counts) / 2
        return min(self.n_categories, sum(n >= least and n > 0 for n in self.class_counts))

    def is_taught_by(self, discriminator: str) -> bool:
        """Tell whether a discriminator, `categorical` or `gaussian`, moves the encoder at all."""
        rates = self.config.learning_rates
        style = rates.generator_lr if rates.style_lr is None else rates.style_lr
        rate = rates.generator_lr if discriminator == "categorical" else style
        return self.config.training.use_autoencoder and rate > 0


def against_collapse(s: Situation, *, categorical_has_won: bool, undecided: bool) -> str:
    """Advise against categories that are not used.

    Args:
        s: settings in force.
        categorical_has_won: the categorical discriminator tells y from its prior, so that a lower rate of the generator
            would not help.
        undecided: y is nearly uniform, which is balanced already: more balance would not help.
    """
    terms = s.config.consistency
    advice = []
    if not terms.lambda_pairs:
        advice.append("set lambda_pairs: 1 and lambda_balance: 4 (section consistency)")
    elif not terms.lambda_balance:
        advice.append("set lambda_balance: 4 (section consistency, now 0)")
    else:
        if not s.facts.has_backbone:
            advice.append("photographs need a backbone (aae init-datasets --backbone)")
        if undecided:
            advice.append(f"ask for fewer categories (--n-classes, now {s.n_categories})")
        elif terms.balance_tolerance > _EASY_TOLERANCE:
            advice.append(f"lower balance_tolerance (now {terms.balance_tolerance:g})")
        else:
            advice.append(f"raise lambda_balance (now {terms.lambda_balance:g})")
    generator_lr = s.config.learning_rates.generator_lr
    if s.is_taught_by("categorical"):
        advice.append(against_discriminator(s) if categorical_has_won else f"lower generator_lr (now {generator_lr:g})")
    return _either(advice)


def against_uneven(s: Situation) -> str:
    """Advise against categories that are much less even than the classes."""
    advice = []
    if s.config.variant == "semi_supervised":
        advice.append("label more images of the classes that aae evaluate shows with a low accuracy")
    terms = s.config.consistency
    if terms.lambda_balance:
        advice.append(f"raise lambda_balance (now {terms.lambda_balance:g})")
    elif terms.lambda_pairs:
        advice.append("set lambda_balance: 2 (section consistency, now 0)")
    else:
        advice.append("set lambda_pairs: 1 and lambda_balance: 2 (section consistency)")
    if s.class_counts:
        return _either(advice)
    advice.append(f"ask for fewer categories (--n-classes, now {s.n_categories})")
    return f"if the kinds in your data differ as much in size, nothing is wrong; otherwise {_either(advice)}"


def against_discriminator(s: Situation) -> str:
    """Advise against a discriminator that has won: a slower one lets the encoder catch up."""
    return f"lower discriminator_lr (now {s.config.learning_rates.discriminator_lr:g})"


def against_far_styles(s: Situation) -> str:
    """Advise against styles far from their prior."""
    advice = [against_discriminator(s)] if s.is_taught_by("gaussian") else ["set style_lr above 0 (now 0)"]
    if isinstance(s.config, UnsupervisedConfig):
        advice.append(f"raise lambda_z_l2_regularization (now {s.config.training.lambda_z_l2_regularization:g})")
    return _either(advice)


def against_blur(s: Situation) -> str:
    """Advise for a decoder that rebuilds little."""
    return _either([*_more_decoding(s), f"raise z_size (now {s.config.model.z_size})"])


def against_unused_style(s: Situation) -> str:
    """Advise for a decoder that does without z."""
    advice = _more_decoding(s)
    penalty = getattr(s.config.training, "lambda_z_l2_regularization", 0.0)
    if penalty:
        advice.append(f"lower lambda_z_l2_regularization (now {penalty:g})")
    return _either([*advice, f"raise z_size (now {s.config.model.z_size})"])


def _more_decoding(s: Situation) -> list[str]:
    every = s.config.training.autoencoder_every
    return [f"set autoencoder_every: 1 (now {every})"] if every > 1 else []


def _either(advice: list[str]) -> str:
    return ", ".join(advice[:-1]) + (", or " if len(advice) > 1 else "") + advice[-1]
