"""Cells of a benchmark: scenario (after MLPerf), batch size, input mode and query rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from aae_toolkit.bench.session import IOS, Io
from aae_toolkit.errors import UsageError

Scenario = Literal["single-stream", "offline", "server"]


@dataclass(frozen=True)
class Cell:
    """Setting at which every backend is measured; `rate` is in queries per second, for the server scenario alone."""

    scenario: Scenario
    batch_size: int
    io: Io
    rate: float | None = None


def plan(batch_sizes: tuple[int, ...], ios: tuple[Io, ...], rates: tuple[float, ...]) -> list[Cell]:
    """List every cell once: batch sizes in order, then rates. Queries come from the host, so they are end-to-end."""
    batches = [Cell("single-stream" if size == 1 else "offline", size, io) for size in batch_sizes for io in ios]
    return list(dict.fromkeys(batches + [Cell("server", 1, "end-to-end", rate) for rate in rates]))


def parse_sizes(flag: str, text: str) -> tuple[int, ...]:
    """Parse a comma-separated list of positive whole numbers.

    Raises:
        UsageError: the text is anything else.
    """
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise UsageError(f"{flag} {text!r}: give positive whole numbers, separated by commas")
    return sizes


def parse_rates(text: str | None) -> tuple[float, ...]:
    """Parse a comma-separated list of rates in queries per second; None gives an empty list.

    Raises:
        UsageError: the text is anything else.
    """
    if text is None:
        return ()
    try:
        rates = tuple(float(part) for part in text.split(","))
    except ValueError:
        rates = ()
    if not rates or not all(rate > 0 and math.isfinite(rate) for rate in rates):
        raise UsageError(f"--server-rates {text!r}: give positive numbers of queries a second, separated by commas")
    return rates


def parse_ios(text: str | None, device: str) -> tuple[Io, ...]:
    """Parse a comma-separated list of input modes; None selects both on CUDA, where they differ, else end-to-end.

    Raises:
        UsageError: an unknown mode, or an empty list.
    """
    if text is None:
        return IOS if device.startswith("cuda") else ("end-to-end",)
    asked = [part.strip() for part in text.split(",")]
    if not all(part in IOS for part in asked):
        raise UsageError(f"--io {text!r}: choose from {', '.join(IOS)}")
    return tuple(io for io in IOS if io in asked)
