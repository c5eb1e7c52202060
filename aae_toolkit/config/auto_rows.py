"""Configuration for rows of features, chosen by rule from facts of the data, each choice with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from aae_toolkit.config.sections import SemiSupervisedConfig, UnsupervisedConfig, Variant, VariantConfig

_BATCH_SIZE = 128
_STEPS: dict[Variant, int] = {"semi_supervised": 120, "unsupervised": 400}
_LEAST_EPOCHS = 8  # each sample is seen so often, however many samples there are
_N_NEIGHBORS = 5
_MANY_FEATURES = 256
_FEWEST_PICTURED = 240  # steps that the decoder needs to draw pictures
_AVERAGED = 10  # of so many steps the EMA averages one, and remembers as many as that


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


class Choice(NamedTuple):
    """A choice in words, and its reason."""

    choice: str
    reason: str


def choose_for_rows(facts: RowFacts, variant: Variant) -> tuple[VariantConfig, list[Choice]]:
    """Choose the configuration of a training on rows of features; return it with the reasons of its choices."""
    training, length = _length(facts, variant)
    consistency, neighbors = _neighbors(facts)
    terms, taught = (_labeled_terms if variant == "semi_supervised" else _unlabeled_terms)(facts)
    model, autoencoder, networks = _networks(facts)
    content: dict[str, Any] = {
        "model": model,
        "learning_rates": {"consistency_lr": 0.004, "style_lr": 0.01} | autoencoder,
        "training": training,
        "consistency": consistency | terms,
    }
    choices = [networks, length, neighbors, taught]
    if variant == "semi_supervised":
        content["training"]["augment_labeled"] = False
        content["learning_rates"]["classifier_lr"] = 0.005
        return SemiSupervisedConfig.model_validate(content), choices
    content["training"]["use_disentanglement"] = False
    content["training"]["lambda_z_l2_regularization"] = 0.01
    return UnsupervisedConfig.model_validate(content), choices


def _networks(facts: RowFacts) -> tuple[dict[str, Any], dict[str, float], Choice]:
    """Choose the networks for rows of features, or for embeddings, and the autoencoder's rates in the encoder."""
    model: dict[str, Any] = {"encoder_dropout": 0.2}
    if facts.are_embeddings:
        rates = {"auto_encoder_lr": 0.0, "generator_lr": 0.0}  # z and the decoder have `style_lr`
        choice = Choice(
            "a head of two hidden layers of 256 units on standardized embeddings, which labels and neighbours alone"
            " teach",
            "the backbone has learned the features already, and pictures would bend them",
        )
        return model | {"hidden_size": 256, "z_size": 5}, rates, choice
    choice = Choice(
        "standardized input, Gaussian reconstruction, hidden layers of 128 units",
        "features have units of their own, no natural range, and no picture in them",
    )
    rates = {"auto_encoder_lr": 0.003}
    return model | {"hidden_size": 128, "standardize": True, "reconstruction": "gaussian"}, rates, choice


def _length(facts: RowFacts, variant: Variant) -> tuple[dict[str, Any], Choice]:
    """Choose batches, epochs and the decay of the EMA: small networks need few steps."""
    n_passed = max(facts.n_samples - facts.n_labeled, facts.n_samples // 2, 1)  # samples of an epoch
    per_epoch = -(-n_passed // _BATCH_SIZE)
    n_steps = max(_STEPS[variant], _FEWEST_PICTURED if facts.are_embeddings else 0)
    n_epochs = max(_LEAST_EPOCHS, -(-n_steps // per_epoch))
    ema_decay = 1 - _AVERAGED / max(n_epochs * per_epoch, 2 * _AVERAGED)
    section = {
        "n_epochs": n_epochs,
        "batch_size": _BATCH_SIZE,
        "input_noise": 0.3,
        "ema_decay": round(min(ema_decay, 0.999), 4),
        "autoencoder_every": 2,
        "precision": "fp32",  # in networks so small, casting costs more than it gains
    }
    choice = f"{n_epochs} epochs of {per_epoch} steps, EMA decay {section['ema_decay']}"
    return section, Choice(choice, f"{facts.n_samples} rows: about {n_steps} steps, {_LEAST_EPOCHS} epochs or more")


def _neighbors(facts: RowFacts) -> tuple[dict[str, Any], Choice]:
    """Choose the distance between rows, and the number of neighbours."""
    many = facts.n_features > _MANY_FEATURES
    n_neighbors = max(1, min(_N_NEIGHBORS, facts.n_samples // 2 - 1))
    likeness = "directions" if many else "features"
    section = {"augmentation": 0.0, "likeness": likeness, "n_neighbors": n_neighbors}
    reason = f"{facts.n_features} features, {'more than' if many else 'at most'} {_MANY_FEATURES}"
    return section, Choice(f"{n_neighbors} neighbours by {likeness}", reason)


def _labeled_terms(facts: RowFacts) -> tuple[dict[str, Any], Choice]:
    """Choose the terms that learn from labels."""
    n_unlabeled = facts.n_samples - facts.n_labeled
    if not (n_unlabeled and facts.n_labeled):
        return {}, Choice("labels alone", "no row is without a label")
    section = {
        "spread_labels": True,
        "blend_regression": True,
        "lambda_pseudo_labels": 1.0,
        "confidence": 0.0,
        "memory": 0.95,
    }
    return section, Choice(
        "pseudo-labels from spread labels and a logistic regression", f"{n_unlabeled} rows have no label"
    )


def _unlabeled_terms(facts: RowFacts) -> tuple[dict[str, Any], Choice]:
    """Choose the terms that find categories without labels."""
    section = {
        "cluster_first": True,
        "lambda_pairs": 1.0,
        "lambda_pseudo_labels": 1.0,
        "confidence": 0.0,
        "memory": 0.95,
    }
    return section, Choice("pseudo-labels from a spectral clustering, and neighbour pairs", "there are no labels")
