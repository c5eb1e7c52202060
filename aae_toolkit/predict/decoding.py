"""Decoding of image files for a classifier, ahead of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aae_toolkit.data.decoding import decoded_ahead
from aae_toolkit.data.images import Invert, read_noted
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
    """Decoder of image files to `shape` (C, H, W); `invert` and `border` as in `data.images.read_noted`."""

    shape: tuple[int, int, int]
    invert: Invert = "no"
    border: float | None = None

    def decode(self, paths: list[Path]) -> list[Decoded]:
        """Decode files; a failure is returned as `error`, not raised."""
        return [self._decode(path) for path in paths]

    def _decode(self, path: Path) -> Decoded:
        try:
            image = read_noted(path, self.shape, invert=self.invert, border=self.border)
        except AaeError as error:
            reason = "a folder without image files" if path.is_dir() else str(error).removeprefix(f"{path}: ")
            return Decoded(path, error=reason)
        return Decoded(path, image.pixels, image.notes)


def decode_ahead(
    paths: Iterable[Path], decoder: Decoder, batch_size: int, workers: int, *, processes: bool = False
) -> Iterator[list[Decoded]]:
    """Yield batches of decoded files, while the next ones are being decoded; see `data.decoding.decoded_ahead`."""
    with closing(decoded_ahead(decoder.decode, paths, batch_size, workers, processes=processes)) as decoded:
        while batch := list(islice(decoded, batch_size)):
            yield batch
