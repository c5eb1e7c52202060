"""Picture of a search for settings: score by trial, and by each setting."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from aae_toolkit.tuning.result import Trial, Tuning
from aae_toolkit.tuning.space import Dimension
from aae_toolkit.visualization.canvas import CONTRAST_COLOR, MAIN_COLOR, SMALL, new_figure, note, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILE_NAME = "tuning.png"
_COLUMNS = 3
_LEFT_COLOR = "0.65"  # of trials that were left early
_DECADES = 30  # ratio beyond which an axis has a number a decade
_ROOM = 0.05  # share of an axis that is left free at each end
_OUTLIERS = 0.1  # share of the lowest scores that may fall below the axis


def draw_search(tuning: Tuning) -> Figure:
    """Draw every trial that has a score: in the order of trials above, and a panel a setting below."""
    n_rows = math.ceil(len(tuning.dimensions) / _COLUMNS)
    drawn = new_figure(9, 3 + 2.3 * n_rows)
    grid = drawn.add_gridspec(1 + n_rows, _COLUMNS, height_ratios=[1.2] + [1] * n_rows)
    above = drawn.add_subplot(grid[0, :])
    _by_trial(above, tuning)
    for i, dimension in enumerate(tuning.dimensions):
        axes = drawn.add_subplot(grid[1 + i // _COLUMNS, i % _COLUMNS], sharey=above)
        _by_setting(axes, tuning, dimension)
        axes.tick_params(labelsize=SMALL)
    above.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=5, frameon=False, fontsize=SMALL)
    name = tuning.objective
    title(drawn, f"{name[0].upper()}{name[1:]}", "settings whose best trials lie together, off the edges")
    note(drawn, f"{len(tuning.trials)} trials: {tuning.verdict}.")
    return drawn


def _by_trial(axes: Any, tuning: Tuning) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    places = {trial.number: i for i, trial in enumerate(tuning.trials)}
    _scatter(axes, tuning, {number: float(place) for number, place in places.items()}, labels=True)
    best, steps = 0.0, []
    for trial in tuning.trials:
        best = max(best, trial.score or 0.0) if trial.end == "complete" else best
        steps.append(best)
    axes.step(range(len(steps)), steps, where="post", color=MAIN_COLOR, linewidth=1, label="best so far")
    axes.set_xlabel("trial")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=1))
    scores = sorted(trial.score or 0.0 for trial in tuning.trials)
    low, high = min(scores[int(_OUTLIERS * len(scores))], tuning.base.score or 0.0), scores[-1]
    margin = 0.1 * (high - low) or 0.01
    axes.set_ylim(low - margin, high + margin)


def _by_setting(axes: Any, tuning: Tuning, dimension: Dimension) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    _scatter(axes, tuning, {trial.number: trial.values[dimension.path] for trial in tuning.trials})
    axes.set_xlabel(dimension.name.replace("_", " "))
    low, high = dimension.low, dimension.high
    if dimension.log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < _DECADES else (1,)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        room = (high / low) ** _ROOM
        axes.set_xlim(low / room, high * room)
    else:
        room = (high - low) * _ROOM
        axes.set_xlim(low - room, high + room)


def _scatter(axes: Any, tuning: Tuning, at: dict[int, float], *, labels: bool = False) -> None:
    """Draw the trials at `at`, by number: complete, left early, base and best."""
    ends: dict[bool, list[Trial]] = {complete: [] for complete in (False, True)}
    for trial in tuning.trials:
        if trial.score is not None:
            ends[trial.end == "complete"].append(trial)
    for name, trials, color, marker, size in (
        ("left early", ends[False], _LEFT_COLOR, "x", 18),
        ("complete", ends[True], MAIN_COLOR, "o", 18),
        ("base configuration", [tuning.base], "black", "s", 40),
        ("best trial", [tuning.best], CONTRAST_COLOR, "*", 110),
    ):
        x, y = [at[trial.number] for trial in trials], [trial.score for trial in trials]
        axes.scatter(x, y, s=size, color=color, marker=marker, label=name if labels and trials else None, zorder=3)
    axes.grid(alpha=0.3)
