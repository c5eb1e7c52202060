"""What every refusal has in common: its class, its exit status, and a message of one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest

from aae_toolkit.errors import AaeError

T = TypeVar("T")


@contextmanager
def refused(*parts: object, kind: type[AaeError] = AaeError) -> Iterator[None]:
    """Expect exactly `kind`, with one line that holds each of `parts`."""
    with pytest.raises(AaeError) as caught:
        yield
    assert type(caught.value) is kind
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for part in parts:
        assert str(part) in message


def value_unless_refused(call: Callable[[], T]) -> T | None:
    """Return the call's value, or None where it was refused with one line; any other exception passes."""
    try:
        return call()
    except AaeError as error:
        message = str(error)
    assert len(message.splitlines()) == 1
    return None
