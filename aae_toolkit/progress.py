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

    def estimate(self, text: str) -> None:
        """Show a text beside the running progress from now on, such as "about 12 minutes left"; empty removes it."""


class Silent:
    """Listener that shows nothing."""

    def say(self, line: str) -> None:
        """Drop the line."""

    def track(self, items: Iterable[T], description: str, total: int | None, done: int = 0) -> Iterator[T]:
        """Yield `items`."""
        yield from items

    def estimate(self, text: str) -> None:
        """Drop the text."""


def periodic_lines(
    items: Iterable[T],
    description: str,
    total: int | None = None,
    done: int = 0,
    *,
    say: Callable[[str], None],
    beside: Callable[[], str] = str,
) -> Iterator[T]:
    """Yield `items`, and report their number every twenty seconds, with the text of `beside` if there is any."""
    reported = time.monotonic()
    for count, item in enumerate(items, done):
        if time.monotonic() - reported > _SECONDS_BETWEEN_LINES:
            reported = time.monotonic()
            text = beside()
            say(f"{description}: {count}" + (f"/{total}" if total else "") + (f", {text}" if text else ""))
        yield item
