"""Reading of a folder's images, each picture once: copies, leaks between splits, and contradictory labels."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.data.images import NotedImage, read_noted
from aae_toolkit.data.layout import Part
from aae_toolkit.data.left_out import CONTRADICTORY, COPIED, LEAKED, LIMIT, UNREADABLE, LeftOut
from aae_toolkit.data.preparation import Preparation
from aae_toolkit.data.split import UNLABELED
from aae_toolkit.errors import AaeError
from aae_toolkit.progress import Progress


class File(NamedTuple):
    """Image file with its label, -1 if unknown, and its part."""

    path: Path
    label: int
    part: Part


class Pictures(NamedTuple):
    """Images that were read.

    Attributes:
        images: uint8 [N, C, H, W].
        files: their files, N.
        colours: float32 [N, 3], their mean red, green and blue in 0-255; empty if they are not grey.
    """

    images: NDArray[np.uint8]
    files: list[File]
    colours: NDArray[np.float32]


class PictureReader:
    """Reader of image files into one array."""

    def __init__(
        self, shape: tuple[int, int, int], preparation: Preparation, class_names: tuple[str, ...], left_out: LeftOut
    ) -> None:
        """Prepare to read images of `shape` [C, H, W]."""
        self._shape, self._preparation, self._names, self._left_out = shape, preparation, class_names, left_out
        self._first: dict[bytes, int] = {}  # by digest of the pixels, the image that was read first
        self._conflicts: dict[int, list[File]] = {}  # files with the pixels of an image, and another label
        self._kept: list[File] = []

    def read(self, files: list[File], progress: Progress) -> Pictures:
        """Read files, held-out ones first: what is equal to them is left out of the others."""
        images = np.empty((len(files), *self._shape), np.uint8)  # a list would be copied once all are read
        colours = np.empty((len(files) if self._shape[0] == 1 else 0, 3), np.float32)
        notes: Counter[str] = Counter()
        for file in progress.track(files, "reading", len(files)):
            try:
                image = read_noted(file.path, self._shape, self._preparation, sample_colour=self._shape[0] == 1)
            except AaeError as error:
                self._left_out.add(UNREADABLE, file.path, str(error).removeprefix(f"{file.path}: "))
                continue
            notes.update(image.notes)
            if self._is_new(file, image):
                images[len(self._kept)] = image.pixels
                if len(colours):
                    colours[len(self._kept)] = image.colour or image.pixels.mean()
                self._kept.append(file)
        for note, n in notes.items():
            progress.say(f"{n} of {len(files)} images: {note}")
        n = len(self._kept)
        return Pictures(images[:n], self._kept, colours[:n])

    def _is_new(self, file: File, image: NotedImage) -> bool:
        """Whether an image is to be kept; others are counted."""
        digest = hashlib.blake2b(image.pixels.tobytes(), digest_size=16).digest()
        first = self._first.setdefault(digest, len(self._kept))
        if first == len(self._kept):
            return True
        other = self._kept[first]
        if UNLABELED not in (file.label, other.label) and file.label != other.label:
            self._conflicts.setdefault(first, []).append(file)
        elif file.part == other.part != "train" and file.label != UNLABELED:
            return True  # a given split is kept as it is
        elif other.part != "train":
            reason = f"left out, since it has the pixels of a {other.part} image, {other.path}"
            self._left_out.add(LEAKED, file.path, reason)
        else:
            self._left_out.add(COPIED, file.path, f"left out, since it has the pixels of {other.path}")
        return False

    def without_conflicts(self, pictures: Pictures, progress: Progress, *, drop: bool) -> Pictures:
        """Leave out images with contradictory labels.

        Raises:
            AaeError: there are some, and `drop` is not set; some are named.
        """
        if not self._conflicts:
            return pictures
        images, files, colours = pictures
        named = {index: self._named(files[index], others) for index, others in self._conflicts.items()}
        if not drop:
            for text in list(named.values())[:LIMIT]:
                progress.say(f"equal pixels: {text}")
            n, size = len(named), " x ".join(map(str, self._shape[1:]))
            raise AaeError(
                f"pictures of contradictory labels, at {size} pixels: {n}, such as {next(iter(named.values()))};"
                " correct them, or leave them out with --conflicts drop"
            )
        for index, others in self._conflicts.items():
            for file in (files[index], *others):
                self._left_out.add(CONTRADICTORY, file.path, f"left out for its labels: {named[index]}")
        # Copies of a held-out image were kept beside it, and go with it.
        dropped = {images[index].tobytes() for index in named}
        kept = [index for index, image in enumerate(images) if image.tobytes() not in dropped]
        for position, index in enumerate(kept):
            images[position] = images[index]  # within the array, which may fill the memory
        return Pictures(images[: len(kept)], [files[i] for i in kept], colours[kept] if len(colours) else colours)

    def _named(self, file: File, others: list[File]) -> str:
        return " and ".join(f"{f.path} ({self._names[f.label]})" for f in (file, *others[:2]))
