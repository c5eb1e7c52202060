"""Range of values of a folder's images with more than 8 bits per channel."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from aae_toolkit.data.depth import ADVICE, depth_of, values_of
from aae_toolkit.data.images import opened_image
from aae_toolkit.errors import AaeError

_USUAL_BITS = (8, 10, 12, 14, 16)
_PNG, _TIFF, _PPM = b"\x89PNG\r\n\x1a\n", (b"II", b"MM"), re.compile(rb"P(?:[2356]|[fF]\b)")
_PNG_BITS = 24  # position of the bit depth


def find_range(paths: Iterable[Path]) -> tuple[tuple[int, int], int] | None:
    """Find the smallest usual number of bits, such as 12, that holds the values of all images with more than 8 bits.

    Other images are told by their first bytes, and not decoded. Files that cannot be read are passed over.

    Returns:
        The lowest and highest value of that many bits, and the number of images; None where none has more than 8 bits.

    Raises:
        AaeError: values are negative, above 16 bits or no whole numbers, so that no number of bits can be told.
    """
    most, n = 0, 0
    for path in filter(_may_be_deep, paths):
        try:
            found = _most_of(path)
        except _UnknownRangeError as error:
            raise AaeError(str(error)) from None
        except AaeError:  # the reader names it
            continue
        if found is not None:
            most, n = max(most, found), n + 1
    if not n:
        return None
    bits = next(bits for bits in _USUAL_BITS if most < 2**bits)
    return (0, 2**bits - 1), n


class _UnknownRangeError(AaeError):
    """Values of which no range can be told."""


def _may_be_deep(path: Path) -> bool:
    """Whether the first bytes of a file allow more than 8 bits per channel."""
    try:
        if not path.is_file():  # opening a pipe may block for ever
            return False
        with path.open("rb", buffering=0) as file:
            head = file.read(_PNG_BITS + 1)
    except OSError:
        return False
    if head.startswith(_PNG):
        return head[_PNG_BITS:] == b"\x10"
    return head.startswith(_TIFF) or _PPM.match(head) is not None


def _most_of(path: Path) -> int | None:
    """Return the highest value of an image with more than 8 bits per channel; None for others."""
    with opened_image(path, (1, 1)) as opened:
        depth = depth_of(opened)
        if depth is None:
            return None
        values = values_of(opened, depth)
        if values.dtype.kind == "f" or values.min() < 0 or values.max() >= 2 ** _USUAL_BITS[-1]:
            raise _UnknownRangeError(f"{path}: its pixels are {depth.name}, whose range is unknown; {ADVICE}")
        most = int(values.max())
        if depth.in_colour and depth.most is not None:  # of the upper 8 bits
            most = (most + 1) * (depth.most + 1) // 256 - 1
        return most
