"""Validation during training: accuracies, and the description of a model named by the validation images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aae_toolkit.data.borders import border_brightness
from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.data.split import Split
from aae_toolkit.distributed.collectives import gather
from aae_toolkit.evaluation import (
    Floats,
    balanced_accuracy,
    contingency_table,
    encode,
    majority_accuracy,
    majority_map,
)
from aae_toolkit.models.description import ModelDescription
from aae_toolkit.models.diagnosis import Diagnosis
from aae_toolkit.models.directory import TrainedModel
from aae_toolkit.models.networks import Encoder, Networks
from aae_toolkit.training.naming import describe, learned_map, name_categories
from aae_toolkit.training.run import Run


class ValidationCodes(NamedTuple):
    """Codes of the validation images: category probabilities float32 [N, K] and styles float32 [N, Z]."""

    y: Floats
    z: Floats


def encode_validation(encoder: Encoder, validation: Split, run: Run) -> ValidationCodes:
    """Encode the validation images; each process encodes its share."""
    world = run.runtime.world
    shares = gather(encode(encoder, validation.inputs[world.rank :: world.size]))
    whole = []
    for parts in zip(*shares, strict=True):  # y of each process, then z
        codes = np.empty((len(validation), parts[0].shape[1]), dtype=np.float32)
        for rank, part in enumerate(parts):
            codes[rank :: world.size] = part
        whole.append(codes)
    return ValidationCodes(*whole)


def accuracies(y: Floats, validation: Split, run: Run) -> dict[str, float]:
    """Compute accuracies on the validation images; none where they have no labels."""
    known = validation.labels != UNLABELED
    if not known.any():
        return {}
    n_classes = len(run.data.class_names)
    labels, categories = validation.labels[known], y[known].argmax(axis=1)
    table = contingency_table(labels, categories, n_classes, y.shape[1])
    if run.config.variant == "semi_supervised":
        name, mapping = "validation_accuracy", np.array(learned_map(y, validation.labels, n_classes))
        measured = float((mapping[categories] == labels).mean())
    else:
        name, mapping, measured = "validation_majority_accuracy", majority_map(table), majority_accuracy(table)
    confusion = contingency_table(labels, mapping[categories], n_classes, n_classes)
    return {name: measured, "validation_balanced_accuracy": balanced_accuracy(confusion)}


def describe_validated(
    networks: Networks, y: Floats, validation: Split, run: Run, diagnosis: Diagnosis | None = None
) -> ModelDescription:
    """Describe a model whose categories are named by the validation images, with measurements on them."""
    naming = name_categories(y, validation.labels, run)
    known = validation.labels != UNLABELED
    correct = np.array(naming.category_to_class)[y[known].argmax(axis=1)] == validation.labels[known]
    return describe(
        networks,
        naming,
        run,
        validation_accuracy=float(correct.mean()) if known.any() else None,
        validation_images=int(known.sum()) or None,
        diagnosis=diagnosis,
        border_brightness=_border_brightness(validation, run),
    )


def _border_brightness(validation: Split, run: Run) -> float | None:
    """Return that of the validation images, or of the training images where none are held out; None without pixels."""
    images = validation.images
    if not len(validation):
        splits = (run.data.load_inputs(name, mapped=True) for name in ("train_labeled", "train_unlabeled"))
        images = next((split.images for split in splits if len(split)), images)
    return border_brightness(images) if len(images) and images.dtype == np.uint8 else None


def trained_model(
    networks: Networks, y: Floats, validation: Split, run: Run, diagnosis: Diagnosis | None = None
) -> TrainedModel:
    """Make a trained model of the networks as they are now; it shares their weights."""
    description = describe_validated(networks, y, validation, run, diagnosis)
    return TrainedModel(description, networks.encoder, networks.decoder, networks.mode_decoder)
