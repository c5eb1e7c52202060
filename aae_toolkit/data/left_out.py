"""Account of files that are left out: counted by cause, and the first ten of each cause named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

LIMIT = 10  # files of a cause that are named

# Causes, as they end "12 more ..." and "12 ..."
UNREADABLE = "that cannot be read"
UNREAD_FORMAT = "in a format that is not read"
OUTSIDE = "behind links that lead outside"
LOOSE = "in no class folder"
MISSING = "that do not exist"
UNLISTED = "that the list of labels does not name"
LEAKED = "also held out"
COPIED = "with the pixels of another one"
CONTRADICTORY = "with contradictory labels"
IGNORED = "in folders that are left out by their name"

# Not a failure: these were named so, or stand in the data all the same.
_INTENDED = frozenset({UNLISTED, LEAKED, COPIED, CONTRADICTORY, IGNORED})


class LeftOut:
    """Files that are left out.

    Attributes:
        counts: number of images by cause.
        others: number of files that are no images, by suffix.
        n_twice: number of links to files that are read anyway.
    """

    def __init__(self, say: Callable[[str], None] = lambda line: None) -> None:
        """Report by `say`, line by line."""
        self._say = say
        self.counts: Counter[str] = Counter()
        self.others: Counter[str] = Counter()
        self.n_twice = 0

    def add(self, cause: str, path: Path, reason: str) -> None:
        """Count an image that is left out, and name it if few were before."""
        self.counts[cause] += 1
        if self.counts[cause] <= LIMIT:
            self._say(f"{path}: {reason}")

    def add_other(self, path: Path) -> None:
        """Count a file that is no image."""
        self.others[path.suffix.lower()] += 1

    @property
    def n_failed(self) -> int:
        """Number of images that should have been read."""
        return sum(n for cause, n in self.counts.items() if cause not in _INTENDED)

    def finish(self) -> None:
        """Report the counts."""
        for cause, n in self.counts.items():
            if n > LIMIT:
                self._say(f"and {n - LIMIT} more {cause}")
        if self.counts:
            self._say("images left out: " + ", ".join(f"{n} {cause}" for cause, n in self.counts.items()))
        if self.n_twice:
            self._say(f"links to files that are read anyway: {self.n_twice}")
        if self.others:
            ordered = sorted(self.others.items(), key=lambda pair: (-pair[1], pair[0]))[:LIMIT]
            kinds = ", ".join(f"{n} {suffix or 'without a suffix'}" for suffix, n in ordered)
            kinds += ", ..." if len(self.others) > LIMIT else ""
            self._say(f"files that are no images, left out: {self.others.total()} ({kinds})")
