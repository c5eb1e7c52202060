"""Registry of the optional terms, by the configuration key that is a term's weight, and of the views they need.

A new term is a module of this package, a key of the configuration, and a line here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from aae_toolkit.config import SemiSupervisedConfig, VariantConfig
from aae_toolkit.models.networks import Encoder, Networks
from aae_toolkit.training.frequencies import ALL_ALIKE, Frequencies
from aae_toolkit.training.terms.balance import Balance
from aae_toolkit.training.terms.classification import Classification
from aae_toolkit.training.terms.over_clustering import OverClustering
from aae_toolkit.training.terms.pairs import Pairs
from aae_toolkit.training.terms.pseudo_labels import PseudoLabels
from aae_toolkit.training.terms.term import Codes, Encodings, Term
from aae_toolkit.training.terms.views import ImageView, LabeledView, PartnerView, ViewMaker
from aae_toolkit.training.terms.virtual_adversarial import AdversarialView, VirtualAdversarial
from aae_toolkit.training.terms.z_l2 import ZL2

# Keys of section `consistency`, in the order in which losses add up.
TERMS_ON_Y: dict[str, type[Term[Encodings]]] = {
    "lambda_pseudo_labels": PseudoLabels,
    "lambda_pairs": Pairs,
    "lambda_balance": Balance,
    "lambda_over_clustering": OverClustering,
    "lambda_virtual_adversarial": VirtualAdversarial,
}

# Keys of section `training`: terms of the reconstruction phase.
TERMS_ON_CODES: dict[str, type[Term[Codes]]] = {"lambda_z_l2_regularization": ZL2}

# Views by name, in the order in which they are drawn and encoded.
VIEWS: dict[str, type[ViewMaker]] = {
    "image": ImageView,
    "partner": PartnerView,
    "labeled": LabeledView,
    "adversarial": AdversarialView,
}


def terms_on_y(
    config: VariantConfig, networks: Networks, frequencies: Frequencies = ALL_ALIKE
) -> list[Term[Encodings]]:
    """Build the terms of the consistency phase: classification of labels, and what has a weight above 0."""
    semi_supervised = isinstance(config, SemiSupervisedConfig)
    labels = [Classification(1.0, config, networks, frequencies)] if semi_supervised else []
    return [*labels, *_with_weight(TERMS_ON_Y, config.consistency, config, networks, frequencies)]


def terms_on_codes(config: VariantConfig, networks: Networks) -> list[Term[Codes]]:
    """Build the optional terms of the reconstruction phase: those with a weight above 0."""
    return _with_weight(TERMS_ON_CODES, config.training, config, networks)


def view_makers(
    terms: Iterable[Term[Any]], config: VariantConfig, teacher: Encoder | None, noise_unit: Tensor | float
) -> dict[str, ViewMaker]:
    """Build the makers of the views that some term needs, by name."""
    needed = {view for term in terms for view in term.views}
    return {name: maker(config, teacher, noise_unit) for name, maker in VIEWS.items() if name in needed}


def _with_weight(
    registry: Mapping[str, type[Term[Any]]],
    section: object,
    config: VariantConfig,
    networks: Networks,
    frequencies: Frequencies = ALL_ALIKE,
) -> list[Any]:
    """Build the terms whose key in the section is above 0; a variant may lack a key."""
    weights = {key: getattr(section, key, 0.0) for key in registry}
    return [term(weights[key], config, networks, frequencies) for key, term in registry.items() if weights[key] > 0]
