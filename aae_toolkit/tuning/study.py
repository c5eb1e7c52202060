"""Search for better settings: trials one after another, until the time is up."""

from __future__ import annotations

import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Literal

from aae_toolkit.config import VariantConfig, dump_config
from aae_toolkit.data.directory import INDEX, DataDirectory
from aae_toolkit.distributed.world import world_from_environment
from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.files import sha256 as sha256_of_file
from aae_toolkit.files.lock import lock_directory
from aae_toolkit.progress import Progress
from aae_toolkit.text import percent
from aae_toolkit.training.runtime import resolve_runtime
from aae_toolkit.training.setup import fit_config_to_data
from aae_toolkit.training.stop import Stopped, StopRequest
from aae_toolkit.training.trial import Trials
from aae_toolkit.tuning import journal
from aae_toolkit.tuning.objective import Objective, Score, choose_objective
from aae_toolkit.tuning.result import End, Trial, Tuning, packed
from aae_toolkit.tuning.space import SETTINGS, Dimension, dimensions, rounded, with_values

if TYPE_CHECKING:
    import optuna


_TIMED_EPOCH = 2  # epoch whose time predicts that of the others
_SHORT, _LONG = 10, 120  # seconds


def tune(
    config: VariantConfig,
    data: DataDirectory,
    directory: Path,
    *,
    deadline: float,
    device: str,
    progress: Progress,
) -> Tuning:
    """Search until the deadline; the first trial is `config` itself, and an earlier search is continued.

    Args:
        config: the base configuration.
        data: images and labels; the test split is not read.
        directory: directory of the study.
        deadline: end of the search, in seconds of `time.monotonic`.
        device: `auto`, `cpu`, `cuda` or `cuda:i`.
        progress: listener for a line a trial.

    Raises:
        UsageError: the configuration does not fit the data or has nothing to tune, there is no time for one trial, or
            the study is about something else.
        AaeError: the data or the study cannot be used, or the base configuration diverges.
        DeviceError: the device is not there.
        Stopped: SIGINT or SIGTERM arrived before the base configuration was trained.
    """
    if world_from_environment().size > 1:
        raise UsageError("aae tune runs in one process; start it without torchrun")
    config = fit_config_to_data(config, data)
    space = dimensions(config)
    if not space:
        raise UsageError("this configuration has no setting that could be tuned; turn a consistency term on")
    runtime = resolve_runtime(device, config.training)
    objective = choose_objective(config, data)
    made_with = {
        "base configuration": _checksum(dump_config(config)),
        "data directory": sha256_of_file(data.path / INDEX),
        "search space": _checksum(f"{objective.name} {SETTINGS}"),
    }
    training = config.training
    with lock_directory(directory, progress), StopRequest() as stop, runtime.at_full_speed():
        study = journal.open_study(directory, made_with, seed=training.seed, n_epochs=training.n_epochs)
        ended = journal.ended_trials(study, directory, [d.path for d in space])
        progress.say(f"tuning {', '.join(d.name for d in space)} by {objective.name}")
        if ended:
            progress.say(f"continuing after {len(ended)} trials")
        trials = [Trials(config, part, runtime, progress) for part in objective.sets]
        search = _Search(config, space, objective, trials, study, ended, deadline, stop, progress)
        signum = search.run()
    return Tuning(config.variant, objective.name, objective.n, training.n_epochs, space, ended, signum)


def best_config(config: VariantConfig, data: DataDirectory, tuning: Tuning) -> VariantConfig:
    """Return the base configuration with the settings of the best trial."""
    resolved = fit_config_to_data(config, data)
    return resolved if tuning.best is tuning.base else with_values(resolved, tuning.best.values)


def _checksum(text: str) -> str:
    return sha256(text.encode()).hexdigest()


