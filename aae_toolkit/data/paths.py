"""Image files named by files, folders, patterns and standard input."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

STANDARD_INPUT = "-"
_AT_ONCE = 2**16  # bytes read from standard input at a time


def image_files(
    named: Iterable[str], standard_input: BinaryIO, suffixes: Container[str] | None = None
) -> Iterator[Path]:
    """Yield the image files that `named` stands for, one by one, in constant memory.

    A folder stands for the files below it with one of `suffixes`, sorted folder by folder, without hidden ones. A name
    with `*`, `?` or `[` that is not a file is a pattern, in which `**` matches any number of folders. `-` stands for
    the files and folders listed on standard input. A name that matches nothing is yielded as it is: its reader reports
    the error.

    Args:
        named: files, folders, patterns or `-`.
        standard_input: paths, one per line, or each followed by a NUL byte, as `find -print0` writes them.
        suffixes: suffixes to search folders for, in lower case; None searches for image files.
    """
    for name in named:
        if name == STANDARD_INPUT:
            for path in _listed(standard_input):
                yield from _below(Path(path), suffixes)
        else:
            yield from _matching(name, suffixes)


def _matching(name: str, suffixes: Container[str] | None) -> Iterator[Path]:
    import glob

    if glob.has_magic(name) and not os.path.lexists(name):
        matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207  (Path.glob takes no absolute pattern)
        for path in matches or [name]:
            yield from _below(Path(path), suffixes)
    else:
        yield from _below(Path(name), suffixes)


def _below(path: Path, suffixes: Container[str] | None) -> Iterator[Path]:
    """Yield the image files below a folder; for other paths and empty folders, the path itself."""
    empty = True
    if path.is_dir():
        from aae_toolkit.data.images import SUFFIXES  # imports pillow, meanwhile the model is opened

        for folder, folders, files in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for file in (Path(folder, name) for name in sorted(files)):
                if not file.name.startswith(".") and file.suffix.lower() in (suffixes or SUFFIXES):
                    empty = False
                    yield file
    if empty:
        yield path


def _listed(stream: BinaryIO) -> Iterator[str]:
    """Yield the paths in a stream, NUL-separated if a NUL is in its first bytes, else one per line; skip empty ones."""
    rest, separator = b"", b""
    while content := os.read(stream.fileno(), _AT_ONCE):
        rest += content
        if not separator and (b"\0" in rest or b"\n" in rest):
            separator = b"\0" if b"\0" in rest else b"\n"
        if separator:
            *whole, rest = rest.split(separator)
            yield from (os.fsdecode(line) for line in whole if line.strip())
    if rest.strip():
        yield os.fsdecode(rest)
