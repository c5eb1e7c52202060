from __future__ import annotations

import numpy as np
import pytest

from aae_toolkit.bench.intervals import median_interval


def test_too_few_rounds_have_no_interval() -> None:
    assert median_interval([1.0, 2.0, 3.0, 4.0]) is None
    assert median_interval([1.0] * 5) == (1, 1)


def test_the_interval_is_the_same_every_time_and_holds_the_median() -> None:
    rounds = np.random.default_rng(1).lognormal(0, 0.1, 10).tolist()
    interval = median_interval(rounds)
    assert interval is not None
    assert interval == median_interval(rounds)
    low, high = interval
    assert min(rounds) <= low < np.median(rounds) < high <= max(rounds)


def test_the_interval_narrows_with_rounds_and_scales_with_the_unit() -> None:
    random = np.random.default_rng(2)
    widths = [float(np.diff(median_interval(random.normal(1, 0.1, n).tolist()))[0]) for n in (5, 20, 80, 320)]
    assert widths == sorted(widths, reverse=True)
    rounds = random.normal(1, 0.1, 10)
    assert median_interval((1000 * rounds).tolist()) == pytest.approx(1000 * np.array(median_interval(rounds.tolist())))


def test_the_interval_holds_the_true_median_about_as_often_as_it_says() -> None:
    draws = np.random.default_rng(3).lognormal(0, 0.2, (200, 10))  # the median is 1, the mean is not
    intervals = np.array([median_interval(draw.tolist()) for draw in draws])
    held = ((intervals[:, 0] <= 1) & (intervals[:, 1] >= 1)).mean()
    assert 0.88 <= held <= 0.995
