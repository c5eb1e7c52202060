"""Decoding of image files ahead of their consumer, in order, within bounded memory."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from aae_toolkit.data.images import read_noted
from aae_toolkit.data.preparation import DEFAULT, Preparation
from aae_toolkit.errors import AaeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MANY = 512  # images from which starting processes, which takes a quarter of a second, pays off


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
            is_folder = isinstance(source, Path) and source.is_dir()
            reason = "a folder without image files" if is_folder else str(error).removeprefix(f"{source}: ")
            return Decoded(path, error=reason)
        return Decoded(path, image.pixels, image.notes)


def decode_ahead(
    paths: Iterable[Path], decoder: Decoder, batch_size: int, workers: int, *, processes: bool = False
) -> Iterator[list[Decoded]]:
    """Yield batches of decoded files, while the next ones are being decoded.

    Pillow decodes without Python's lock, so threads suffice for few or large images. For small ones most of the time
    is spent in Python itself; many files are therefore decoded by processes, if allowed.

    Args:
        paths: image files, read on demand; batches keep their order.
        decoder: decoder of the files.
        batch_size: files per batch.
        workers: number of threads or processes. At most two more batches wait to be taken.
        processes: allow processes for many files. They import the caller's main module: a script needs the usual
            `if __name__ == "__main__"`.

    Raises:
        AaeError: a process died; an image may have crashed its decoder.
    """
    remaining = iter(paths)
    first = list(islice(remaining, _MANY)) if processes else []
    many = len(first) == _MANY
    remaining = chain(first, remaining)
    job = batch_size if many else 1
    with _processes(workers) if many else _threads(workers) as pool:
        at_once = 2 * batch_size // job + workers
        decoded = chain.from_iterable(_in_order(pool, decoder, remaining, job, at_once))
        while batch := list(islice(decoded, batch_size)):
            yield batch


def _in_order(
    pool: Executor, decoder: Decoder, paths: Iterator[Path], job: int, at_once: int
) -> Iterator[list[Decoded]]:
    """Yield the results of jobs of `job` files each, in order; at most `at_once` jobs run or wait to be taken."""
    running = deque(pool.submit(decoder.decode, files) for files in islice(_chunks(paths, job), at_once))
    while running:
        yield running.popleft().result()
        running.extend(pool.submit(decoder.decode, files) for files in islice(_chunks(paths, job), 1))


def _chunks(paths: Iterator[Path], size: int) -> Iterator[list[Path]]:
    while chunk := list(islice(paths, size)):
        yield chunk


@contextmanager
def _threads(workers: int) -> Iterator[Executor]:
    pool = ThreadPoolExecutor(workers)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _processes(workers: int) -> Iterator[Executor]:
    import multiprocessing
    from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor

    # Spawn, since a fork would copy locks that ONNX Runtime's threads hold.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_live_as_long_as_the_parent)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise AaeError("a process that decodes images died; a damaged image may have crashed its decoder") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _live_as_long_as_the_parent() -> None:
    """Ignore Ctrl-C, which the parent handles, and exit when the parent ends, also if it is killed."""
    import multiprocessing

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
