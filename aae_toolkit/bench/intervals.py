"""Confidence intervals of times measured in rounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MIN_ROUNDS = 5  # minimum to estimate the spread of rounds


def median_interval(rounds: Sequence[float]) -> tuple[float, float] | None:
    """Estimate the 95% interval of the median by a percentile bootstrap over rounds; None below 5 rounds.

    Rounds are drawn rather than samples, because samples of one round are not independent. The seed is fixed, so equal
    measurements have equal intervals.
    """
    if len(rounds) < MIN_ROUNDS:
        return None
    from scipy.stats import bootstrap

    random = np.random.default_rng(0)
    drawn = bootstrap((np.asarray(rounds),), np.median, n_resamples=2000, method="percentile", rng=random)
    low, high = drawn.confidence_interval
    return float(low), float(high)
