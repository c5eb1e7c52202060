"""Names of the categories: the class that each one stands for, recorded in the model description."""

from __future__ import annotations

from typing import NamedTuple

from aae_toolkit import __version__
from aae_toolkit.evaluation import Floats, Integers, fit_category_map
from aae_toolkit.models.category_names import own_name
from aae_toolkit.models.description import ModelDescription
from aae_toolkit.models.diagnosis import Diagnosis
from aae_toolkit.models.networks import Networks
from aae_toolkit.training.run import Run


class Naming(NamedTuple):
    """The classes, the class of each category, and where that is from: fields of `ModelDescription`."""

    class_names: tuple[str, ...]
    category_to_class: tuple[int, ...]
    category_to_class_from: str


def name_categories(y: Floats, labels: Integers, run: Run) -> Naming:
    """Find the class of each category.

    Args:
        y: category probabilities [N, K] of labelled images.
        labels: their classes int64 [N], -1 where unknown.
        run: the variant and the names of the classes.
    """
    class_names, n_categories = run.data.class_names, y.shape[1]
    n_classes = len(class_names)
    if not class_names:  # no label anywhere: a category is its own class
        own_names = tuple(map(own_name, range(n_categories)))
        return Naming(own_names, tuple(range(n_categories)), "identity: the data has no labels")
    if run.config.variant == "unsupervised":
        return Naming(class_names, fit_category_map(y, labels, n_classes), "majority on validation")
    further = "; further categories by majority on validation" if n_categories > n_classes else ""
    return Naming(class_names, learned_map(y, labels, n_classes), "identity: learned from labels" + further)


def learned_map(y: Floats, labels: Integers, n_classes: int) -> tuple[int, ...]:
    """Map the categories of a semi-supervised model to classes: the first K are the classes, others go by majority."""
    further = fit_category_map(y, labels, n_classes)[n_classes:] if y.shape[1] > n_classes else ()
    return (*range(n_classes), *further)


def describe(networks: Networks, naming: Naming, run: Run, **measured: float | Diagnosis | None) -> ModelDescription:
    """Describe a trained model; `measured` are further fields of the description."""
    return ModelDescription(
        toolkit_version=__version__,
        variant=run.config.variant,
        architecture=networks.architecture,
        decoder_is_trained=run.config.training.use_autoencoder,
        preparation=run.data.preparation,
        **naming._asdict(),
        **measured,
    )
