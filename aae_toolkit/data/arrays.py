"""Protocol of training data, with implementations by arrays in memory."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Protocol

from aae_toolkit.backbones.description import BackboneDescription
from aae_toolkit.data.preparation import Preparation
from aae_toolkit.data.split import Split, SplitName


class TrainingData(Protocol):
    """Labelled, unlabelled and validation images, from a data directory or from arrays."""

    @property
    def path(self) -> object:
        """Location of the data, for messages."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of an image: (C, H, W) in pixels."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names by class index; empty if no image has a label."""

    @property
    def preparation(self) -> Preparation | None:
        """Preparation of the image files that the images come from; None for arrays."""

    @property
    def backbone(self) -> BackboneDescription | None:
        """Backbone that embedded the images; None if training takes the images themselves."""

    @property
    def backbone_file(self) -> Path | None:
        """File with the weights of that backbone."""

    @property
    def inputs_bytes(self) -> int:
        """Size of what training reads, in bytes."""

    def size(self, name: SplitName) -> int:
        """Return the number of images of a split."""

    def load_inputs(self, name: SplitName, *, mapped: bool = False) -> Split:
        """Return what training takes of a split; `mapped` may leave it in the file until it is used."""


@dataclass(frozen=True)
class ArrayData:
    """Training data in memory; `path` names it in messages."""

    splits: dict[SplitName, Split]
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...] = ()
    path: str = "X"
    preparation: None = None
    backbone: None = None
    backbone_file: None = None

    @property
    def inputs_bytes(self) -> int:
        """Size of the training images, in bytes if they are uint8."""
        return (self.size("train_labeled") + self.size("train_unlabeled")) * prod(self.image_shape)

    def size(self, name: SplitName) -> int:
        """Return the number of images of a split."""
        return len(self.splits[name])

    def load_inputs(self, name: SplitName, *, mapped: bool = False) -> Split:
        """Return a split; it is in memory already, `mapped` or not."""
        return self.splits[name]


@dataclass(frozen=True)
class ReplacedSplits:
    """Training data with some splits replaced by others in memory."""

    data: TrainingData
    splits: dict[SplitName, Split]

    @property
    def path(self) -> object:
        """Location of the data, for messages."""
        return self.data.path

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of an image: (C, H, W) in pixels."""
        return self.data.image_shape

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names by class index; empty if no image has a label."""
        return self.data.class_names

    def size(self, name: SplitName) -> int:
        """Return the number of images of a split."""
        return len(self.splits[name]) if name in self.splits else self.data.size(name)

    @property
    def preparation(self) -> Preparation | None:
        """Preparation of the image files that the images come from; None for arrays."""
        return self.data.preparation

    @property
    def backbone(self) -> BackboneDescription | None:
        """Backbone that embedded the images; None if training takes the images themselves."""
        return self.data.backbone

    @property
    def backbone_file(self) -> Path | None:
        """File with the weights of that backbone."""
        return self.data.backbone_file

    @property
    def inputs_bytes(self) -> int:
        """Size of what training reads, in bytes."""
        return self.data.inputs_bytes

    def load_inputs(self, name: SplitName, *, mapped: bool = False) -> Split:
        """Return what training takes of a split."""
        return self.splits[name] if name in self.splits else self.data.load_inputs(name, mapped=mapped)
