"""The `auto` configuration: settings that follow from facts of the data, each with its reason.

`training/facts.py` measures the facts. Nothing here knows a data set by name. The rules were chosen on validation
images; docs/configuration.md lists them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aae_toolkit.config.augmentation_sets import AUGMENTATION_SETS
from aae_toolkit.config.sections import SemiSupervisedConfig, UnsupervisedConfig, Variant, VariantConfig

AUTO = "auto"

_STEPS = 5600  # of a whole training
_FEWEST_EPOCHS, _MOST_EPOCHS = 4, 400
_BATCH, _SMALLEST_BATCH = 250, 32
_BATCHES_AN_EPOCH = 20  # of a small set
_MOST_LABELED = 125  # labelled images a step
_WARMED_UP = 0.07  # share of the epochs over which rates rise without labels, so that no early accident stays
_AVERAGED = 0.18  # share of all steps that the EMA of the weights covers, and that a first guess has to settle
_REMEMBERED = 0.35  # share of the epochs in which a first pseudo-label fades to 1/e: a young network knows less than it
_LONGEST_AVERAGE = 0.999  # EMA decay
_FEW_LABELS = 50  # labels a class, below which neighbours are paired too
_STROKES = 1 / 3  # share of inked pixels, below which images are drawings of lines
# Share of neighbours that an image must keep: most things may be mirrored, few turned over, and few images say little.
_KEPT = {"horizontal_flip": 0.7, "vertical_flip": 0.9, "quarter_turns": 0.9}
_UNEVEN = 1.5  # largest class, in units of an even share, from which classes are uneven
_SLACK = 0.05  # nats that the balance loss always tolerates
_SIDE_OF_STROKES = 16  # pixels; below, any change of shape moves a tenth of the picture
_SIDE_TO_CONVOLVE, _SIDE_OF_LARGE = 8, 48  # pixels


@dataclass(frozen=True)
class Facts:
    """Facts of a training set.

    Attributes:
        image_shape: (C, H, W) in pixels.
        n_images: number of images of an epoch, N.
        n_classes: number of named classes; 0 without any label.
        labels_per_class: fewest labelled training images of a class.
        class_shares: share of each class in a sample of the data, in [0, 1]; empty where not known.
        ink: share of pixels that differ from the background, in [0, 1].
        kept: share of an image's neighbours, in [0, 1], that stay in its cluster when it is changed, by key of the
            change in section `consistency`.
    """

    image_shape: tuple[int, int, int]
    n_images: int
    n_classes: int = 0
    labels_per_class: int = 0
    class_shares: tuple[float, ...] = ()
    ink: float = 0.0
    kept: Mapping[str, float] = field(default_factory=dict)

    @property
    def side(self) -> int:
        """Shorter side in pixels."""
        return min(self.image_shape[1:])


class Choice(NamedTuple):
    """Settings by section and key, and the reason for them."""

    settings: dict[str, dict[str, Any]]
    reason: str


def choose(facts: Facts, variant: Variant) -> tuple[VariantConfig, list[str]]:
    """Choose every setting; return the configuration and a line for each choice."""
    choices = [_network(facts), _augmentation(facts, variant), _length(facts, variant), _terms(facts, variant)]
    return assemble(variant, {"learning_rates": _RATES[variant]}, choices)


def assemble(
    variant: Variant, fixed: Mapping[str, Mapping[str, Any]], choices: list[Choice]
) -> tuple[VariantConfig, list[str]]:
    """Join choices, which win over the fixed settings; return the configuration and their reasons."""
    content = {section: dict(values) for section, values in fixed.items()}
    for choice in choices:
        for section, values in choice.settings.items():
            content.setdefault(section, {}).update(values)
    kind: type[VariantConfig] = SemiSupervisedConfig if variant == "semi_supervised" else UnsupervisedConfig
    return kind.model_validate(content), [choice.reason for choice in choices]


_RATES: dict[Variant, dict[str, float]] = {
    "semi_supervised": {
        "auto_encoder_lr": 0.002,
        "generator_lr": 0.001,
        "discriminator_lr": 0.0005,
        "consistency_lr": 0.002,
    },
    "unsupervised": {
        "auto_encoder_lr": 0.0008,
        "generator_lr": 0.0003,
        "discriminator_lr": 0.0005,
        "style_lr": 0.003,
        "consistency_lr": 0.002,
    },
}


def _network(facts: Facts) -> Choice:
    """Choose the encoder by the images' size."""
    channels, height, width = facts.image_shape
    size = f"images of {height} x {width} pixels"
    model: dict[str, Any] = {"hidden_size": 400, "z_size": 5 if channels == 1 else 10, "encoder_dropout": 0.2}
    if facts.side < _SIDE_TO_CONVOLVE:
        return Choice({"model": model | {"encoder": "mlp"}}, f"network: fully connected, since {size} are too small")
    large = facts.side >= _SIDE_OF_LARGE
    model |= {
        "encoder": "conv",
        "conv_channels": [32, 64, 128, 128] if large else [32, 64, 128],
        "early_pool": large,
    }
    stages = len(model["conv_channels"])
    return Choice({"model": model}, f"network: {stages} convolution stages for {size}")


