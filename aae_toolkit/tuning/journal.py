"""Journal of a search: Optuna's study in a file of JSON lines, which a later run continues."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.files import require_own
from aae_toolkit.files.documents import explain
from aae_toolkit.text import one_line
from aae_toolkit.tuning.result import Trial

if TYPE_CHECKING:
    import optuna

FILE_NAME = "journal.jsonl"
_STUDY = "aae"
_MADE_WITH = "made_with"  # attribute of the study
_RECORD = "record"  # attribute of a trial
_MAX_BYTES = 2**28  # tens of thousands of trials
_STARTUP = 5  # trials that are drawn at random before the sampler has something to learn from
_UNPRUNED = 4  # complete trials before any is left early
_WARM_UP = 0.5  # share of the epochs before a trial can be left; pseudo-labels may begin late


def open_study(directory: Path, made_with: Mapping[str, str], *, seed: int, n_epochs: int) -> optuna.Study:
    """Open the study of a directory that this process has locked, or begin one.

    Args:
        directory: directory of the journal.
        made_with: what must stay the same for trials to be comparable: a checksum by name, for people.
        seed: random seed of the sampler.
        n_epochs: epochs of a trial.

    Raises:
        AaeError: the journal is damaged, or the directory cannot be written.
        UsageError: the study was made with something else.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = directory / FILE_NAME
    require_own(path)
    try:
        _drop_cut_line(path)
        backend = JournalFileBackend(str(path), JournalFileOpenLock(str(path)))
        path.with_name(f"{FILE_NAME}.lock").unlink(missing_ok=True)  # of a killed process; the directory is locked
        study = optuna.create_study(
            storage=JournalStorage(backend),
            study_name=_STUDY,
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(_UNPRUNED, n_warmup_steps=max(1, round(_WARM_UP * n_epochs))),
        )
        trials = study.get_trials(deepcopy=False)
        found = study.user_attrs.get(_MADE_WITH)
    except OSError as error:
        raise AaeError(f"{path} cannot be read or written: {error.strerror or error}") from error
    except Exception as error:  # Optuna's reader raises whatever the content leads to
        raise _damaged(path, one_line(f"{type(error).__name__}: {error}", 120)) from error
    if found is None and not trials:
        study.set_user_attr(_MADE_WITH, dict(made_with))
    elif found != made_with:
        _refuse(path, found, made_with)
    for trial in trials:
        if not trial.state.is_finished():
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)  # its process was killed
    study.sampler = optuna.samplers.TPESampler(n_startup_trials=_STARTUP, seed=(seed + len(trials)) % 2**32)
    return study


def keep(study: optuna.Study, trial: optuna.Trial, ended: Trial) -> None:
    """Write the end of a trial."""
    from optuna.trial import TrialState

    trial.set_user_attr(_RECORD, ended.model_dump())
    if ended.end == "complete":
        study.tell(trial, ended.score)
    else:
        study.tell(trial, state=TrialState.PRUNED)


def drop(study: optuna.Study, trial: optuna.Trial) -> None:
    """Leave a trial that was cut; it does not count."""
    from optuna.trial import TrialState

    study.tell(trial, state=TrialState.FAIL)


def ended_trials(study: optuna.Study, directory: Path, paths: Collection[str]) -> list[Trial]:
    """Return the trials that have ended, in their order; `paths` are those of the settings.

    Raises:
        AaeError: a record is damaged.
    """
    from optuna.trial import TrialState

    counted = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    try:
        ended = [Trial.model_validate(trial.user_attrs.get(_RECORD)) for trial in counted]
    except ValidationError as error:
        raise _damaged(directory / FILE_NAME, explain(error)) from error
    if any(set(trial.values) != set(paths) for trial in ended):
        raise _damaged(directory / FILE_NAME, "a trial has other settings")
    return ended


def _drop_cut_line(path: Path) -> None:
    """Remove what follows the last line's end, which a killed process has left half-written."""
    if not path.exists():
        return
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"it is larger than {_MAX_BYTES // 2**20} MiB")
    whole = path.read_bytes().rfind(b"\n") + 1
    with path.open("rb+") as file:
        file.truncate(whole)


def _damaged(path: Path, why: str) -> AaeError:
    return AaeError(f"{path} is not the journal of a search ({why}); remove it, or give another --study")


def _refuse(path: Path, found: object, made_with: Mapping[str, str]) -> None:
    """Raise `UsageError` that names the first difference."""
    before = found if isinstance(found, dict) else {}
    other = next((name for name, value in made_with.items() if before.get(name) != value), "version of aae")
    raise UsageError(
        f"{path} is a search with another {other}, so its trials cannot be compared with new ones; give another"
        " --study, or remove it"
    )
