"""The time that is left, by a clock that is set by hand."""

from typing import Any

import pytest
from conftest import tiny_config

from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.progress import Silent
from aae_toolkit.training import loop, pace
from aae_toolkit.training.pace import Pace, roughly
from aae_toolkit.training.trainer import train


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace, "time", clock)
    return clock


def estimates(clock: Clock, seconds: list[float], n_steps: int, per_epoch: int, between: float = 0.0) -> list[Any]:
    """Estimates after each of the steps that take so long; epochs end with `between` more."""
    run, left = Pace(n_steps, per_epoch), []
    for count, duration in enumerate(seconds, 1):
        clock.now += duration
        run.step()
        left.append(run.seconds_left())
        if count % per_epoch == 0:
            clock.now += between
    return left


def test_the_first_steps_do_not_count_and_an_estimate_needs_some(clock: Clock) -> None:
    left = estimates(clock, [9, 9, 9, *[0.5] * 17], 1000, 200)
    early = [0.1] * 3 + [0.5] * 17
    assert left[0] is None
    left = estimates(clock, early, 1000, 200)
    assert left[:12] == [None] * 12  # three of warm-up, and ten that count
    assert left[12] == pytest.approx(0.5 * (1000 - 13))
    assert left[-1] == pytest.approx(0.5 * (1000 - 20))


def test_slow_steps_are_estimated_after_a_few(clock: Clock) -> None:
    left = estimates(clock, [60.0] * 4, 35, 1)
    assert left[0] is None  # compilation, perhaps
    assert left[1:] == [pytest.approx(60.0 * n) for n in (33, 32, 31)]


def test_time_between_epochs_counts_once_one_has_passed(clock: Clock) -> None:
    left = estimates(clock, [1.0] * 60, 200, 20, between=10.0)
    assert left[18] == pytest.approx(200 - 19)
    assert left[59] == pytest.approx(140 * 1.5)


def test_the_estimate_follows_a_change_of_pace(clock: Clock) -> None:
    left = estimates(clock, [1.0] * 40 + [3.0] * 80, 400, 20)
    assert left[38] == pytest.approx(361)
    assert left[-1] == pytest.approx(280 * 3.0)


def test_a_run_that_is_done_has_nothing_left(clock: Clock) -> None:
    assert estimates(clock, [1.0] * 40, 40, 20)[-1] == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1, "5 seconds"),
        (22, "20 seconds"),
        (58, "1 minute"),
        (725, "12 minutes"),
        (5300, "88 minutes"),
        (6000, "1.7 hours"),
        (25_200, "7.0 hours"),
        (90_000, "25 hours"),
    ],
)
def test_durations_are_rounded_for_people(seconds: float, text: str) -> None:
    assert roughly(seconds) == text


class Shown(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.estimates: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def estimate(self, text: str) -> None:
        self.estimates.append(text)


def shown(data_dir: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, **training: Any) -> Shown:
    """What a training shows whose estimates are half an hour each."""
    monkeypatch.setattr(Pace, "seconds_left", lambda run: 1800.0 if run.done < run.n_steps else 0.0)
    progress, config = Shown(), tiny_config("unsupervised", consistency={"lambda_pairs": 1.0}, **training)
    train(config, DataDirectory(data_dir), tmp_path, device="cpu", progress=progress)
    return progress


def test_a_training_says_its_duration_once_and_then_beside_its_progress(
    data_dir: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = shown(data_dir, tmp_path, monkeypatch)
    said = [line for line in progress.lines if line.startswith("about 30 minutes left")]
    assert said == ["about 30 minutes left, for 11 steps"]
    assert set(progress.estimates) == {"about 30 minutes left", ""}
    assert progress.estimates[-1] == ""
    first, last = (line for line in progress.lines if line.startswith("epoch "))
    assert first.endswith("about 30 minutes left")
    assert "left" not in last


def test_before_the_autoencoder_starts_the_duration_is_a_lower_bound(
    data_dir: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = shown(data_dir, tmp_path, monkeypatch, n_epochs=4, autoencoder_after=0.5).estimates
    assert texts[0] == "at least 30 minutes left"
    assert texts[-2] == "about 30 minutes left"


def test_short_runs_have_no_line_of_their_own(data_dir: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_LONG", 3600)
    assert not any("for 11 steps" in line for line in shown(data_dir, tmp_path, monkeypatch).lines)
