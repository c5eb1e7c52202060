"""Selection of classes and categories where there are too many to show all: the rest is summed, or left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aae_toolkit.evaluation import Integers
from aae_toolkit.visualization.canvas import GroupStyle, group_styles

MOST = 30  # classes or categories that one picture or table shows
OTHERS_COLOR = "0.55"


@dataclass(frozen=True)
class Legend:
    """Entries of a legend: names and styles, and the entry of each group."""

    names: list[str]
    styles: list[GroupStyle]
    places: Integers


def legend_of(names: Sequence[str], sizes: Integers, kind: str = "classes") -> Legend:
    """Return an entry for each group, or for the largest ones and a grey one, the last, for all others."""
    if len(names) <= MOST:
        return Legend(list(names), group_styles(len(names)), np.arange(len(names)))
    shown = largest(sizes, MOST - 1)
    places = np.full(len(names), len(shown))
    places[shown] = np.arange(len(shown))
    n_others = int((sizes[places == len(shown)] > 0).sum())
    styles = [*group_styles(len(shown)), GroupStyle(OTHERS_COLOR, "o", "")]
    return Legend([*(names[group] for group in shown), others(n_others, kind)], styles, places)


def largest(sizes: Integers, n: int = MOST) -> Integers:
    """Return the indices of the `n` largest groups, ascending; of groups of one size, the first."""
    chosen: Integers = np.sort(np.argsort(-sizes, kind="stable")[:n])
    return chosen


def most_confused(confusion: Integers) -> Integers:
    """Return the classes to show of a table [true class, class found], ascending.

    These are all of them, or those with the most mistakes, or most images if they have equally many; one place is then
    left for the others.
    """
    n = len(confusion)
    if n <= MOST:
        return np.arange(n)
    total = confusion.sum(axis=0) + confusion.sum(axis=1)
    mistakes = total - 2 * np.diag(confusion)
    chosen: Integers = np.sort(np.lexsort((-total, -mistakes))[: MOST - 1])
    return chosen


def with_others(table: Integers, shown: Integers) -> Integers:
    """Sum all but the `shown` columns of a table [rows, groups] into a last column; none is added if all are shown."""
    if len(shown) == table.shape[1]:
        return table
    kept = table[:, shown]
    return np.concatenate([kept, table.sum(axis=1, keepdims=True) - kept.sum(axis=1, keepdims=True)], axis=1)


def others(n: int, groups: str = "classes") -> str:
    """Name what is summed."""
    return f"other ({n} {groups})"


def left_out(n_shown: int, n: int) -> str:
    """Return a sentence for a note that says how many categories are drawn, or nothing if all of them are drawn."""
    return f" Shown: the {n_shown} largest of {n} categories." if n_shown < n else ""
