"""Decoding of image files for a classifier, ahead of it."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from aae_toolkit.data.decoding import decoded_ahead
from aae_toolkit.data.images import read_noted
from aae_toolkit.data.left_out import LeftOut
from aae_toolkit.data.paths import STANDARD_INPUT
from aae_toolkit.data.preparation import DEFAULT, Preparation
from aae_toolkit.data.walk import Walker
from aae_toolkit.errors import AaeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Ends of an image with the beginning of another: files joined by `cat`, or a JPEG that holds several pictures.
_NEXT_IMAGE = (b"IEND\xaeB`\x82\x89PNG\r\n", b"\xff\xd9\xff\xd8\xff")


class Decoded(NamedTuple):
    """Decoded file: `pixels` uint8 [C, H, W] in 0-255 with notes, or else `error`, the reason of the failure."""

    path: Path
    pixels: NDArray[np.uint8] | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None


class Decoder(NamedTuple):
    """Decoder of image files to `shape` (C, H, W); see `data.images.read_noted` for the other fields."""

    shape: tuple[int, int, int]
    preparation: Preparation = DEFAULT
    border: float | None = None
    match_border: bool = False

    def decode(self, images: list[Path | bytes]) -> list[Decoded]:
        """Decode files, or contents of files; a failure is returned as `error`, not raised."""
        return [self._decode_piped(image) if isinstance(image, bytes) else self._decode(image) for image in images]

    def _decode_piped(self, content: bytes) -> Decoded:
        """Decode an image that was piped in, perhaps with others after it."""
        decoded = self.decode_content(content, Path(STANDARD_INPUT))
        more = any(mark in content for mark in _NEXT_IMAGE) and decoded.error is None
        return decoded._replace(notes=(*decoded.notes, "first picture of several")) if more else decoded

    def decode_content(self, content: bytes, name: Path) -> Decoded:
        """Decode the content of a file."""
        return self._decode(io.BytesIO(content))._replace(path=name)

    def _decode(self, source: Path | BinaryIO) -> Decoded:
        path = source if isinstance(source, Path) else Path()
        try:
            image = read_noted(source, self.shape, self.preparation, border=self.border, match_border=self.match_border)
        except AaeError as error:
            if isinstance(source, Path) and os.path.isdir(source):  # noqa: PTH112  (pathlib may raise)
                holds = any(Walker(source, LeftOut(), all_kinds=True).images(source))
                return Decoded(
                    path, error="a folder; name the files in it" if holds else "a folder without image files"
                )
            return Decoded(path, error=str(error).removeprefix(f"{source}: "))
        return Decoded(path, image.pixels, image.notes)


def decode_ahead(
    images: Iterable[Path | bytes], decoder: Decoder, batch_size: int, workers: int, *, processes: bool = False
) -> Iterator[list[Decoded]]:
    """Yield batches of decoded images, while the next ones are being decoded; see `data.decoding.decoded_ahead`."""
    with closing(decoded_ahead(decoder.decode, images, batch_size, workers, processes=processes)) as decoded:
        while batch := list(islice(decoded, batch_size)):
            yield batch
