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
from aae_toolkit.data.preparation import DEFAULT, Preparation
from aae_toolkit.data.walk import Walker
from aae_toolkit.errors import AaeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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

    def decode(self, paths: list[Path]) -> list[Decoded]:
        """Decode files; a failure is returned as `error`, not raised."""
        return [self._decode(path) for path in paths]

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
    paths: Iterable[Path], decoder: Decoder, batch_size: int, workers: int, *, processes: bool = False
) -> Iterator[list[Decoded]]:
    """Yield batches of decoded files, while the next ones are being decoded; see `data.decoding.decoded_ahead`."""
    with closing(decoded_ahead(decoder.decode, paths, batch_size, workers, processes=processes)) as decoded:
        while batch := list(islice(decoded, batch_size)):
            yield batch
