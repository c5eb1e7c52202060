"""Pseudo-labels that begin anew from the encoder's features."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import tiny_config, tiny_source

from aae_toolkit.data.directory import DataDirectory, write_data_directory
from aae_toolkit.progress import Silent
from aae_toolkit.training import loop, relabeling
from aae_toolkit.training.consistency import ConsistencyPhase
from aae_toolkit.training.loop import train_epochs
from aae_toolkit.training.relabeling import is_due, relabel
from aae_toolkit.training.run import Run, TrainingState
from aae_toolkit.training.runtime import resolve_runtime
from aae_toolkit.training.setup import build_batches, fit_config_to_data, initial_state
from aae_toolkit.training.stop import StopRequest
from aae_toolkit.training.terms.memory import Memory

TERMS = {
    "lambda_pseudo_labels": 1.0,
    "spread_labels": True,
    "blend_regression": True,
    "relabelings": 2,
    "n_neighbors": 5,
    "memory": 0.5,
}


def a_run(data_dir: Path, *, n_epochs: int = 9, relabelings: int = 2) -> Run:
    data = DataDirectory(data_dir)
    config = tiny_config(
        "semi_supervised", n_epochs=n_epochs, ema_decay=0.9, consistency=TERMS | {"relabelings": relabelings}
    )
    runtime = resolve_runtime("cpu", config.training)
    return Run(fit_config_to_data(config, data), data, runtime, Path(), Silent())


@pytest.mark.parametrize(
    ("n_epochs", "times", "due"),
    [(28, 3, [7, 14, 21]), (9, 2, [3, 6]), (3, 2, [1, 2]), (2, 5, [1]), (1, 3, []), (5, 0, [])],
)
def test_they_begin_anew_evenly_over_the_training_and_never_at_its_end(
    data_dir: Path, n_epochs: int, times: int, due: list[int]
) -> None:
    run = a_run(data_dir, n_epochs=n_epochs, relabelings=times)
    assert [epoch for epoch in range(n_epochs + 1) if is_due(run, epoch)] == due


def a_trained_state(run: Run) -> TrainingState:
    batches, first_y = build_batches(run)
    state = initial_state(run, batches.n_images, first_y)
    for _ in train_epochs(state, batches, run, StopRequest()):
        pass
    return state


def memory_of(state: TrainingState) -> Memory:
    [memory] = (phase.memory for r in state.runners if isinstance(phase := r.phase, ConsistencyPhase))
    assert memory is not None
    return memory


def test_errors_of_earlier_pseudo_labels_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_data_directory(tmp_path, tiny_source(), None, None, None, seed=0)
    run = a_run(tmp_path, relabelings=0)
    state = a_trained_state(run)
    memory = memory_of(state)
    memory.y[:] = torch.tensor([1.0, 0, 0])  # every image is of the first class
    monkeypatch.setattr(relabeling, "_AT_ONCE", 7)
    relabel(state, run)
    passed = run.data.load_inputs("train_unlabeled").images
    rows = passed.reshape(len(passed), 3, 2, 6).mean(axis=(2, 3)).argmax(axis=1)  # the class is the bright row
    assert (memory.y.argmax(dim=1).numpy() == rows).mean() > 0.95
    torch.testing.assert_close(memory.y.sum(dim=1), torch.ones(len(passed)))


def test_a_training_does_so_when_it_is_due_and_the_same_again(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    epochs = []

    def noting(state: TrainingState, run: Run) -> None:
        epochs.append(state.epoch)
        before = memory_of(state).y.clone()
        relabel(state, run)
        assert not torch.equal(memory_of(state).y, before)

    monkeypatch.setattr(loop, "relabel", noting)
    first, second = (a_trained_state(a_run(data_dir)).average.state_dict() for _ in range(2))
    assert epochs == [3, 6, 3, 6]
    assert all(torch.equal(first[name], second[name]) for name in first)
