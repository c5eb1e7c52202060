"""Views of a batch: the images that the encoder sees, each drawn anew at every step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from aae_toolkit.config import VariantConfig
from aae_toolkit.models.networks import Encoder
from aae_toolkit.training.augmentation import (
    Colors,
    Placement,
    add_noise,
    random_colors,
    random_erasing,
    random_warp,
)
from aae_toolkit.training.batches import Batch


class View(NamedTuple):
    """Images float32 [B, C, H, W], or embeddings [B, F].

    Some views have a target, what their y is compared with: labels [B] or y [B, K].
    """

    images: Tensor
    target: Tensor | None = None


class Augmentation:
    """Random changes of images: their place and shape, colours, an erased rectangle, then noise."""

    def __init__(self, config: VariantConfig, noise_unit: Tensor | float = 1.0) -> None:
        """Read the strengths: section `consistency`, and `input_noise`, which is in units of `noise_unit`."""
        self.noise_unit = noise_unit
        terms = config.consistency
        self.affine = terms.augmentation
        self.elastic = terms.elastic
        self.placement = Placement(
            terms.horizontal_flip, terms.vertical_flip, terms.quarter_turns, terms.crop, terms.reflect
        )
        self.colors = Colors(terms.brightness, terms.contrast, terms.saturation)
        self.erasing = terms.erasing
        self.noise = config.training.input_noise

    def __call__(self, images: Tensor, strength: float = 1.0) -> Tensor:
        """Change images [B, C, H, W]; `strength` multiplies every change but flips and quarter turns.

        Embeddings [B, F] get noise alone.
        """
        if images.ndim == 2:
            return add_noise(images, strength * self.noise, self.noise_unit)
        placement = replace(self.placement, crop=strength * self.placement.crop)
        warped = random_warp(images, strength * self.affine, strength * self.elastic, placement)
        erased = random_erasing(random_colors(warped, self.colors, strength), strength * self.erasing)
        return add_noise(erased, strength * self.noise, self.noise_unit)


class ViewMaker(ABC):
    """Makes one view of each batch."""

    def __init__(self, config: VariantConfig, teacher: Encoder | None, noise_unit: Tensor | float = 1.0) -> None:
        """Keep the augmentation and the teacher, the encoder of averaged weights."""
        self.augment = Augmentation(config, noise_unit)
        self.teacher = teacher

    @abstractmethod
    def __call__(self, batch: Batch) -> View:
        """Draw the view."""


class ImageView(ViewMaker):
    """View of the unlabelled images."""

    def __call__(self, batch: Batch) -> View:
        """Augment the images."""
        return View(self.augment(batch.images if batch.views is None else batch.views))


class PartnerView(ViewMaker):
    """View of each unlabelled image's partner: a neighbour, or the image itself."""

    def __call__(self, batch: Batch) -> View:
        """Augment the partners."""
        assert batch.partners is not None
        return View(self.augment(batch.partners))


class LabeledView(ViewMaker):
    """View of the labelled images, with their labels."""

    def __call__(self, batch: Batch) -> View:
        """Augment the labelled images."""
        assert batch.labeled_images is not None
        return View(self.augment(batch.labeled_images), batch.labels)


def teacher_y(teacher: Encoder | None, images: Tensor) -> Tensor:
    """Category probabilities [B, K] that the teacher gives images."""
    assert teacher is not None
    y_logits, _ = teacher(images)
    y: Tensor = y_logits.float().softmax(dim=1)
    return y