def _augmentation(facts: Facts, variant: Variant) -> Choice:
    """Choose the changes of a view by what the images show and which changes keep their neighbours.

    Without labels, a category is what survives a change: strong changes keep it from being a mere shade or place.
    """
    inked = f"{100 * facts.ink:.0f}% of the pixels differ from the background"
    if facts.side < _SIDE_OF_STROKES:
        name, why = "tiny", f"a side has only {facts.side} pixels"
    elif facts.ink < _STROKES:
        name, why = "drawings", inked
    else:
        name, why = "photos", inked
    terms = dict(AUGMENTATION_SETS[name])
    if variant == "unsupervised" and name == "photos":
        terms |= {key: AUGMENTATION_SETS["drawings"][key] for key in ("augmentation", "elastic", "crop")}
        why += ", bent like drawings, since no label says what a category is"
    for change, least in _KEPT.items():
        terms[change] = facts.kept.get(change, 0.0) >= least
    square = facts.image_shape[1] == facts.image_shape[2]
    terms["quarter_turns"] = terms["quarter_turns"] and square
    allowed = [change.replace("_", " ") for change in facts.kept if terms[change]]
    kept = ", ".join(f"{change.replace('_', ' ')} {100 * share:.0f}%" for change, share in facts.kept.items())
    also = f", with {' and '.join(allowed)}" if allowed else ""
    measured = f"; neighbours kept: {kept}" if kept else ""
    return Choice({"consistency": terms}, f"augmentation: {name}{also}, since {why}{measured}")


class Length(NamedTuple):
    """Length of a training: images a batch, steps an epoch, and epochs."""

    batch_size: int
    steps_per_epoch: int
    n_epochs: int


