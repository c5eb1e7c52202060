"""Picture of a search for settings: score by trial, and by each setting."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from aae_toolkit.tuning.result import Trial, Tuning
from aae_toolkit.tuning.space import Dimension
from aae_toolkit.visualization.canvas import CONTRAST_COLOR, MAIN_COLOR, new_figure, note, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILE_NAME = "tuning.png"
_COLUMNS = 3
_LEFT_COLOR = "0.65"  # of trials that were left early
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
        axes.tick_params(labelsize=8)
    above.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    name = tuning.objective
    title(drawn, f"{name[0].upper()}{name[1:]}\nLook for settings whose best trials lie together, off the edges")
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
    if dimension.log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    room = (dimension.high / dimension.low) ** 0.05 if dimension.log else 0.05 * (dimension.high - dimension.low)
    ends = (
        (dimension.low / room, dimension.high * room)
        if dimension.log
        else (dimension.low - room, dimension.high + room)
    )
    axes.set_xlim(*ends)


def _scatter(axes: Any, tuning: Tuning, at: dict[int, float], *, labels: bool = False) -> None:
    """Draw the trials at `at`, by number: complete, left early, base and best."""
    base, best = [tuning.base], [tuning.best]
    groups: tuple[tuple[str, list[Trial], dict[str, Any]], ...] = (
        (
            "left early",
            [t for t in tuning.trials if t.end != "complete"],
            {"color": _LEFT_COLOR, "marker": "x", "s": 18},
        ),
        ("complete", [t for t in tuning.trials if t.end == "complete"], {"color": MAIN_COLOR, "marker": "o", "s": 18}),
        ("base configuration", base, {"color": "black", "marker": "s", "s": 40}),
        ("best trial", best, {"color": CONTRAST_COLOR, "marker": "*", "s": 110}),
    )
    for name, trials, look in groups:
        scored = [trial for trial in trials if trial.score is not None]
        if scored:
            x, y = [at[trial.number] for trial in scored], [trial.score for trial in scored]
            axes.scatter(x, y, label=name if labels else None, zorder=3, **look)
    axes.grid(alpha=0.3)
