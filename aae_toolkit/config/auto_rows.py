"""Configuration for rows of features, chosen by rule from facts of the data, each choice with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aae_toolkit.config.auto import Choice, Length, assemble
from aae_toolkit.config.sections import Variant, VariantConfig

_BATCH_SIZE = 128
_STEPS: dict[Variant, int] = {"semi_supervised": 120, "unsupervised": 400}
_LEAST_EPOCHS = 8  # each sample is seen so often, however many samples there are
_N_NEIGHBORS = 5
_MANY_FEATURES = 256
_FEWEST_PICTURED = 240  # steps that the decoder needs to draw pictures
_AVERAGED = 10  # of so many steps the EMA averages one, and remembers as many as that

_PSEUDO_LABELS = {"lambda_pseudo_labels": 1.0, "confidence": 0.0, "memory": 0.95}


@dataclass(frozen=True)
class RowFacts:
    """Facts of the rows that a model is trained on.

    Attributes:
        n_samples: number of rows.
        n_features: number of features of a row.
        n_labeled: number of rows with a label.
        are_embeddings: rows are a backbone's embeddings of images, and the decoder draws these images.
    """

    n_samples: int
    n_features: int
    n_labeled: int = 0
    are_embeddings: bool = False


def choose_for_rows(facts: RowFacts, variant: Variant) -> tuple[VariantConfig, list[str]]:
    """Choose every setting of a training on rows of features; return the configuration and a line for each choice."""
    fixed: dict[str, dict[str, Any]] = {"learning_rates": {"consistency_lr": 0.004, "style_lr": 0.01}}
    if variant == "semi_supervised":
        fixed["learning_rates"]["classifier_lr"] = 0.005
        fixed["training"] = {"augment_labeled": False}
        terms = _labeled_terms(facts)
    else:
        fixed["training"] = {"use_disentanglement": False, "lambda_z_l2_regularization": 0.01}
        terms = _unlabeled_terms()
    return assemble(variant, fixed, [_networks(facts), _length(facts, variant), _neighbors(facts), terms])


def _networks(facts: RowFacts) -> Choice:
    """Choose the networks for rows of features, or for embeddings, and the autoencoder's rates in the encoder."""
    model: dict[str, Any] = {"encoder_dropout": 0.2}
    if facts.are_embeddings:
        rates = {"auto_encoder_lr": 0.0, "generator_lr": 0.0}  # z and the decoder have `style_lr`
        return Choice(
            {"model": model | {"hidden_size": 256, "z_size": 5}, "learning_rates": rates},
            "network: a head of two hidden layers of 256 units on standardized embeddings, which labels and neighbours"
            " alone teach, since the backbone has learned the features already, and pictures would bend them",
        )
    model |= {"hidden_size": 128, "standardize": True, "reconstruction": "gaussian"}
    return Choice(
        {"model": model, "learning_rates": {"auto_encoder_lr": 0.003}},
        "network: standardized input, Gaussian reconstruction and hidden layers of 128 units, since features have units"
        " of their own, no natural range, and no picture in them",
    )


def length_for_rows(n_passed: int, variant: Variant, *, are_embeddings: bool) -> Length:
    """Choose batches and epochs for a number of rows an epoch."""
    per_epoch = -(-n_passed // _BATCH_SIZE)
    n_steps = max(_STEPS[variant], _FEWEST_PICTURED if are_embeddings else 0)
    return Length(_BATCH_SIZE, per_epoch, max(_LEAST_EPOCHS, -(-n_steps // per_epoch)))


def _length(facts: RowFacts, variant: Variant) -> Choice:
    """Choose batches, epochs and the decay of the EMA: small networks need few steps."""
    n_passed = max(facts.n_samples - facts.n_labeled, facts.n_samples // 2, 1)  # samples of an epoch
    _, per_epoch, n_epochs = length_for_rows(n_passed, variant, are_embeddings=facts.are_embeddings)
    n_steps = max(_STEPS[variant], _FEWEST_PICTURED if facts.are_embeddings else 0)
    ema_decay = round(min(1 - _AVERAGED / max(n_epochs * per_epoch, 2 * _AVERAGED), 0.999), 4)
    training = {
        "n_epochs": n_epochs,
        "batch_size": _BATCH_SIZE,
        "input_noise": 0.3,
        "ema_decay": ema_decay,
        "autoencoder_every": 2,
        "precision": "fp32",  # in networks so small, casting costs more than it gains
    }
    return Choice(
        {"training": training},
        f"length: {n_epochs} epochs of {per_epoch} steps, EMA decay {ema_decay}, since {facts.n_samples} rows are"
        f" passed in about {n_steps} steps and {_LEAST_EPOCHS} epochs or more",
    )


def _neighbors(facts: RowFacts) -> Choice:
    """Choose the distance between rows, and the number of neighbours."""
    many = facts.n_features > _MANY_FEATURES
    n_neighbors = max(1, min(_N_NEIGHBORS, facts.n_samples // 2 - 1))
    likeness = "directions" if many else "features"
    return Choice(
        {"consistency": {"augmentation": 0.0, "likeness": likeness, "n_neighbors": n_neighbors}},
        f"neighbours: {n_neighbors} by {likeness}, since there are {facts.n_features} features,"
        f" {'more than' if many else 'at most'} {_MANY_FEATURES}",
    )


def _labeled_terms(facts: RowFacts) -> Choice:
    """Choose the terms that learn from labels."""
    n_unlabeled = facts.n_samples - facts.n_labeled
    if not (n_unlabeled and facts.n_labeled):
        return Choice({}, "terms: labels alone, since no row is without a label")
    first = {"spread_labels": True, "blend_regression": True}
    return Choice(
        {"consistency": _PSEUDO_LABELS | first},
        f"terms: pseudo-labels from spread labels and a logistic regression, since {n_unlabeled} rows have no label",
    )


def _unlabeled_terms() -> Choice:
    """Choose the terms that find categories without labels."""
    return Choice(
        {"consistency": _PSEUDO_LABELS | {"cluster_first": True, "lambda_pairs": 1.0}},
        "terms: pseudo-labels from a spectral clustering, and neighbour pairs, since there are no labels",
    )
