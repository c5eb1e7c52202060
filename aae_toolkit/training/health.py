"""Health of a training: what an epoch's codes and pictures measure, and the one diagnosis that follows from it.

Measuring changes no weight, no buffer and no random stream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.data.split import Split, evenly
from aae_toolkit.evaluation import Floats, Integers
from aae_toolkit.models.diagnosis import Diagnosis, State
from aae_toolkit.models.networks import Decoder, scale
from aae_toolkit.training import remedies
from aae_toolkit.training.metrics import WARNINGS, Line
from aae_toolkit.training.preflight import more_steps
from aae_toolkit.training.remedies import Situation

# Early on y, z and the discriminators swing far and come back: a warning needs a symptom that lasts in a settled run.
_LASTS = 3  # epochs in a row that show the symptom
_SETTLED = 10  # least number of the last of them
_SHARE_TO_SETTLE = 0.25  # a run is settled after this share of its epochs, if that is sooner
_SHARE_TO_DRAW = 0.5  # styles and pictures are judged after this share of the epochs: they follow the labels

_FEWEST_USED = 0.5  # share of the categories that the data needs; fewer are a collapse
_IMAGES_EACH = 5  # validation images a category, below which an unused category may be chance
_NEARLY_ALL = 0.95  # share of the images; more where the largest class is large: halfway from its share to 1
_UNDECIDED = 0.25  # certainty, from chance to 1, below which y says nothing
_LARGER = 2.0  # largest category in units of the largest class, from which categories are uneven
_MUCH_LARGER = 3.0  # the same in units of an even share, where the classes are not known
_WON = 0.1  # nats: the discriminator is right with 95% certainty; 1.39 is a draw
_FAR = 3.0  # nats a dimension: a standard deviation of 3 or 0.03, or a mean of 2.4; the prior has 1 and 0
_BLURRED = 0.05  # share of the pictures' variance that the decoder rebuilds
_UNUSED = 0.02  # share of the variance of decoded pictures that is the style's

_PICTURES = 256  # most validation images that are decoded


def measure(y: Floats, z: Floats | None, labels: Integers) -> dict[str, float]:
    """Measure an epoch's codes for `metrics.jsonl`; return nothing where there are no validation images.

    Args:
        y: category probabilities [N, K] of the validation images.
        z: styles [N, Z] of these images; None where z is not trained.
        labels: classes of these images int64 [N], -1 where unknown.

    Returns:
        `categories_used`: number of categories that an image has.
        `certainty`: mean probability of an image's category; 1/K is none.
        `largest_category_share`: share of images in the largest category, in [0, 1].
        `largest_class_share`: share of labelled images in the largest class, where there are labels.
        `z_divergence`: divergence of a normal distribution with the means and variances of z from the prior, nats a
        dimension, where z is trained.
    """
    if len(y) == 0:
        return {}
    categories = y.argmax(axis=1)
    measured = {
        "categories_used": len(np.unique(categories)),
        "largest_category_share": _largest_share(categories),
        "certainty": float(y.max(axis=1).mean(dtype=np.float64)),
    }
    known = labels[labels != UNLABELED]
    if len(known):
        measured["largest_class_share"] = _largest_share(known)
    if z is None:
        return measured
    mean, variance = z.mean(axis=0, dtype=np.float64), z.var(axis=0, dtype=np.float64)
    variance = variance.clip(np.finfo(np.float32).tiny)
    measured["z_divergence"] = float(np.mean(variance + mean**2 - 1 - np.log(variance)) / 2)
    return measured


@torch.inference_mode()
def measure_pictures(decoder: Decoder, validation: Split, y: Floats, z: Floats) -> dict[str, float]:
    """Measure what a trained decoder makes of the codes; return nothing where fewer than two images are held out.

    Args:
        decoder: the decoder.
        validation: images [N, C, H, W], or thumbnails of them, which are what it rebuilds.
        y: category probabilities [N, K] of these images.
        z: their styles [N, Z].

    Returns:
        `picture_variance_rebuilt`: share of the images' variance that is rebuilt; 1 is perfect, 0 the mean image.
        `style_share`: share of the decoded pictures' variance that comes from z, measured by exchanging styles.
    """
    chosen = evenly(len(y), _PICTURES)
    if len(chosen) < 2:
        return {}
    device = decoder.out.weight.device
    images = scale(torch.from_numpy(validation.images[chosen])).flatten(1)
    codes, styles = (torch.from_numpy(part[chosen]).to(device) for part in (y, z))
    own, exchanged = (decoder.images(decoder(codes, s)).cpu() for s in (styles, styles.roll(1, dims=0)))
    spread, decoded = _spread(images), _spread(own)
    return {
        "picture_variance_rebuilt": 1 - float((images - own).square().sum()) / max(spread, 1e-9),
        "style_share": min(1.0, float((own - exchanged).square().sum()) / 2 / max(decoded, 1e-9)),
    }


def _spread(pictures: torch.Tensor) -> float:
    """Sum of squared distances of pictures [N, P] from their mean."""
    return float((pictures - pictures.mean(dim=0)).square().sum())


def _largest_share(numbers: NDArray[np.int64]) -> float:
    return float(np.bincount(numbers).max() / len(numbers))


@dataclass(frozen=True)
class Symptom:
    """A sign that something is wrong: a test of a line of `metrics.jsonl`, the finding in words, and the advice.

    Symptoms of labels are facts at the end of a run, and judged by its last line alone then. Symptoms of pictures are
    judged in the second half of a run: until the decoder has learned, every run has them.
    """

    state: State
    shows: Callable[[Line, Situation], bool]
    finding: Callable[[Line, Situation], str]
    advice: Callable[[Line, Situation], str]
    is_of_labels: bool = False
    is_of_pictures: bool = False


def _collapsed(line: Line, s: Situation) -> bool:
    largest, used = line.get("largest_category_share"), line.get("categories_used", s.n_categories)
    if largest is None:
        return False
    bound = max(_NEARLY_ALL, (1 + line.get("largest_class_share", 0.0)) / 2)
    return bool(largest > bound or (_counts(s) and used < _FEWEST_USED * s.n_needed))


def _uneven(line: Line, s: Situation) -> bool:
    largest, used = line.get("largest_category_share"), line.get("categories_used", s.n_categories)
    if largest is None or not _counts(s):
        return False
    if not s.class_counts:  # sizes of the kinds are not known: only what is far from even
        return bool(used < 0.75 * s.n_categories or largest > _MUCH_LARGER / s.n_categories)
    return bool(used < s.n_needed or largest > _LARGER * line.get("largest_class_share", 1.0))


def _counts(s: Situation) -> bool:
    """Tell whether there are images enough for an unused category to be no accident."""
    return s.n_validation >= _IMAGES_EACH * s.n_needed


def _undecided(line: Line, s: Situation) -> bool:
    """Tell whether y is nearly uniform for every image: its categories are then an accident."""
    return bool(line.get("certainty", 1.0) < _decided(s.n_categories))


def _decided(n_categories: int) -> float:
    chance = 1 / n_categories
    return chance + _UNDECIDED * (1 - chance)


def _use(line: Line, s: Situation) -> str:
    used = int(line.get("categories_used", s.n_categories))
    verb = "is" if used == 1 else "are"
    largest = f"the largest has {100 * line['largest_category_share']:.0f}% of the validation images"
    beside = f" and the largest class {100 * line['largest_class_share']:.0f}%" if s.class_counts else ""
    undecided = f"; y is undecided, {100 * line['certainty']:.0f}% certain" if _undecided(line, s) else ""
    return f"{used} of {s.n_categories} categories {verb} used, {largest}{beside}{undecided}"


def _wins(kind: str, line: Line, s: Situation) -> bool:
    return s.is_taught_by(kind) and bool(line.get(f"discriminator_{kind}", _WON) < _WON)


def _win(kind: str, line: Line) -> str:
    loss, code = line[f"discriminator_{kind}"], "y" if kind == "categorical" else "z"
    return (
        f"the {kind} discriminator tells nearly all codes from the prior (loss {loss:.3f}, where 1.386 is a draw), so"
        f" {code} learns nothing from it"
    )


SYMPTOMS = (
    Symptom(
        "collapsed",
        _collapsed,
        _use,
        lambda line, s: remedies.against_collapse(
            s, categorical_has_won=_wins("categorical", line, s), undecided=_undecided(line, s)
        ),
        is_of_labels=True,
    ),
    Symptom("uneven", _uneven, _use, lambda line, s: remedies.against_uneven(s), is_of_labels=True),
    Symptom(
        "categorical_discriminator_wins",
        lambda line, s: _wins("categorical", line, s),
        lambda line, s: _win("categorical", line),
        lambda line, s: remedies.against_discriminator(s),
    ),
    Symptom(
        "gaussian_discriminator_wins",
        lambda line, s: _wins("gaussian", line, s),
        lambda line, s: _win("gaussian", line),
        lambda line, s: remedies.against_discriminator(s),
    ),
    Symptom(
        "z_far_from_prior",
        lambda line, s: bool(line.get("z_divergence", 0.0) > _FAR),
        lambda line, s: (
            f"z is {line['z_divergence']:.1f} nats a dimension away, so pictures of drawn styles and of z = 0 are poor,"
            " while labels are not affected"
        ),
        lambda line, s: remedies.against_far_styles(s),
        is_of_pictures=True,
    ),
    Symptom(
        "blurred",
        lambda line, s: bool(line.get("picture_variance_rebuilt", 1.0) < _BLURRED),
        lambda line, s: (
            f"the decoder rebuilds {100 * max(0.0, line['picture_variance_rebuilt']):.0f}% of the images' variance, so"
            " its pictures say little, while labels are not affected"
        ),
        lambda line, s: remedies.against_blur(s),
        is_of_pictures=True,
    ),
    Symptom(
        "style_unused",
        lambda line, s: bool(line.get("style_share", 1.0) < _UNUSED),
        lambda line, s: (
            f"z makes {100 * line['style_share']:.1f}% of the variance of decoded pictures, so a category has one"
            " picture, while labels are not affected"
        ),
        lambda line, s: remedies.against_unused_style(s),
        is_of_pictures=True,
    ),
)


def _settled(symptom: Symptom, history: Sequence[Line], n_epochs: int) -> Sequence[Line]:
    """Return the last lines of a history, by which a symptom is judged; none where it is too early."""
    fewest = _SHARE_TO_DRAW * n_epochs if symptom.is_of_pictures else min(_SETTLED, _SHARE_TO_SETTLE * n_epochs)
    return history[-_LASTS:] if len(history) >= max(_LASTS, fewest) else ()


def diagnose(history: Sequence[Line], situation: Situation, *, at_end: bool = False) -> Diagnosis | None:
    """Diagnose a training by its last epochs; None where nothing was measured.

    Args:
        history: lines of `metrics.jsonl`, one an epoch from the first on.
        situation: settings in force, and counts of the data.
        at_end: no epoch follows: what the model does with labels is then judged by the last epoch alone.
    """
    if not history or "largest_category_share" not in history[-1]:
        return None
    last = history[-1]
    steps = more_steps(situation.config, situation.facts)  # after too few, no other advice means anything
    for symptom in SYMPTOMS:
        is_fact = at_end and symptom.is_of_labels
        lines = history[-1:] if is_fact else _settled(symptom, history, situation.config.training.n_epochs)
        if lines and all(symptom.shows(line, situation) for line in lines):
            advice = f"give {steps}" if steps else symptom.advice(last, situation)
            return Diagnosis(state=symptom.state, finding=symptom.finding(last, situation), advice=advice)
    return Diagnosis(state="healthy")


def news(history: Sequence[Line], situation: Situation) -> Diagnosis | None:
    """Return the diagnosis of a running training if it is none that an earlier epoch has warned of; else None."""
    diagnosis = diagnose(history, situation)
    warned: set[Any] = {name for line in history for name in line.get(WARNINGS, ())}
    return None if diagnosis is None or diagnosis.is_healthy or diagnosis.state in warned else diagnosis
