"""Whether adversarial training has collapsed: measured each epoch, and warned of once.

Nothing here sees the networks: the codes of the validation images and the epoch's losses are enough, so that no weight,
buffer or random stream can change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.evaluation import Floats, Integers
from aae_toolkit.training.metrics import WARNINGS, Line

# Early on y, z and the discriminators swing far and come back: what lasts is said, from when a run has found its way.
_LASTS = 3  # epochs in a row,
_SETTLED = 10  # the last of which is this one, or beyond
_SHARE_TO_SETTLE = 0.25  # of a shorter run

_NEARLY_ALL = 0.95  # of the images, or halfway from the largest class's share to all where that is more
_WON = 0.1  # nats: codes are told from prior samples with 95% certainty; 1.39 is a draw
_FAR = 3.0  # nats a dimension: a standard deviation of 3 or 0.03, or a mean of 2.4, where the prior has 1 and 0


def measure(y: Floats, z: Floats, labels: Integers) -> dict[str, float]:
    """What `metrics.jsonl` records of an epoch's codes; nothing where there are no validation images.

    Args:
        y: category probabilities [N, K] of the validation images.
        z: styles [N, Z].
        labels: their classes int64 [N], -1 where unknown.

    Returns:
        `largest_category_share`, the share of images in the category that has most, in [0, 1];
        `largest_class_share`, the same of the known labels, where there are any;
        `z_divergence`, nats a dimension by which a normal distribution of z's means and variances is from the prior.
    """
    if len(y) == 0:
        return {}
    found = {"largest_category_share": _largest_share(y.argmax(axis=1))}
    known = labels[labels != UNLABELED]
    if len(known):
        found["largest_class_share"] = _largest_share(known)
    mean, variance = z.mean(axis=0, dtype=np.float64), z.var(axis=0, dtype=np.float64)
    variance = variance.clip(np.finfo(np.float32).tiny)
    found["z_divergence"] = float(np.mean(variance + mean**2 - 1 - np.log(variance)) / 2)
    return found


def _largest_share(numbers: NDArray[np.int64]) -> float:
    return float(np.bincount(numbers).max() / len(numbers))


@dataclass(frozen=True)
class Symptom:
    """A way to collapse: whether a line of `metrics.jsonl` shows it, and what to say then."""

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
    """What the last line of a history shows, as those before it, and no line has warned of.

    Args:
        history: lines of `metrics.jsonl`, one an epoch from the first on.
        n_epochs: length of the run.
    """
    if len(history) < max(_LASTS, min(_SETTLED, _SHARE_TO_SETTLE * n_epochs)):
        return []
    said = {name for line in history for name in line.get(WARNINGS, ())}
    last = history[-_LASTS:]
    return [symptom for symptom in SYMPTOMS if symptom.name not in said and all(map(symptom.shows, last))]
