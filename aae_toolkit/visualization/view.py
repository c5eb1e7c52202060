"""What the pictures are drawn from: a model, images of a split, and the codes that the model gives them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from aae_toolkit.data.directory import Split
from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.errors import AaeError
from aae_toolkit.evaluation import Floats, Integers, encode
from aae_toolkit.models.directory import TrainedModel
from aae_toolkit.models.networks import decode_modes
from aae_toolkit.progress import Progress
from aae_toolkit.visualization.names import ClassLabels, class_labels


@dataclass(frozen=True)
class View:
    """Images uint8 [N, C, H, W] of a split with their labels int64 [N] and codes: `y` [N, K], `z` [N, Z]."""

    model: TrainedModel
    images: NDArray[np.uint8]
    labels: Integers
    y: Floats
    z: Floats
    progress: Progress

    @classmethod
    def of(cls, model: TrainedModel, split: Split, progress: Progress) -> View:
        """Encode the images of `split`.

        Raises:
            AaeError: images of another shape or of more classes, none at all, or codes that are not finite.
        """
        model.description.require_image_shape(split.images.shape[1:])
        n_classes = len(model.description.class_names)
        if len(split) == 0:
            raise AaeError("the split has no images to draw; write the data with --validation above 0")
        if split.labels.max() >= n_classes:
            raise AaeError(f"the data has class index {split.labels.max()}, the model knows {n_classes} classes")
        y, z = encode(model.encoder, split.images)
        if not (np.isfinite(y).all() and np.isfinite(z).all()):
            raise AaeError("the encoder's codes are not finite; its weights are damaged: train the model again")
        return cls(model, split.images, split.labels, y, z, progress)

    @property
    def n_categories(self) -> int:
        """K."""
        return self.model.architecture.n_classes

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W), pixels."""
        return self.model.architecture.image_shape

    @cached_property
    def categories(self) -> Integers:
        """Likeliest category of each image, int64 [N]."""
        found: Integers = self.y.argmax(axis=1)
        return found

    @cached_property
    def category_to_class(self) -> Integers:
        """Which class each category stands for, int64 [K]."""
        return np.array(self.model.description.category_to_class)

    @cached_property
    def classes(self) -> Integers:
        """Class that the model gives each image, int64 [N]."""
        found: Integers = self.category_to_class[self.categories]
        return found

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """Which images have a label, [N]."""
        found: NDArray[np.bool_] = self.labels != UNLABELED
        return found

    @cached_property
    def wrong(self) -> NDArray[np.bool_]:
        """Which images have a label that is not the class they are given, [N]."""
        found: NDArray[np.bool_] = self.known & (self.classes != self.labels)
        return found

    @cached_property
    def category_sizes(self) -> Integers:
        """How many images have each category as their likeliest, int64 [K]."""
        return np.bincount(self.categories, minlength=self.n_categories)

    @cached_property
    def names(self) -> ClassLabels:
        """Classes as pictures show them."""
        return class_labels(self.model.description.class_names)

    def category_name(self, category: int, *, narrow: bool = False) -> str:
        """A category and the class it stands for; its number alone where all are classes of that name, or of none.

        `narrow` has them one below the other.
        """
        name = self.names.texts[self.category_to_class[category]]
        if self._numbers_are_names:
            return str(category)
        return f"{category}:\n{name}" if narrow else f"{category} ({name})"

    @cached_property
    def _numbers_are_names(self) -> bool:
        names = self.model.description.class_names
        return all(names[c] in (str(k), f"category_{k}") for k, c in enumerate(self.category_to_class))

    def modes(self) -> Floats:
        """The decoder's picture of each category at z = 0, [K, C, H, W] in [0, 1]."""
        with torch.inference_mode():
            return self._pictures(decode_modes(self.model.decoder, self.model.architecture))

    def mode_decoder_modes(self) -> Floats:
        """The mode decoder's picture of each category, [K, C, H, W] in [0, 1]."""
        assert self.model.mode_decoder is not None
        device = self.model.mode_decoder.out.weight.device
        with torch.inference_mode():
            return self._pictures(self.model.mode_decoder(torch.eye(self.n_categories, device=device)))

    def decode(self, y: Floats, z: Floats) -> Floats:
        """Pictures [N, C, H, W] in [0, 1] of codes [N, K] and [N, Z]."""
        device = self.model.decoder.out.weight.device
        with torch.inference_mode():
            return self._pictures(self.model.decoder(torch.from_numpy(y).to(device), torch.from_numpy(z).to(device)))

    def read(self, pictures: Floats) -> Integers:
        """Category, int64 [N], that the encoder sees in pictures [N, C, H, W] in [0, 1]."""
        y, _ = encode(self.model.encoder, (255 * pictures).round().astype(np.uint8))
        found: Integers = y.argmax(axis=1)
        return found

    def _pictures(self, logits: torch.Tensor) -> Floats:
        pictures: Floats = logits.sigmoid().reshape(-1, *self.image_shape).cpu().numpy()
        return pictures
