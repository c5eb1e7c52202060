"""What training reads, and arrays in memory as that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from aae_toolkit.data.directory import Split, SplitName


class TrainingData(Protocol):
    """Labelled, unlabelled and validation images: a data directory, or arrays."""

    @property
    def path(self) -> object:
        """Where the data is, for messages."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) in pixels."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names by class index; empty where no image has a label."""

    def size(self, name: SplitName) -> int:
        """How many images a split has."""

    def load(self, name: SplitName, *, mapped: bool = False) -> Split:
        """The images of a split."""


@dataclass(frozen=True)
class ArrayData:
    """Splits in memory."""

    splits: dict[SplitName, Split]
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...] = ()
    path: str = "X"

    def size(self, name: SplitName) -> int:
        """How many images a split has."""
        return len(self.splits[name])

    def load(self, name: SplitName, *, mapped: bool = False) -> Split:
        """The images of a split, which are in memory anyway."""
        return self.splits[name]