def length_for(n_images: int) -> Length:
    """Choose batches and epochs for a number of images an epoch."""
    batch = min(_BATCH, max(_SMALLEST_BATCH, n_images // _BATCHES_AN_EPOCH))
    steps_per_epoch = max(1, -(-n_images // batch))
    return Length(batch, steps_per_epoch, min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, round(_STEPS / steps_per_epoch))))


def _length(facts: Facts, variant: Variant) -> Choice:
    """Choose batches, epochs and averages by the number of steps there will be."""
    n = facts.n_images
    batch, steps_per_epoch, n_epochs = length_for(n)
    n_steps = n_epochs * steps_per_epoch
    decay = round(min(_LONGEST_AVERAGE, 1 - 1 / (_AVERAGED * n_steps + 1)), 4)
    training: dict[str, Any] = {
        "n_epochs": n_epochs,
        "batch_size": batch,
        "input_noise": 0.0,
        "weight_decay": 0.01,
        "ema_decay": decay,
        "autoencoder_every": 4,
        "use_conditional_style_prior": True,
    }
    if variant == "semi_supervised":
        n_labeled = facts.labels_per_class * facts.n_classes
        training["labeled_batch_size"] = min(_MOST_LABELED, max(10, n_labeled // 2))
    else:
        warm_up = {"warmup_epochs": round(_WARMED_UP * n_epochs, 1)}
        training |= {"use_disentanglement": False, "lambda_z_l2_regularization": 0.001, "schedule": warm_up}
    return Choice(
        {"training": training},
        f"length: {n_epochs} epochs of {steps_per_epoch} steps, batches of {batch}, EMA decay {decay}, since there are"
        f" {n} training images",
    )


def _terms(facts: Facts, variant: Variant) -> Choice:
    """Choose the losses on y by the labels of each class, and how far categories may differ in size."""
    pseudo = {"lambda_pseudo_labels": 1.0, "confidence": 0.5}
    likeness = "gradients" if facts.image_shape[0] == 1 else "gradients-and-colours"
    neighbors = {"n_neighbors": _n_neighbors(facts), "likeness": likeness}
    balance = _balance(facts)
    pairs = neighbors | {"lambda_pairs": 1.0, **balance}
    uneven = ""
    if balance:
        largest = f"{100 * max(facts.class_shares):.0f}% of the images"
        uneven = f"; balance tolerates {balance['balance_tolerance']} nats, since the largest class has {largest}"
    if variant == "unsupervised":
        terms: dict[str, Any] = pseudo | pairs | {"lambda_balance": 4.0, "looks_to_trust": _views_to_trust(facts)}
        return Choice(
            {"consistency": terms}, f"terms: neighbour pairs, balance and pseudo-labels, since no label is used{uneven}"
        )
    labels = f"{facts.labels_per_class} labels of the rarest class"
    memory = round(1 - 1 / max(2, _REMEMBERED * _epochs(facts, variant)), 4)
    first = neighbors | {"spread_labels": True, "blend_regression": True, "memory": memory}
    taught = "pseudo-labels, which begin with spread labels and a regression"
    if facts.labels_per_class >= _FEW_LABELS:
        terms = pseudo | first | {"pseudo_label_head": True}
        return Choice({"consistency": terms}, f"terms: {taught}, on a head of their own, for {labels}")
    terms = pseudo | first | pairs | {"lambda_balance": 2.0}
    return Choice({"consistency": terms}, f"terms: neighbour pairs, balance, and {taught}, for {labels}{uneven}")


def _n_neighbors(facts: Facts) -> int:
    """Choose the number of neighbours: of a small class, at most half may be neighbours, so that most are of it."""
    a_class = facts.n_images // max(facts.n_classes, 1)
    return max(1, min(10, facts.n_images - 1, a_class // 2))


def _balance(facts: Facts) -> dict[str, float]:
    """Choose the tolerance of the balance loss: the entropy that the classes themselves lack to even use."""
    shares = [share for share in facts.class_shares if share > 0]
    if not shares or max(shares) * len(facts.class_shares) < _UNEVEN:
        return {}
    lacking = math.log(len(facts.class_shares)) + sum(share * math.log(share) for share in shares)
    tolerance = round(lacking + _SLACK, 3)
    return {"balance_tolerance": tolerance, "trusted_balance_tolerance": tolerance}


def _views_to_trust(facts: Facts) -> int:
    """Choose the views of an image, one an epoch, before its memory is a pseudo-label."""
    return max(2, round(_AVERAGED * _epochs(facts, "unsupervised")))


def _epochs(facts: Facts, variant: Variant) -> int:
    """Number of epochs that the training will have."""
    n_epochs: int = _length(facts, variant).settings["training"]["n_epochs"]
    return n_epochs
