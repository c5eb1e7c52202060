"""How long-running functions say what they are doing, without knowing who listens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")

_SECONDS_BETWEEN_LINES = 20


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


def lines_now_and_then(
    items: Iterable[T], description: str, total: int | None = None, done: int = 0, *, say: Callable[[str], None]
) -> Iterator[T]:
    """Yield `items`, and say every twenty seconds how many there were."""
    said = time.monotonic()
    for count, item in enumerate(items, done):
        if time.monotonic() - said > _SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            say(f"{description}: {count}" + (f"/{total}" if total else ""))
        yield item
