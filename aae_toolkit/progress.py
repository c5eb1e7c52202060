"""Progress of long-running functions, reported to a listener they do not know."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")

_SECONDS_BETWEEN_LINES = 20


class Progress(Protocol):
    """Listener that shows lines and progress bars."""

    def say(self, line: str) -> None:
        """Show one line."""

    def track(self, items: Iterable[T], description: str, total: int | None, done: int = 0) -> Iterator[T]:
        """Yield `items` and show the progress.

        Args:
            items: the iterable.
            description: name of the items, for people.
            total: number of all items, those done before included; None if unknown.
            done: number of items done before.
        """


class Silent:
    """Listener that shows nothing."""

    def say(self, line: str) -> None:
        """Drop the line."""

    def track(self, items: Iterable[T], description: str, total: int | None, done: int = 0) -> Iterator[T]:
        """Yield `items`."""
        yield from items


def periodic_lines(
    items: Iterable[T], description: str, total: int | None = None, done: int = 0, *, say: Callable[[str], None]
) -> Iterator[T]:
    """Yield `items`, and report their number every twenty seconds."""
    reported = time.monotonic()
    for count, item in enumerate(items, done):
        if time.monotonic() - reported > _SECONDS_BETWEEN_LINES:
            reported = time.monotonic()
            say(f"{description}: {count}" + (f"/{total}" if total else ""))
        yield item
