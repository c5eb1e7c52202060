"""Pace of a training: the time that is left, from the steps so far."""

from __future__ import annotations

import time

_WARM_UP, _LONG_STEP = 3, 5.0  # steps at the start, or seconds, that do not count: they compile, allocate and load
_STEPS, _SECONDS = 10, 3.0  # both of which an estimate needs
_ENOUGH = 20.0  # or else so many seconds, however few steps they had
_EPOCHS = 2  # at most, that it looks back over


class Pace:
    """Clock of the steps of a run.

    Time between epochs (validation, checkpoints, pictures) counts once an epoch has passed.
    """

    def __init__(self, n_steps: int, steps_per_epoch: int) -> None:
        """Start the clock.

        Args:
            n_steps: steps that are left of the run.
            steps_per_epoch: steps of an epoch.
        """
        self.n_steps, self.steps_per_epoch = n_steps, steps_per_epoch
        self.done = 0
        self.is_announced = False  # whether the duration has been said
        self._started = time.perf_counter()
        self._marks: list[tuple[float, int]] = []  # time, and steps done by then

    def step(self) -> None:
        """Count a step that is done."""
        self.done += 1
        now = time.perf_counter()
        is_warm = self.done >= _WARM_UP or now - self._started > _LONG_STEP
        if is_warm and (not self._marks or self.done % self.steps_per_epoch == 0):
            self._marks.append((now, self.done))
            del self._marks[: -_EPOCHS - 1]

    def seconds_left(self) -> float | None:
        """Estimate the time that is left, in seconds; None before there are steps enough to tell."""
        if not self._marks:
            return None
        start, first = self._marks[0]
        seconds, steps = time.perf_counter() - start, self.done - first
        is_early = (steps < _STEPS or seconds < _SECONDS) and seconds < _ENOUGH
        if steps < 1 or (is_early and self.done < self.steps_per_epoch + _WARM_UP):
            return None
        return (self.n_steps - self.done) * seconds / steps


def roughly(seconds: float) -> str:
    """Round a duration for people: "50 seconds", "12 minutes", "7 hours"."""
    if seconds < 55:
        n, unit = max(5, 5 * round(seconds / 5)), "second"
    elif seconds < 5400:
        n, unit = round(seconds / 60), "minute"
    else:
        hours = seconds / 3600
        return f"{hours:.1f} hours" if hours < 10 else f"{hours:.0f} hours"
    return f"{n} {unit}{'' if n == 1 else 's'}"
