"""Health of adversarial training: signs of a collapse are measured each epoch, and each is warned of once.

The codes of the validation images and the epoch's losses are enough. No function here sees the networks, so none can
change a weight, a buffer or a random stream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.config import VariantConfig
from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.evaluation import Floats, Integers
from aae_toolkit.training.metrics import WARNINGS, Line

# Early on y, z and the discriminators swing far and come back: a warning needs a symptom that lasts in a settled run.
_LASTS = 3  # epochs in a row that show the symptom
_SETTLED = 10  # least number of the last of them
_SHARE_TO_SETTLE = 0.25  # a run is settled after this share of its epochs, if that is sooner

_FEWEST_USED = 0.5  # share of the categories; fewer than this are a collapse at the end of a run
_IMAGES_EACH = 5  # validation images a category, below which an unused category may be chance
_NEARLY_ALL = 0.95  # share of the images; more where the largest class is large: halfway from its share to 1
_WON = 0.1  # nats: the discriminator is right with 95% certainty; 1.39 is a draw
_FAR = 3.0  # nats a dimension: a standard deviation of 3 or 0.03, or a mean of 2.4; the prior has 1 and 0


def measure(y: Floats, z: Floats | None, labels: Integers) -> dict[str, float]:
    """Measure an epoch's codes for `metrics.jsonl`; return nothing where there are no validation images.

    Args:
        y: category probabilities [N, K] of the validation images.
        z: styles [N, Z] of these images; None where z is not trained.
        labels: classes of these images int64 [N], -1 where unknown.

    Returns:
        `largest_category_share`: share of images in the largest category, in [0, 1].
        `largest_class_share`: share of labelled images in the largest class, where there are labels.
        `z_divergence`: divergence of a normal distribution with the means and variances of z from the prior, nats a
        dimension, where z is trained.
    """
    if len(y) == 0:
        return {}
    measured = {"largest_category_share": _largest_share(y.argmax(axis=1))}
    known = labels[labels != UNLABELED]
    if len(known):
        measured["largest_class_share"] = _largest_share(known)
    if z is None:
        return measured
    mean, variance = z.mean(axis=0, dtype=np.float64), z.var(axis=0, dtype=np.float64)
    variance = variance.clip(np.finfo(np.float32).tiny)
    measured["z_divergence"] = float(np.mean(variance + mean**2 - 1 - np.log(variance)) / 2)
    return measured


def _largest_share(numbers: NDArray[np.int64]) -> float:
    return float(np.bincount(numbers).max() / len(numbers))


@dataclass(frozen=True)
class Symptom:
    """A sign of collapse: a test of a line of `metrics.jsonl`, and the text of the warning."""

    name: str
    shows: Callable[[Line], bool]
    text: Callable[[Line], str]


def _one_category(line: Line) -> bool:
    bound = max(_NEARLY_ALL, (1 + line.get("largest_class_share", 0.0)) / 2)
    return bool(line.get("largest_category_share", 0.0) > bound)


def _discriminator(kind: str, code: str) -> Symptom:
    term = f"discriminator_{kind}"
    return Symptom(
        f"{kind}_discriminator_wins",
        lambda line: line.get(term, _WON) < _WON,
        lambda line: (
            f"the {kind} discriminator wins outright ({term} {line[term]:.3f}, where 1.386 is a draw), so the encoder"
            f" learns nothing from it and {code} stays unlike its prior; lower discriminator_lr or raise generator_lr"
        ),
    )


SYMPTOMS = (
    Symptom(
        "one_category",
        _one_category,
        lambda line: (
            f"one category takes {100 * line['largest_category_share']:.1f}% of the validation images: y has collapsed;"
            " lower generator_lr, or turn on lambda_pairs with lambda_balance (section consistency)"
        ),
    ),
    _discriminator("categorical", "y"),
    _discriminator("gaussian", "z"),
    Symptom(
        "z_far_from_prior",
        lambda line: line.get("z_divergence", 0.0) > _FAR,
        lambda line: (
            f"z is far from its prior ({line['z_divergence']:.1f} nats a dimension), so styles that are drawn from the"
            " prior give poor pictures; raise generator_lr, lower auto_encoder_lr, or change"
            " lambda_z_l2_regularization or z_size"
        ),
    ),
)


def new_symptoms(history: Sequence[Line], n_epochs: int) -> list[Symptom]:
    """Return the symptoms that the last lines of a history show and that no line has warned of yet.

    Args:
        history: lines of `metrics.jsonl`, one an epoch from the first on.
        n_epochs: epochs of the whole run.
    """
    if len(history) < max(_LASTS, min(_SETTLED, _SHARE_TO_SETTLE * n_epochs)):
        return []
    warned = {name for line in history for name in line.get(WARNINGS, ())}
    last = history[-_LASTS:]
    return [symptom for symptom in SYMPTOMS if symptom.name not in warned and all(map(symptom.shows, last))]


def collapse(y: Floats, labels: Integers, config: VariantConfig, *, has_backbone: bool) -> str | None:
    """Say in one line that a finished run has collapsed, with advice for its settings; None if it has not.

    Args:
        y: category probabilities [N, K] of the validation images.
        labels: classes of these images int64 [N], -1 where unknown.
        config: settings of the run.
        has_backbone: the encoder takes embeddings of a backbone.
    """
    measured = measure(y, None, labels)
    n_used, n = len(np.unique(y.argmax(axis=1))), y.shape[1]
    are_few = n_used < _FEWEST_USED * n and len(y) >= _IMAGES_EACH * n
    if not measured or not (_one_category(measured) or are_few):
        return None
    verb = "is" if n_used == 1 else "are"
    largest = f"the largest has {100 * measured['largest_category_share']:.0f}% of the validation images"
    return f"COLLAPSED: {n_used} of {n} categories {verb} used, {largest}; {_advice(config, has_backbone=has_backbone)}"


def _advice(config: VariantConfig, *, has_backbone: bool) -> str:
    """Name what these settings leave to try against a collapse, the most promising first."""
    terms, advice = config.consistency, []
    if not (terms.lambda_pairs and terms.lambda_balance):
        advice.append("turn on lambda_pairs with lambda_balance (section consistency), or train with auto")
    else:
        if not has_backbone:
            advice.append("photographs need a backbone (aae init-datasets --backbone)")
        advice.append(f"raise lambda_balance (now {terms.lambda_balance:g})")
    generator_lr = config.learning_rates.generator_lr
    if config.training.use_autoencoder and generator_lr:
        advice.append(f"lower generator_lr (now {generator_lr:g})")
    return ", ".join(advice[:-1]) + (", or " if len(advice) > 1 else "") + advice[-1]
