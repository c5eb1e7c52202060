"""Files that appear whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

_TEMPORARY = ".aae-"  # every temporary file's name begins so, followed by 8 hexadecimal digits and a dot


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes `path`'s place, on failure nothing is left.

    The suffix is kept because several writers (torch, onnx, matplotlib) choose the format from it. Only a process that
    is killed leaves its temporary file behind; `remove_leftovers` is for those.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{_TEMPORARY}{secrets.token_hex(4)}.{path.name}")
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)  # the rename itself must survive a power cut
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def remove_leftovers(directory: Path) -> None:
    """Remove the temporary files of writers that were killed; only for who has locked `directory`."""
    for leftover in directory.glob(f"{_TEMPORARY}{'[0-9a-f]' * 8}.*"):
        with suppress(IsADirectoryError):
            leftover.unlink(missing_ok=True)


class NativeSink:
    """A binary file for writers in C++, whose errors wait until they are done.

    PyTorch's archive writer ends the whole process where a write fails (on a full disk) while it is being destroyed.
    """

    def __init__(self, file: IO[bytes]) -> None:
        """Write to `file`."""
        self._file = file
        self._error: OSError | None = None

    def write(self, data: bytes) -> int:
        """Write, or drop `data` once a write has failed; either way, say that it was written."""
        try:
            if self._error is None:
                self._file.write(data)
        except OSError as error:
            self._error = error
        return len(data)

    def flush(self) -> None:
        """Do nothing: closing the file does."""

    def raise_error(self) -> None:
        """Raise what went wrong meanwhile, if anything did."""
        if self._error is not None:
            raise self._error


@contextmanager
def native_sink(path: Path) -> Iterator[NativeSink]:
    """Yield a sink into `path` for a writer in C++; an `OSError` of it is raised at the end."""
    with path.open("wb") as file:
        sink = NativeSink(file)
        yield sink
        sink.raise_error()


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write `content` to `path` atomically, as UTF-8."""
    write_bytes(path, content.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` atomically, as indented JSON."""
    write_text(path, json.dumps(value, indent=2) + "\n")
