"""Class names of a folder: their order, and names that people or file systems take for the same."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from aae_toolkit.errors import AaeError

_DIGITS = re.compile(r"(\d+)")
_BETWEEN_WORDS = re.compile(r"(?<=[^\W_])[-_\s]+(?=[^\W_])|\s+")  # not the sign of "-1"
# Marks of a missing label in tables, and as names of folders. "none" and "unknown" are usual classes.
_NO_LABEL = frozenset({"unlabeled", "unlabelled", "nan", "null", "n/a", "#n/a", "<na>", "-1", "?"})


def in_order(names: Iterable[str], earlier: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return names in natural order, numbers by their value: 0, 1, 2, 10.

    Args:
        names: names of classes, each once.
        earlier: order of an existing data directory, kept if it has the same names: its models count on it.
    """
    names = set(names)
    return earlier if set(earlier) == names else tuple(sorted(names, key=_natural))


def _natural(name: str) -> tuple[list[str | int], str]:
    parts = _DIGITS.split(name)  # text and digits alternate, so that like is compared with like
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def require_distinct(names: Iterable[str], place: str) -> None:
    """Refuse unprintable names, and two that differ only in case, in how Unicode writes them, or in what parts words.

    Raises:
        AaeError: a name is refused; `place` says where it was found.
    """
    known: dict[str, str] = {}
    for name in sorted(names):
        if not name.isprintable() or not _is_text(name):
            raise AaeError(f"class name {name!r} in {place} is unprintable; rename it")
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
        twin = known.setdefault(_BETWEEN_WORDS.sub(" ", folded.strip()).rstrip(".") or name, name)
        if twin != name:
            both = f"{twin!a} and {name!a}"  # escapes tell apart what prints alike
            raise AaeError(f"{place} has the classes {both}, which read alike; rename one, or join them")


def reads_as_no_label(name: str) -> bool:
    """Whether the name of a class rather says that images have no label."""
    return name.strip().casefold() in _NO_LABEL


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # not in the file system's encoding
        return False
    return True
