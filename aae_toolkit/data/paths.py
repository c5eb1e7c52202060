"""Image files named by files, folders, patterns and standard input."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from aae_toolkit.data.formats import HEAD_BYTES, SUFFIXES, kind_of
from aae_toolkit.data.left_out import LeftOut
from aae_toolkit.data.walk import Walker, is_litter
from aae_toolkit.errors import UsageError

STANDARD_INPUT = "-"
_AT_ONCE = 2**16  # bytes read from standard input at a time
_UTF8_MARK, _UTF16_MARKS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")


def image_files(
    named: Iterable[str],
    standard_input: BinaryIO,
    suffixes: Container[str] = SUFFIXES,
    *,
    left_out: LeftOut | None = None,
    follow_links: bool = False,
) -> Iterator[Path]:
    """Yield the image files that `named` stands for, one by one, in constant memory.

    A folder stands for the images below it, sorted folder by folder, without hidden ones. A name with `*`, `?` or `[`
    that is not a file is a pattern, in which `**` matches any number of folders. `-` stands for the files and folders
    listed on standard input. A name that matches nothing is yielded as it is: its reader reports the error.

    Args:
        named: files, folders, patterns or `-`.
        standard_input: paths, one per line, or each followed by a NUL byte, as `find -print0` writes them.
        suffixes: suffixes, in lower case, of files that folders yield unseen; others are judged by their content.
        left_out: account of what folders hold besides images.
        follow_links: also follow links that lead outside of a folder.

    Raises:
        UsageError: a path is empty, or standard input is an image.
    """
    left_out = LeftOut() if left_out is None else left_out

    def below(path: Path) -> Iterator[Path]:
        """Yield the images below a folder; for other paths and for folders that hold nothing, the path itself."""
        empty = True
        if os.path.isdir(path):  # noqa: PTH112  (pathlib raises where it may not look, or a name is too long)
            before = left_out.n_failed
            walker = Walker(path, left_out, suffixes=suffixes, follow_links=follow_links, all_kinds=True)
            for file, _ in walker.images(path):
                empty = False
                yield file
            empty = empty and left_out.n_failed == before  # else the reason was given
        if empty:
            yield path

    for name in named:
        if not name:  # of a variable that is not set; pathlib would take it for the working directory
            raise UsageError("an empty path; give image files, folders, patterns or -")
        if name == STANDARD_INPUT:
            yield from chain.from_iterable(below(Path(path)) for path in _listed(standard_input))
        else:
            yield from chain.from_iterable(below(path) for path in _matching(name))


def _matching(name: str) -> Iterator[Path]:
    """Yield the files and folders that a name or pattern stands for, without those inside of such a folder."""
    import glob

    if not glob.has_magic(name) or os.path.lexists(name):
        yield Path(name)
        return
    # Brackets in the name of a folder that exists are no pattern; elsewhere they may be either.
    existing = _existing(name)
    rest = name[len(existing) :]
    patterns = glob.escape(existing) + rest, glob.escape(existing) + rest.replace("[", "[[]")
    found = (sorted(glob.glob(pattern, recursive=True)) for pattern in patterns)  # noqa: PTH207  (absolute patterns)
    folders: set[Path] = set()
    for path in map(Path, next(filter(None, found), [name])):
        # Hidden files are matched only where the pattern itself begins with a dot.
        if (is_litter(path.name) and not path.name.startswith(".")) or not folders.isdisjoint(path.parents):
            continue
        if os.path.isdir(path):  # noqa: PTH112  (as above)
            folders.add(path)
        yield path


def _existing(name: str) -> str:
    """Return the longest beginning of a pattern, up to a separator, that is an existing path."""
    ends = [match.end() for match in re.finditer(r"[/\\]" if os.sep == "\\" else "/", name)]
    return next((name[:end] for end in reversed(ends) if os.path.lexists(name[:end])), "")


def _listed(stream: BinaryIO) -> Iterator[str]:
    """Yield the paths in a stream, NUL-separated if a NUL is in its first bytes, else one per line; skip empty ones.

    A byte-order mark and the carriage returns of Windows' line ends are dropped, and UTF-16 is decoded.

    Raises:
        UsageError: the stream is an image.
    """
    rest, separator = os.read(stream.fileno(), _AT_ONCE), b""
    kind = kind_of(rest[:HEAD_BYTES])
    if kind is not None and b"\0" in rest[:HEAD_BYTES]:  # a name alone may begin like an image
        raise UsageError(f"standard input is an image ({kind}); - stands for a list of paths, so give the image's path")
    if rest.startswith(_UTF16_MARKS):
        while content := os.read(stream.fileno(), _AT_ONCE):
            rest += content
        yield from (_likeliest(line) for line in rest.decode("utf-16", "replace").splitlines() if line.strip())
        return
    rest = rest.removeprefix(_UTF8_MARK)
    more = bool(rest)
    while more:
        if not separator and (b"\0" in rest or b"\n" in rest):
            separator = b"\0" if b"\0" in rest else b"\n"
        if separator:
            *whole, rest = rest.split(separator)
            yield from (_path(line, separator) for line in whole if line.strip())
        content = os.read(stream.fileno(), _AT_ONCE)
        more, rest = bool(content), rest + content
    if rest.strip():
        yield _path(rest, separator)


def _path(line: bytes, separator: bytes) -> str:
    """Return a path of a list; where paths end at NUL bytes, each is exact."""
    return os.fsdecode(line) if separator == b"\0" else _likeliest(os.fsdecode(line))


def _likeliest(line: str) -> str:
    """Return the path of a line: without blanks and quotes around it, and without `~`, unless a file is named so."""
    plain = line.removesuffix("\r")
    bare = unquoted = plain.strip()
    if len(bare) > 2 and bare[0] == bare[-1] and bare[0] in "\"'":
        unquoted = bare[1:-1]
    candidates = line, plain, bare, unquoted, os.path.expanduser(unquoted)  # noqa: PTH111  (a text, not a path)
    return next(filter(os.path.lexists, candidates), plain)
