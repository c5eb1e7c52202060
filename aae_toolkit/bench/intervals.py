"""Confidence intervals of times measured in rounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MIN_ROUNDS = 5  # fewer cannot tell how far rounds spread


def median_interval(rounds: Sequence[float]) -> tuple[float, float] | None:
    """The median's 95% interval, by drawing rounds with replacement (percentile bootstrap); None below 5 rounds.

    A round's value stands for all its samples: those of one round are not independent of each other. The draws are the
    same every time, so equal measurements have equal intervals.
    """
    if len(rounds) < MIN_ROUNDS:
        return None
    from scipy.stats import bootstrap

    random = np.random.default_rng(0)
    drawn = bootstrap((np.asarray(rounds),), np.median, n_resamples=2000, method="percentile", rng=random)
    low, high = drawn.confidence_interval
    return float(low), float(high)
