"""Scores for people: tables by class, how sure an accuracy is, and why two accuracies differ."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aae_toolkit.evaluation import ClassReport, Evaluation
from aae_toolkit.text import percent
from aae_toolkit.visualization.many import MOST, most_confused, others, with_others

_TWO_SIDED = 1.96  # standard errors of a 95% interval


class Confusion(NamedTuple):
    """Numbers of images by true class (row) and label given (column); a last row and column may sum `n_others`."""

    names: list[str]
    counts: list[list[int]]
    n_others: int


def by_class(evaluation: Evaluation) -> list[ClassReport]:
    """List the scores of all classes in order; or, of many, the least accurate first and the others as the last."""
    reports = evaluation.per_class
    if len(reports) <= MOST:
        return reports
    ordered = sorted(reports, key=lambda report: (report.n == 0, report.accuracy or 0.0, -report.n))
    shown, rest = ordered[: MOST - 1], ordered[MOST - 1 :]
    n = sum(report.n for report in rest)
    right = sum(report.n * (report.accuracy or 0.0) for report in rest)
    return [*shown, ClassReport(others(len(rest)), n, right / n if n else None, None, None)]


def confusion(evaluation: Evaluation) -> Confusion:
    """Return the table of all classes, or of many, those with the most mistakes and the others as one."""
    counts = np.array(evaluation.confusion, dtype=np.int64)
    shown = most_confused(counts)
    n_others = len(counts) - len(shown)
    names = [evaluation.per_class[c].class_name for c in shown] + ([others(n_others)] if n_others else [])
    return Confusion(names, with_others(with_others(counts, shown).T, shown).T.tolist(), n_others)


def interval(accuracy: float, n: int) -> tuple[float, float]:
    """Return the 95% interval (Wilson) of an accuracy that was measured on `n` images, as fractions."""
    from scipy.stats import binomtest

    bounds = binomtest(round(accuracy * n), n).proportion_ci(method="wilson")
    return float(bounds.low), float(bounds.high)


def why_they_differ(first: Evaluation, second: Evaluation) -> str | None:
    """Say why the accuracies on two splits differ; None if they are equal."""
    apart = first.accuracy - second.accuracy
    if apart == 0:
        return None
    share = (first.accuracy * first.n + second.accuracy * second.n) / (first.n + second.n)
    error = (share * (1 - share) * (1 / first.n + 1 / second.n)) ** 0.5
    said = f"{first.split} and {second.split} accuracy differ by {100 * abs(apart):.2f} points"
    said = said[0].upper() + said[1:]
    if abs(apart) <= _TWO_SIDED * error:
        return f"{said}: other images, and within the sampling error of {first.n:,} and {second.n:,}."
    named = "categories were named on" if first.variant == "unsupervised" else "settings may have been chosen by"
    return (
        f"{said}, more than the sampling error of {first.n:,} and {second.n:,} images: {named} the"
        f" {first.split} images, or the two are of different kinds."
    )


def in_words(accuracy: float, n: int) -> str:
    """Return an accuracy with its number of images and its 95% interval."""
    low, high = interval(accuracy, n)
    return f"{percent(accuracy)} of {n:,} images (95% interval {100 * low:.1f} to {100 * high:.1f}%)"
