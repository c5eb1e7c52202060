"""Data of the pictures: a model, images of a split, and their codes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from aae_toolkit.data.embeddings import thumbnails
from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.data.split import Split
from aae_toolkit.errors import AaeError
from aae_toolkit.evaluation import Floats, Integers, encode, encode_split
from aae_toolkit.models.category_names import own_name
from aae_toolkit.models.directory import TrainedModel
from aae_toolkit.models.networks import Decoder, ModeDecoder, decode_modes, enlarge
from aae_toolkit.progress import Progress
from aae_toolkit.visualization.names import NARROW, ClassLabels, class_labels, shorten


@dataclass(frozen=True)
class View:
    """Model, images of a split, and their codes.

    Attributes:
        model: the trained model.
        images: uint8 [N, C, H, W], of the size that the decoder gives.
        labels: int64 [N], -1 where unknown.
        y: category probabilities, float32 [N, K].
        z: styles, float32 [N, Z].
        progress: listener for messages while pictures are drawn.
    """

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
            AaeError: the split is empty, has another image shape or more classes, or its codes are not finite.
        """
        if split.embeddings is None:
            model.description.require_image_shape(split.images.shape[1:])
        n_classes = len(model.description.class_names)
        if len(split) == 0:
            raise AaeError("the split has no images to draw; write the data with --validation above 0")
        if split.labels.max() >= n_classes:
            raise AaeError(f"the data has class index {split.labels.max()}, the model knows {n_classes} classes")
        y, z = encode_split(model, split)
        if not (np.isfinite(y).all() and np.isfinite(z).all()):
            raise AaeError("the encoder's codes are not finite; its weights are damaged: train the model again")
        images = split.images
        if images.shape[1:] != model.architecture.picture_shape:
            images = thumbnails(images)
        return cls(model, images, split.labels, y, z, progress)

    @property
    def n_categories(self) -> int:
        """Number of categories, K."""
        return self.model.architecture.n_classes

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of a picture: (C, H, W) in pixels."""
        return self.model.architecture.picture_shape

    @cached_property
    def categories(self) -> Integers:
        """Likeliest category of each image, int64 [N]."""
        categories: Integers = self.y.argmax(axis=1)
        return categories

    @cached_property
    def category_to_class(self) -> Integers:
        """Class of each category, int64 [K]."""
        return np.array(self.model.description.category_to_class)

    @cached_property
    def classes(self) -> Integers:
        """Predicted class of each image, int64 [N]."""
        classes: Integers = self.category_to_class[self.categories]
        return classes

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """Mask of images with a label, bool [N]."""
        known: NDArray[np.bool_] = self.labels != UNLABELED
        return known

    @cached_property
    def wrong(self) -> NDArray[np.bool_]:
        """Mask of labelled images whose predicted class is wrong, bool [N]."""
        wrong: NDArray[np.bool_] = self.known & (self.classes != self.labels)
        return wrong

    @cached_property
    def category_sizes(self) -> Integers:
        """Number of images in each category, int64 [K]."""
        return np.bincount(self.categories, minlength=self.n_categories)

    @cached_property
    def names(self) -> ClassLabels:
        """Labels of the classes in pictures."""
        return class_labels(self.model.description.class_names)

    def category_name(self, category: int, *, narrow: bool = False) -> str:
        """Return a category's number with its class, or the number alone if it has no name, or all names are numbers.

        `narrow` puts the class on a second line, and shortens it further.
        """
        index = self.category_to_class[category]
        name = self.names.texts[index]
        if not self.has_class_names or self.model.description.class_names[index] == own_name(category):
            return str(category)
        return f"{category}:\n{shorten(name, NARROW)}" if narrow else f"{category} ({name})"

    @cached_property
    def has_class_names(self) -> bool:
        """Whether the classes have names that say more than the numbers of the categories."""
        names = self.model.description.class_names
        return not all(names[c] in (str(k), own_name(k)) for k, c in enumerate(self.category_to_class))

    @cached_property
    def zero_is_far(self) -> bool:
        """Whether z = 0 is far from all codes: half of them are nearer to their mean than z = 0 is to any.

        The decoder learned nothing there, so its pictures at z = 0 are of no category.
        """
        nearest, spread = self.distances_to_codes
        return nearest > spread

    @cached_property
    def distances_to_codes(self) -> tuple[float, float]:
        """Distance of z = 0 to the nearest code, and median distance of the codes to their mean."""
        nearest = np.linalg.norm(self.z, axis=1).min()
        return float(nearest), float(np.median(np.linalg.norm(self.z - self.z.mean(axis=0), axis=1)))

    def modes(self) -> Floats:
        """Return the decoder's image of each category, [K, C, H, W] in [0, 1].

        It is at z = 0, or, if that is far from all codes, at the mean z of the category's images (of all images, if the
        category has none).
        """
        if not self.zero_is_far:
            with torch.inference_mode():
                return self._pictures(self.model.decoder, decode_modes(self.model.decoder, self.model.architecture))
        z = np.repeat(self.z.mean(axis=0, keepdims=True), self.n_categories, axis=0)
        for category in np.flatnonzero(self.category_sizes):
            z[category] = self.z[self.categories == category].mean(axis=0)
        return self.decode(np.eye(self.n_categories, dtype=np.float32), z)

    def mode_decoder_modes(self) -> Floats:
        """Return the mode decoder's image of each category, [K, C, H, W] in [0, 1]."""
        decoder = self.model.mode_decoder
        assert decoder is not None
        with torch.inference_mode():
            y = torch.eye(self.n_categories, device=decoder.out.weight.device)
            return self._pictures(decoder, decoder(y))

    def decode(self, y: Floats, z: Floats) -> Floats:
        """Decode codes [N, K] and [N, Z] to images [N, C, H, W] in [0, 1]."""
        decoder = self.model.decoder
        device = decoder.out.weight.device
        with torch.inference_mode():
            return self._pictures(decoder, decoder(torch.from_numpy(y).to(device), torch.from_numpy(z).to(device)))

    def read(self, pictures: Floats) -> Integers:
        """Return the likeliest category, int64 [N], of images [N, C, H, W] in [0, 1]."""
        images = enlarge(torch.from_numpy(pictures), self.model.architecture.image_shape)
        y, _ = encode(self.model.image_encoder, (255 * images).round().to(torch.uint8).numpy())
        categories: Integers = y.argmax(axis=1)
        return categories

    def _pictures(self, decoder: Decoder | ModeDecoder, x_recon: torch.Tensor) -> Floats:
        pictures: Floats = decoder.images(x_recon).reshape(-1, *self.image_shape).cpu().numpy()
        return pictures