@dataclass
class _Search:
    """A running search; `ended` grows by a trial at a time."""

    config: VariantConfig
    space: tuple[Dimension, ...]
    objective: Objective
    trials: list[Trials]
    study: optuna.Study
    ended: list[Trial]
    deadline: float
    stop: StopRequest
    progress: Progress

    @property
    def n_epochs(self) -> int:
        """Epochs of a complete trial."""
        return self.config.training.n_epochs

    @property
    def complete(self) -> list[Trial]:
        """The trials that were trained to their end."""
        return [trial for trial in self.ended if trial.end == "complete"]

    def run(self) -> int:
        """Run trials while there is time; return the signal that stopped them, 0 where none did."""
        try:
            if not self.complete:
                self.study.enqueue_trial({d.path: d.base for d in self.space})
                self._run_trial(is_base=True)
            self._say_how_many()
            while self.seconds_left > self.seconds_a_trial and not self.stop.signum():
                self._run_trial()
        except Stopped as stopped:
            if not self.complete:
                raise
            return stopped.exit_status - 128
        return self.stop.signum()

    @property
    def seconds_left(self) -> float:
        """Time until the deadline."""
        return self.deadline - time.monotonic()

    @property
    def seconds_a_trial(self) -> float:
        """Median time of the complete trials."""
        return median(trial.seconds for trial in self.complete)

    def _say_how_many(self) -> None:
        fitting = max(0, int(self.seconds_left / self.seconds_a_trial))
        self.progress.say(
            f"a trial takes about {_duration(self.seconds_a_trial)}; {fitting} more"
            f" {'fits' if fitting == 1 else 'fit'} into the {_duration(max(0.0, self.seconds_left))} left, and more"
            " where trials end early"
        )

    def _run_trial(self, *, is_base: bool = False) -> None:
        """Run one trial and keep its end; one that is cut is dropped."""
        from optuna.distributions import FloatDistribution

        ranges = {d.path: FloatDistribution(d.low, d.high, log=d.log) for d in self.space}
        asked = self.study.ask(ranges)
        values = {d.path: d.base if is_base else rounded(asked.params[d.path]) for d in self.space}
        config = self.config if is_base else with_values(self.config, values)
        start = time.monotonic()
        try:
            end, scores = self._train(config, asked, is_base=is_base)
        except AaeError:
            journal.drop(self.study, asked)
            raise
        if end == "cut":
            journal.drop(self.study, asked)
            self.progress.say(f"trial {asked.number}: cut after epoch {len(scores)} of {self.n_epochs}, time is up")
            return
        last = scores[-1] if scores else None
        trial = Trial(
            number=asked.number,
            end=end,
            score=last.value if last else None,
            values=values,
            epochs=len(scores),
            seconds=time.monotonic() - start,
            correct=packed(last.correct) if last else None,
        )
        journal.keep(self.study, asked, trial)
        self.ended.append(trial)
        self.progress.say(self._line(trial, is_base=is_base))

    def _train(
        self, config: VariantConfig, asked: optuna.Trial, *, is_base: bool
    ) -> tuple[End | Literal["cut"], list[Score]]:
        """Train until the end of the trial; return how it ended, and the score of each epoch."""
        runs = [trials.train(config, self.stop) for trials in self.trials]
        epochs = map(self.objective.measure, zip(*runs, strict=True))
        scores: list[Score] = []
        epoch_start = time.monotonic()
        try:
            for score in self.progress.track(epochs, f"trial {asked.number}", self.n_epochs):
                scores.append(score)
                asked.report(score.value, len(scores))
                seconds, epoch_start = time.monotonic() - epoch_start, time.monotonic()
                if len(scores) == self.n_epochs:
                    break
                if is_base:
                    self._require_time(len(scores), seconds)
                elif asked.should_prune():
                    return "pruned", scores
                elif self.seconds_left < seconds:
                    return "cut", scores
        except (Stopped, UsageError):
            raise
        except AaeError:  # not finite
            if is_base:
                raise
            return "diverged", scores
        return "complete", scores

    def _require_time(self, n_done: int, seconds: float) -> None:
        """Raise `UsageError` after the second epoch, since the first compiles, if the base has no time to end."""
        needed = seconds * (self.n_epochs - n_done)
        if n_done == _TIMED_EPOCH and needed > self.seconds_left:
            raise UsageError(
                f"training the base configuration needs another {_duration(needed)}, and --minutes leaves"
                f" {_duration(max(0.0, self.seconds_left))}; give more minutes, or a configuration with fewer epochs"
            )

    def _line(self, trial: Trial, *, is_base: bool) -> str:
        """Describe a trial that has ended."""
        if is_base:
            outcome = "the base configuration"
        elif trial.end == "complete":
            best = max(t.score or 0.0 for t in self.complete)
            outcome = "best so far" if best == trial.score else f"best is {percent(best)}"
        else:
            why = "below the median" if trial.end == "pruned" else "its loss was not finite"
            outcome = f"left after epoch {trial.epochs} of {self.n_epochs}, {why}"
        values = "  ".join(f"{d.name} {trial.values[d.path]:g}" for d in self.space)
        return f"trial {trial.number}: {percent(trial.score)}, {outcome}, {_duration(trial.seconds)}  {values}"


def _duration(seconds: float) -> str:
    """Return a time for people, such as 21 s or 3.4 min."""
    return f"{seconds:.{0 if seconds >= _SHORT else 1}f} s" if seconds < _LONG else f"{seconds / 60:.1f} min"
