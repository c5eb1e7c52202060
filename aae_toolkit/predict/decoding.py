"""Image files decoded ahead of whoever takes them, in their order, within bounded memory."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aae_toolkit.data.images import Invert, read_noted
from aae_toolkit.errors import AaeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MANY = 512  # images from which starting processes, a quarter of a second, is repaid


class Decoded(NamedTuple):
    """One file: `pixels` uint8 [C, H, W], 0-255, and notes on them, or the reason why there are none."""

    path: Path
    pixels: NDArray[np.uint8] | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None


class Decoder(NamedTuple):
    """How files are read: to `shape` (C, H, W), inverted as `data.images.read_noted` says."""

    shape: tuple[int, int, int]
    invert: Invert = "no"
    border: float | None = None

    def decode(self, paths: list[Path]) -> list[Decoded]:
        """Read files; what cannot be read is no exception here."""
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
    """Batches of decoded files, while the next ones are being decoded.

    Pillow decodes outside Python's lock, so threads do for a few pictures, and for large ones. Of small ones most of
    the time is Python's own; many are therefore left to processes, where these may be started.

    Args:
        paths: read as they are needed; batches keep their order.
        decoder: how.
        batch_size: files a batch.
        workers: files, or of many files batches, decoded at once. Another two batches wait at most.
        processes: whether many files may be decoded by processes: these import the caller's main module, so that a
            script needs the usual `if __name__ == "__main__"`.

    Raises:
        AaeError: a process died; a picture may have crashed its decoder.
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
    """Results of jobs of so many files each, of which at most `at_once` are under way or waiting to be taken."""
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

    # Spawned, since a fork would copy the locks that ONNX Runtime's threads hold.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_live_as_long_as_the_parent)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise AaeError("a process that decodes images died; a damaged image may have crashed its decoder") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _live_as_long_as_the_parent() -> None:
    """Leave Ctrl-C to the parent, and end when it ends, however that may be."""
    import multiprocessing

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
