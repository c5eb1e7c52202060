"""The model of a training: written after each epoch, of the last epoch or of the best one."""

from __future__ import annotations

from aae_toolkit.data.split import Split
from aae_toolkit.evaluation import Floats
from aae_toolkit.models.description import ModelDescription
from aae_toolkit.models.diagnosis import Diagnosis
from aae_toolkit.models.directory import save_model
from aae_toolkit.models.epochs import ChosenBy, Epochs
from aae_toolkit.training.run import Run, TrainingState
from aae_toolkit.training.validation import describe_validated, encode_validation


def write_model(
    state: TrainingState, validation: Split, run: Run, y: Floats, diagnosis: Diagnosis | None
) -> ModelDescription:
    """Write the model so far: the average as it is, or the best epoch; return its description.

    Args:
        state: the training, at the end of an epoch.
        validation: images that categories are named by.
        run: the training.
        y: category probabilities [N, K] of these images, by the average.
        diagnosis: state of the training so far.
    """
    best = state.best
    networks = best.networks if best else state.average
    if best and best.epoch != state.epoch:
        y = encode_validation(networks.encoder, validation, run).y
    description = describe_validated(networks, y, validation, run, diagnosis)
    description = description.model_copy(update={"epochs": _epochs(state, run)})
    if run.lock:
        run.lock.require_held()
        save_model(run.output_dir, networks, description, run.data.backbone_file)
    return description


def _epochs(state: TrainingState, run: Run) -> Epochs:
    total, best = run.config.training.n_epochs, state.best
    if best is None:
        return Epochs(done=state.epoch, total=total, kept=state.epoch)
    chosen_by = ChosenBy(
        measure=best.judge.measure, score=best.score, n_epochs=best.n_epochs, n_images=best.judge.n_images
    )
    return Epochs(done=state.epoch, total=total, kept=best.epoch, chosen_by=chosen_by)
