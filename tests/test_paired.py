from __future__ import annotations

import numpy as np
import pytest

from aae_toolkit.evaluation.paired import compare_accuracy


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
