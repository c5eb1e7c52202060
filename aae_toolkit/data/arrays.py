"""Protocol of training data, with implementations by arrays in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from aae_toolkit.data.directory import Split, SplitName


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

    def size(self, name: SplitName) -> int:
        """Return the number of images of a split."""

    def load(self, name: SplitName, *, mapped: bool = False) -> Split:
        """Return a split; `mapped` may leave its images in the file until they are used."""


@dataclass(frozen=True)
class ArrayData:
    """Training data in memory; `path` names it in messages."""

    splits: dict[SplitName, Split]
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...] = ()
    path: str = "X"

    def size(self, name: SplitName) -> int:
        """Return the number of images of a split."""
        return len(self.splits[name])

    def load(self, name: SplitName, *, mapped: bool = False) -> Split:
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

    def load(self, name: SplitName, *, mapped: bool = False) -> Split:
        """Return a split."""
        return self.splits[name] if name in self.splits else self.data.load(name, mapped=mapped)
