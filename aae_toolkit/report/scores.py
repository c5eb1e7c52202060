"""Tables of scores by class; of many classes, the worst are shown and the others summed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aae_toolkit.evaluation import ClassReport, Evaluation
from aae_toolkit.visualization.many import MOST, most_confused, others, with_others

_N_MIX_UPS = 10


class MixUp(NamedTuple):
    """Number of images of one class that were labelled as another."""

    true: str
    given: str
    n: int


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


def mix_ups(evaluation: Evaluation) -> list[MixUp]:
    """List the most frequent mistakes, in descending order."""
    names = [report.class_name for report in evaluation.per_class]
    counts = np.array(evaluation.confusion)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:_N_MIX_UPS]
    pairs = [divmod(int(i), len(names)) for i in order]
    return [MixUp(names[i], names[j], int(counts[i, j])) for i, j in pairs if counts[i, j]]
