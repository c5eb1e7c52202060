from __future__ import annotations

import numpy as np
import pytest

from aae_toolkit.statistics import compare_accuracy, median_interval


def of(n: int, lost: int, gained: int) -> tuple[np.ndarray, np.ndarray]:
    right, right_too = np.ones(n, bool), np.ones(n, bool)
    right_too[:lost] = False
    right[lost : lost + gained] = False
    return right, right_too


def test_pairs_are_counted_by_who_is_right_alone() -> None:
    found = compare_accuracy(*of(100, 7, 2))
    assert (found.n, found.lost, found.gained) == (100, 7, 2)
    found = compare_accuracy(np.zeros(5, bool), np.zeros(5, bool))  # both wrong
    assert (found.lost, found.gained, found.p_value) == (0, 0, 1)


@pytest.mark.parametrize(
    ("lost", "gained", "p_value"),
    [(0, 0, 1), (5, 5, 1), (1, 0, 1), (6, 0, 2 * 0.5**6), (8, 1, 2 * 10 * 0.5**9), (1, 8, 2 * 10 * 0.5**9)],
)
def test_the_p_value_is_of_exact_mcnemars_test(lost: int, gained: int, p_value: float) -> None:
    assert compare_accuracy(*of(1000, lost, gained)).p_value == pytest.approx(p_value)


def test_the_bound_is_that_of_nothing_seen_and_grows_with_what_is_lost() -> None:
    nothing = compare_accuracy(*of(10000, 0, 0)).drop_bound
    assert nothing == pytest.approx(1 - 0.025 ** (1 / 10000))  # exact, for none of n
    bounds = [compare_accuracy(*of(10000, lost, 0)).drop_bound for lost in (0, 1, 10, 100)]
    assert bounds == sorted(bounds)
    assert all(bound > lost / 10000 for bound, lost in zip(bounds, (0, 1, 10, 100), strict=True))
    assert compare_accuracy(*of(10000, 10, 40)).drop_bound < 0  # better, beyond doubt


def test_the_bound_holds_in_nineteen_of_twenty_draws() -> None:
    random = np.random.default_rng(0)
    drop = 0.02 - 0.005
    draws = random.choice(3, size=(400, 500), p=[0.975, 0.02, 0.005])  # 1: lost, 2: gained
    bounds = np.array([compare_accuracy(draw != 2, draw != 1).drop_bound for draw in draws])
    assert (bounds >= drop).mean() >= 0.95


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
