"""From what a user names, files, folders, patterns and standard input, to the image files meant."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

STANDARD_INPUT = "-"
_AT_ONCE = 2**16  # bytes of standard input


def image_files(
    named: Iterable[str], standard_input: BinaryIO, suffixes: Container[str] | None = None
) -> Iterator[Path]:
    """The image files that `named` means, one by one, so that millions need no memory.

    A folder stands for the files below it that have one of `suffixes`, sorted folder by folder; hidden ones are left
    out. A name with `*`, `?` or `[` that is no file is a pattern, in which `**` stands for any folders. `-` stands for
    the files and folders named on standard input. What means no file stands for itself, for its reader to complain of.

    Args:
        named: files, folders, patterns or `-`.
        standard_input: paths, one a line, or with a NUL byte behind each, as `find -print0` writes them.
        suffixes: of the files that folders are searched for, in lower case; None is those of images.
    """
    for name in named:
        if name == STANDARD_INPUT:
            for path in _listed(standard_input):
                yield from _below(Path(path), suffixes)
        else:
            yield from _meant(name, suffixes)


def _meant(name: str, suffixes: Container[str] | None) -> Iterator[Path]:
    import glob

    if glob.has_magic(name) and not os.path.lexists(name):
        found = sorted(glob.glob(name, recursive=True))  # noqa: PTH207  (Path.glob takes no absolute pattern)
        for path in found or [name]:
            yield from _below(Path(path), suffixes)
    else:
        yield from _below(Path(name), suffixes)


def _below(path: Path, suffixes: Container[str] | None) -> Iterator[Path]:
    """The image files of a folder; else, or where it has none, the path itself."""
    empty = True
    if path.is_dir():
        from aae_toolkit.data.images import SUFFIXES  # with pillow, while the model is opened

        for folder, folders, files in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for file in (Path(folder, name) for name in sorted(files)):
                if not file.name.startswith(".") and file.suffix.lower() in (suffixes or SUFFIXES):
                    empty = False
                    yield file
    if empty:
        yield path


def _listed(stream: BinaryIO) -> Iterator[str]:
    """Paths from a stream: NUL-separated where its first bytes hold a NUL, else one a line; empty ones are left out."""
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
