"""Class names for pictures: short, unique, and with characters that an installed font has."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_LIMIT = 14  # columns of text; a Chinese character takes two
NARROW = 12  # the same, beside images that are narrow
_MARK = "\u200e"  # left-to-right mark, which has no width
_REGULAR = (400, "normal", "regular")
_LAST_RESORT = "Last Resort"  # matplotlib's font of placeholders claims every character and draws none


@dataclass(frozen=True)
class ClassLabels:
    """Labels of the classes in pictures.

    Attributes:
        texts: labels by class index.
        families: fonts that the labels need besides the usual one.
        unreadable: class names that no installed font has the characters of; their labels are class indices.
    """

    texts: tuple[str, ...]
    families: tuple[str, ...]
    unreadable: tuple[str, ...]


def class_labels(names: Sequence[str]) -> ClassLabels:
    """Return labels for class names."""
    cleaned = ["".join(c if c.isprintable() else " " for c in name).strip() for name in names]
    families, missing = _families_for("".join(cleaned))
    readable = [bool(name) and missing.isdisjoint(name) for name in cleaned]
    short = [shorten(name) for name in cleaned]
    texts = [
        text if fine and short.count(text) == 1 else f"{index}: {shorten(text, _LIMIT - 4)}" if fine else f"#{index}"
        for index, (text, fine) in enumerate(zip(short, readable, strict=True))
    ]
    unreadable = tuple(name for name, fine in zip(names, readable, strict=True) if not fine)
    return ClassLabels(tuple(map(_in_place, texts)), families, unreadable)


def _in_place(text: str) -> str:
    """Keep a name of right-to-left letters from reordering the words and numbers beside it."""
    return f"{_MARK}{text}{_MARK}" if any(unicodedata.bidirectional(c) in ("R", "AL") for c in text) else text


def shorten(text: str, limit: int = _LIMIT) -> str:
    """Shorten `text` to `limit` columns by an ellipsis in the middle: long names often differ at the end."""
    if _columns(text) <= limit:
        return text
    tail = _head(text[::-1], (limit - 1) // 3)[::-1]
    return f"{_head(text, limit - 1 - _columns(tail))}…{tail}"


def _head(text: str, limit: int) -> str:
    """Return as many first characters as fit into `limit` columns."""
    while _columns(text) > limit:
        text = text[:-1]
    return text


def _columns(text: str) -> int:
    seen = (c for c in text if not unicodedata.combining(c) and c != _MARK)
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in seen)


def _families_for(text: str) -> tuple[tuple[str, ...], set[str]]:
    """Return fonts with the characters of `text` that the usual font lacks, and the characters that no font has."""
    from matplotlib.font_manager import FontProperties, findfont, fontManager

    families, missing = [], {c for c in text if ord(c) not in _characters(findfont(FontProperties()))}
    upright = [font for font in fontManager.ttflist if font.style == "normal" and font.weight in _REGULAR]
    for font in sorted(upright, key=lambda font: (font.name, font.fname)):
        available = {c for c in missing if ord(c) in _characters(font.fname)} if missing else set()
        if available and not font.name.startswith(_LAST_RESORT):
            families.append(font.name)
            missing -= available
    return tuple(families), missing


@functools.cache
def _characters(path: str) -> frozenset[int]:
    """Return the code points of a font file; none if matplotlib cannot read it, as with colour bitmap fonts."""
    from matplotlib.font_manager import get_font

    try:
        return frozenset(get_font(path).get_charmap())
    except RuntimeError:
        return frozenset()
