"""Views of a batch: the images that the encoder sees, each drawn anew at every step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor

from aae_toolkit.config import VariantConfig
from aae_toolkit.models.networks import Encoder
from aae_toolkit.training.augmentation import add_noise, random_warp
from aae_toolkit.training.batches import Batch


class View(NamedTuple):
    """Images float32 [B, C, H, W], or embeddings [B, F].

    Some views have a target, what their y is compared with: labels [B] or y [B, K].
    """

    images: Tensor
    target: Tensor | None = None


class Augmentation:
    """Random changes of images: affine and elastic changes, then noise."""

    def __init__(self, config: VariantConfig) -> None:
        """Read the strengths: `augmentation`, `elastic` and `input_noise`."""
        self.affine = config.consistency.augmentation
        self.elastic = config.consistency.elastic
        self.noise = config.training.input_noise

    def __call__(self, images: Tensor, strength: float = 1.0) -> Tensor:
        """Change images [B, C, H, W]; `strength` multiplies every change. Embeddings [B, F] get noise alone."""
        warped = random_warp(images, strength * self.affine, strength * self.elastic)
        return add_noise(warped, strength * self.noise)


class ViewMaker(ABC):
    """Makes one view of each batch."""

    def __init__(self, config: VariantConfig, teacher: Encoder | None) -> None:
        """Keep the augmentation and the teacher, the encoder of averaged weights."""
        self.augment = Augmentation(config)
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
