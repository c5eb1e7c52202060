"""How long-running functions say what they are doing, without knowing who listens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """A listener: lines for people, and a bar over an iterable."""

    def say(self, line: str) -> None:
        """Show one finished line."""

    def track(self, items: Iterable[T], description: str, total: int | None, done: int = 0) -> Iterator[T]:
        """Yield `items`, showing how many of `total`, where it is known, are done; `done` were before."""


class Silent:
    """A listener that shows nothing."""

    def say(self, line: str) -> None:
        """Drop the line."""

    def track(self, items: Iterable[T], description: str, total: int | None, done: int = 0) -> Iterator[T]:
        """Yield `items`."""
        yield from items
