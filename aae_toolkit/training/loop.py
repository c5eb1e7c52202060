"""The loop of every training: epochs, batches, phases."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import NamedTuple

from aae_toolkit.distributed.collectives import mean_over_processes, wait_for_all
from aae_toolkit.errors import AaeError
from aae_toolkit.training.batches import Batch, Batches
from aae_toolkit.training.checkpoint import save_checkpoint
from aae_toolkit.training.pace import Pace, roughly
from aae_toolkit.training.run import Run, TrainingState
from aae_toolkit.training.step import PhaseRunner, rate_factor
from aae_toolkit.training.stop import Stopped, StopRequest
from aae_toolkit.training.weights import average_in

_N_NAMES = 3  # most names of weights in an error
_LONG = 30  # seconds that a run has left, from which its duration gets a line of its own


class TrainedEpoch(NamedTuple):
    """One epoch of training.

    Attributes:
        number: its number, from 1.
        means: mean of each loss term.
        seconds: time of its steps.
        images_per_second: unlabelled images a second.
        left: estimate of the time that is left, for people; empty if there is none.
    """

    number: int
    means: dict[str, float]
    seconds: float
    images_per_second: float
    left: str


def train_epochs(state: TrainingState, batches: Batches, run: Run, stop: StopRequest) -> Iterator[TrainedEpoch]:
    """Train the epochs that are left, and yield each one when it is done; `state` then is at the start of the next.

    Raises:
        AaeError: a loss, a gradient or a weight is not finite.
        Stopped: a stop was asked for; the last step is in the checkpoint.
    """
    n_steps = batches.steps_per_epoch
    pace = Pace(run.config.training.n_epochs * n_steps - state.epoch * n_steps - state.step, n_steps)
    while state.epoch < run.config.training.n_epochs:
        means = _train_steps(state, batches, run, stop, pace)
        left = _time_left(pace, state, run)
        epoch = TrainedEpoch(state.epoch + 1, means, state.seconds, batches.n_images / state.seconds, left)
        state.epoch, state.step, state.sums, state.n_runs, state.seconds = state.epoch + 1, 0, {}, {}, 0.0
        yield epoch


def _train_steps(state: TrainingState, batches: Batches, run: Run, stop: StopRequest, pace: Pace) -> dict[str, float]:
    """Train the steps that are left of the epoch, with checkpoints when due; return the mean of each loss term."""
    state.working.train()
    n_steps = batches.steps_per_epoch
    steps = batches.epoch(state.epoch, state.step)
    description = f"epoch {state.epoch + 1}/{run.config.training.n_epochs}"
    start = time.perf_counter() - state.seconds
    for batch in run.progress.track(steps, description, n_steps, state.step):
        _take_step(state, batch, n_steps, run)
        pace.step()
        run.progress.estimate(_time_left(pace, state, run))
        signum = stop.signum()
        if signum or (run.checkpoint_every and state.step % run.checkpoint_every == 0):
            _read_means(state)
            state.seconds = time.perf_counter() - start
            if run.lock:
                run.lock.require_held()
                save_checkpoint(run.output_dir, state, run)
            wait_for_all()
        if signum:
            raise Stopped(signum, f"in epoch {state.epoch + 1}, after step {state.step} of {n_steps}")
    means = _read_means(state)
    state.seconds = time.perf_counter() - start
    return means


def _take_step(state: TrainingState, batch: Batch, n_steps: int, run: Run) -> None:
    """Run every phase that is due on one batch; loss terms add up on the device, without waiting for it."""
    training = run.config.training
    run.runtime.seed(training.seed, state.epoch, state.step)
    factor = rate_factor(training.schedule, state.epoch + state.step / n_steps, training.n_epochs)
    for runner in state.runners:
        if runner.phase.is_due(state.epoch, state.step):
            runner.set_rate(factor)
            for name, term in runner.run(batch).items():
                state.sums[name] = state.sums[name] + term if name in state.sums else term
                state.n_runs[name] = state.n_runs.get(name, 0) + 1
    state.step += 1
    if training.ema_decay:
        average_in(state.average, state.networks, training.ema_decay, state.epoch * n_steps + state.step)


def _time_left(pace: Pace, state: TrainingState, run: Run) -> str:
    """Say how much time is left, and once how much there is in all; return nothing where that is not known."""
    seconds, training = pace.seconds_left(), run.config.training
    if not seconds:
        return ""
    # Until the autoencoder starts, steps are shorter than they will be.
    starts_later = training.use_autoencoder and state.epoch < training.autoencoder_after * training.n_epochs
    text = f"{'at least' if starts_later else 'about'} {roughly(seconds)} left"
    if not pace.is_announced:
        pace.is_announced = True
        if seconds > _LONG:
            run.progress.say(f"{text}, for {pace.n_steps - pace.done} steps")
    return text


def _read_means(state: TrainingState) -> dict[str, float]:
    """Read the mean of each loss term over the epoch's steps so far and over the processes, whose sums become equal.

    Raises:
        AaeError: a term or a gradient was not finite at some step, or a weight is not finite now.
    """
    state.sums = {name: mean_over_processes(total) for name, total in state.sums.items()}
    means = {name: total.item() / state.n_runs[name] for name, total in state.sums.items()}
    faults = [fault for runner in state.runners for fault in _faults(runner, means)]
    lost = [name for name, weight in state.networks.named_parameters() if not weight.isfinite().all()]
    if lost:
        faults.append(f"weights became not finite ({_listed(lost)})")
    if faults:
        raise AaeError(
            f"training stopped in epoch {state.epoch + 1}: {'; '.join(faults)}; lower the learning rate there, or use"
            " --precision fp32; those steps were skipped, and the last checkpoint is intact"
        )
    return means


def _faults(runner: PhaseRunner, means: dict[str, float]) -> list[str]:
    """Describe what was not finite in a phase since the epoch began; a gradient only where all losses were finite."""
    phase = runner.phase.name
    if wrong := [f"{name} = {means[name]:g}" for name in runner.terms if not math.isfinite(means.get(name, 0.0))]:
        return [f"in phase {phase} loss terms became not finite ({', '.join(wrong)})"]
    if lost := runner.lost_gradients():
        terms = " + ".join(runner.guilty_terms())
        return [f"in phase {phase} the gradient of {terms} became not finite (of {_listed(lost)})"]
    return []


def _listed(names: list[str]) -> str:
    """List the first few of many names."""
    more = len(names) - _N_NAMES
    return ", ".join(names[:_N_NAMES]) + (f" and {more} more" if more > 0 else "")
