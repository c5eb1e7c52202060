"""Decoding of image files ahead of its consumer: in order, by threads or processes, within bounded memory."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

from aae_toolkit.errors import AaeError

Image = TypeVar("Image", bound=Path | bytes)
R = TypeVar("R")

_MANY = 512  # files from which starting processes, which takes a quarter of a second, pays off


def decoded_ahead(
    decode: Callable[[list[Image]], list[R]],
    paths: Iterable[Image],
    batch_size: int,
    workers: int,
    *,
    processes: bool = False,
) -> Generator[R, None, None]:
    """Yield what `decode` returns for each file, in order, while the next files are being decoded.

    Pillow decodes without Python's lock, so threads suffice for few or large images. For small ones most of the time
    is spent in Python itself; several workers therefore decode many files as processes, if allowed.

    Args:
        decode: returns a result for each file of a list; processes need to pickle it.
        paths: image files, or contents of files, read on demand.
        batch_size: files that a process gets at once.
        workers: number of threads or processes. At most two more batches wait to be taken.
        processes: allow processes for many files. They import the caller's main module: a script needs the usual
            `if __name__ == "__main__"`.

    Raises:
        AaeError: a process died.
    """
    remaining = iter(paths)
    first = list(islice(remaining, _MANY)) if processes and workers > 1 else []
    many = len(first) == _MANY
    job = batch_size if many else 1
    pool = _processes(workers) if many else ThreadPoolExecutor(workers)
    try:
        yield from _in_order(pool, decode, chain(first, remaining), job, 2 * batch_size // job + workers)
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(
    pool: Executor, decode: Callable[[list[Image]], list[R]], paths: Iterator[Image], job: int, at_once: int
) -> Iterator[R]:
    """Yield the results of jobs of `job` files each, in order; at most `at_once` jobs run or wait to be taken."""
    running: deque[tuple[list[Image], Future[list[R]]]] = deque()
    files: list[Image] = []
    try:
        while True:
            while len(running) < at_once and (files := list(islice(paths, job))):
                running.append((files, pool.submit(decode, files)))
            if not running:
                return
            results = running[0][1].result()
            running.popleft()
            yield from results
    except BrokenExecutor as error:
        unfinished = [path for held, _ in running for path in held] or files
        raise AaeError(
            f"a process that decodes images died; it had one of {len(unfinished)} files, {_named(unfinished[0])} to"
            f" {_named(unfinished[-1])}: remove the one that crashes its decoder, or free memory if that ran out"
        ) from error


def _named(image: Path | bytes) -> str:
    return "standard input" if isinstance(image, bytes) else str(image)


def _processes(workers: int) -> Executor:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    from aae_toolkit.machine.interrupts import interrupts_blocked

    # Spawn, since a fork would copy locks that ONNX Runtime's threads hold.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_live_as_long_as_the_parent)
    with interrupts_blocked():
        for _ in range(workers):
            pool.submit(int)  # starts a process
    return pool


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
