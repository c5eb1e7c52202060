"""Tables in Markdown, and means with their spread."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

Results = dict[str, Any]


def table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Table in Markdown."""
    titles = list(titles)
    lines = [f"| {' | '.join(titles)} |", "| --- " * len(titles) + "|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def mean_and_spread(accuracies: list[float]) -> str:
    """Mean, with the standard deviation of several values."""
    spread = f" ± {np.std(accuracies, ddof=1):.2f}" if len(accuracies) > 1 else ""
    return f"{np.mean(accuracies):.2f}{spread}"
