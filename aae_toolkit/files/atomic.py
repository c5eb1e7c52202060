"""Atomic writes: files appear whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

_TEMPORARY = ".aae-"  # prefix of temporary files, followed by 8 hexadecimal digits and a dot


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path`, on failure it is removed.

    The suffix is kept because several writers (torch, onnx, matplotlib) choose the format by it. Only a killed process
    leaves its temporary file behind, for `remove_leftovers`.
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
    directory = os.open(path.parent, os.O_RDONLY)  # the rename must survive a power failure
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def remove_leftovers(directory: Path) -> None:
    """Remove the temporary files of killed writers; the caller must have locked `directory`."""
    for leftover in directory.glob(f"{_TEMPORARY}{'[0-9a-f]' * 8}.*"):
        with suppress(IsADirectoryError):
            leftover.unlink(missing_ok=True)


class NativeSink:
    """Binary file for writers in C++, which delays errors until they have finished.

    PyTorch's archive writer aborts the process if a write fails, as on a full disk, during its destruction.
    """

    def __init__(self, file: IO[bytes]) -> None:
        """Write to `file`."""
        self._file = file
        self._error: OSError | None = None

    def write(self, data: bytes) -> int:
        """Write `data`, or drop it after a failed write; return its length in both cases."""
        try:
            if self._error is None:
                self._file.write(data)
        except OSError as error:
            self._error = error
        return len(data)

    def flush(self) -> None:
        """Do nothing; closing the file flushes it."""

    def raise_error(self) -> None:
        """Raise the `OSError` of the first failed write, if any."""
        if self._error is not None:
            raise self._error


@contextmanager
def native_sink(path: Path) -> Iterator[NativeSink]:
    """Yield a sink that writes `path`, for a writer in C++; raise its `OSError` at the end."""
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
