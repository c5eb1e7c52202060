"""Image files named by files, folders, patterns and standard input, which may also be an image itself."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from aae_toolkit.data.formats import HEAD_BYTES, NAMES, SUFFIXES, kind_of
from aae_toolkit.data.left_out import LeftOut
from aae_toolkit.data.walk import Walker, is_litter
from aae_toolkit.errors import AaeError, UsageError

STANDARD_INPUT = "-"
_AT_ONCE = 2**16  # bytes read from standard input at a time
_LONGEST = 4096  # bytes of a path
_LARGEST = 2**28  # bytes of an image
_NO_TEXT = re.compile(rb"[\x01-\x08\x0e-\x1f\x7f]")  # bytes that names of files do not hold, but other files do
_PLAIN_PPM = re.compile(rb"P[1-3]\s+(?:#[^\n]*\s+)*\d+\s+\d+\s")  # written in digits, so without a NUL byte
_UTF8_MARK, _UTF16_MARKS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")


def image_files(
    named: Iterable[str],
    standard_input: BinaryIO,
    suffixes: Container[str] = SUFFIXES,
    *,
    left_out: LeftOut | None = None,
    follow_links: bool = False,
) -> Iterator[Path | bytes]:
    """Yield the image files that `named` stands for, one by one, in constant memory.

    A folder stands for the images below it, sorted folder by folder, without hidden ones. A name with `*`, `?` or `[`
    that is not a file is a pattern, in which `**` matches any number of folders. `-` stands for the files and folders
    listed on standard input, or, if an image is piped there, for its content, which is yielded as bytes. A name that
    matches nothing is yielded as it is: its reader reports the error.

    Args:
        named: files, folders, patterns or `-`.
        standard_input: paths, one per line, or each followed by a NUL byte, as `find -print0` writes them; or an image.
        suffixes: suffixes, in lower case, of files that folders yield unseen; others are judged by their content.
        left_out: account of what folders hold besides images.
        follow_links: also follow links that lead outside of a folder.

    Raises:
        UsageError: a path is empty, or standard input is neither an image nor a list of paths.
        AaeError: nothing but standard input is named, and that is empty.
    """
    left_out = LeftOut() if left_out is None else left_out
    is_empty = False

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
            is_empty = True
            for piped in _piped(standard_input):
                is_empty = False
                yield from (piped,) if isinstance(piped, bytes) else below(Path(piped))
        else:
            yield from chain.from_iterable(below(path) for path in _matching(name))
    if is_empty and {*named} == {STANDARD_INPUT}:
        raise AaeError("standard input is empty; pipe an image there, or the paths of images, one per line")


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


def _piped(stream: BinaryIO) -> Iterator[str | bytes]:
    """Yield the image in a stream, or the paths of the list in it."""
    head = _head(stream)
    if _is_image(head):
        yield _whole(stream, head)
    else:
        yield from _listed(stream, head)


def _head(stream: BinaryIO) -> bytes:
    """Read the beginning of a stream: `HEAD_BYTES` or more, or all, or the first of paths that come one by one."""
    head = b""
    while len(head) < HEAD_BYTES and not _begins_with_a_path(head):
        content = os.read(stream.fileno(), _AT_ONCE)
        if not content:
            break
        head += content
    return head


def _is_image(head: bytes) -> bool:
    """Tell an image from a list of paths, whose first name may begin like one."""
    kind = kind_of(head[:HEAD_BYTES])
    if kind is None or _begins_with_a_path(head):
        return False
    return b"\0" in head[:HEAD_BYTES] or kind == "JPEG" or _PLAIN_PPM.match(head) is not None


def _begins_with_a_path(head: bytes) -> bool:
    """Whether the first item of a list is that of an existing file."""
    first, *more = re.split(rb"[\0\n]", head, maxsplit=1)
    return bool(more) and bool(first) and os.path.lexists(_likeliest(os.fsdecode(first)))


def _whole(stream: BinaryIO, head: bytes) -> bytes:
    """Read the image that begins with `head`."""
    parts, n = [head], len(head)
    while content := os.read(stream.fileno(), _AT_ONCE):
        parts.append(content)
        n += len(content)
        if n > _LARGEST:
            raise UsageError(f"standard input is an image of more than {_LARGEST // 2**20} MiB; scale it down")
    return b"".join(parts)


def _listed(stream: BinaryIO, rest: bytes) -> Iterator[str]:
    """Yield the paths in a stream, NUL-separated if a NUL is in its first bytes, else one per line; skip empty ones.

    A byte-order mark and the carriage returns of Windows' line ends are dropped, and UTF-16 is decoded.

    Args:
        stream: the stream.
        rest: what was read of it, see `_head`.

    Raises:
        UsageError: the stream is no list of paths.
    """
    if rest.startswith(_UTF16_MARKS):
        while content := os.read(stream.fileno(), _AT_ONCE):
            rest += content
        yield from (_likeliest(line) for line in rest.decode("utf-16", "replace").splitlines() if line.strip())
        return
    rest, separator = rest.removeprefix(_UTF8_MARK), b""
    more = bool(rest)
    while more:
        if not separator and (b"\0" in rest or b"\n" in rest):
            separator = b"\0" if b"\0" in rest else b"\n"
        if separator:
            *whole, rest = rest.split(separator)
            yield from (_path(line, separator) for line in whole if line.strip())
        _require_path(rest)
        content = os.read(stream.fileno(), _AT_ONCE)
        more, rest = bool(content), rest + content
    if rest.strip():
        yield _path(rest, separator)


def _require_path(line: bytes) -> None:
    """Raise `UsageError` for what cannot be a path, before a screen of it is printed as one."""
    if len(line) > _LONGEST or (_NO_TEXT.search(line) and not os.path.lexists(os.fsdecode(line))):
        raise UsageError(
            f"standard input is neither an image ({NAMES}) nor a list of paths, one per line or NUL-separated"
        )


def _path(line: bytes, separator: bytes) -> str:
    """Return a path of a list; where paths end at NUL bytes, each is exact."""
    _require_path(line)
    return os.fsdecode(line) if separator == b"\0" else _likeliest(os.fsdecode(line))


def _likeliest(line: str) -> str:
    """Return the path of a line: without blanks and quotes around it, and without `~`, unless a file is named so."""
    plain = line.removesuffix("\r")
    bare = unquoted = plain.strip()
    if len(bare) > 2 and bare[0] == bare[-1] and bare[0] in "\"'":
        unquoted = bare[1:-1]
    candidates = line, plain, bare, unquoted, os.path.expanduser(unquoted)  # noqa: PTH111  (a text, not a path)
    return next(filter(os.path.lexists, candidates), plain)
