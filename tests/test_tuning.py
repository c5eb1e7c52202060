"""Searches for settings: the space, the objective, the trials, their journal, and what is made of them."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import REPOSITORY, TINY_MODEL, TINY_TRAINING, tiny_config, tiny_source
from refusals import refused

from aae_toolkit.cli.app import run
from aae_toolkit.config import VARIANTS, Variant, VariantConfig, load_config, shipped_configs
from aae_toolkit.data.arrays import ArrayData
from aae_toolkit.data.directory import DataDirectory, write_data_directory
from aae_toolkit.data.sources import UNLABELED
from aae_toolkit.data.split import Split
from aae_toolkit.errors import AaeError, UsageError
from aae_toolkit.evaluation import Floats
from aae_toolkit.progress import Silent
from aae_toolkit.training.stop import Stopped
from aae_toolkit.training.trainer import train
from aae_toolkit.tuning import journal, space, study
from aae_toolkit.tuning.objective import Score, choose_objective, mutual_information
from aae_toolkit.tuning.result import Trial, Tuning, packed
from aae_toolkit.tuning.space import dimensions, with_values
from aae_toolkit.visualization.search import draw_search

try:
    import optuna
except ModuleNotFoundError:
    optuna = None

needs_optuna = pytest.mark.skipif(optuna is None, reason='optuna is not installed: pip install "aae-toolkit[tune]"')
BASE = tiny_config("semi_supervised")


class Lines(Silent):
    """A listener that keeps its lines, and may act on one."""

    def __init__(self, act: Callable[[str], None] = lambda line: None) -> None:
        self.lines: list[str] = []
        self.act = act

    def say(self, line: str) -> None:
        self.lines.append(line)
        self.act(line)


def search(
    data: Path, directory: Path, config: VariantConfig = BASE, seconds: float = 60, progress: Silent | None = None
) -> Tuning:
    deadline = time.monotonic() + seconds
    return study.tune(
        config, DataDirectory(data), directory, deadline=deadline, device="cpu", progress=progress or Silent()
    )


def stop_after(number: int) -> Lines:
    """A listener that sends SIGINT after a trial's line."""

    def act(line: str) -> None:
        if line.startswith(f"trial {number}:"):
            signal.raise_signal(signal.SIGINT)

    return Lines(act)


def scripted(monkeypatch: pytest.MonkeyPatch, score: Callable[[int, int], float]) -> None:
    """Score the epochs of trials by their number and epoch, both from 0."""
    calls: list[int] = []

    def choose(config: VariantConfig, data: Any) -> Any:
        objective = choose_objective(config, data)

        def measure(codes: Sequence[Floats]) -> Score:
            calls.append(0)
            return Score(score(*divmod(len(calls) - 1, config.training.n_epochs)), None)

        return replace(objective, measure=measure)

    monkeypatch.setattr(study, "choose_objective", choose)


# ---------------------------------------------------------------------------------------------------------------- space


@pytest.mark.parametrize("name", shipped_configs())
def test_every_range_of_a_shipped_configuration_holds_its_value_and_is_valid_at_both_ends(name: str) -> None:
    content = yaml.safe_load(shipped_configs()[name].read_text())
    for variant in (v for v in VARIANTS if v in content):
        config = load_config(name, variant)
        found = dimensions(config)
        assert 3 <= len(found) <= 8
        for d in found:
            assert d.low <= d.base <= d.high
        assert dimensions(with_values(config, {d.path: d.base for d in found})) == found
        for values in ({d.path: d.low for d in found}, {d.path: d.high for d in found}):
            with_values(config, values)


def test_a_term_that_is_off_stays_off_and_a_key_that_a_configuration_lacks_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert [d.name for d in dimensions(BASE)] == [
        *("classifier_lr", "generator_lr", "discriminator_lr", "encoder_dropout")
    ]
    on = tiny_config("semi_supervised", consistency={"lambda_pairs": 0.5}, weight_decay=0.01)
    names = {d.name for d in dimensions(on)}
    assert names == {"consistency_lr", "augmentation", "lambda_pairs", "encoder_dropout", "weight_decay"}
    monkeypatch.setattr(space, "SETTINGS", [*space.SETTINGS, space.Setting("consistency.colours", 0.5, 2, "absent")])
    assert {d.name for d in dimensions(on)} == names


def test_the_page_lists_every_setting() -> None:
    page = (REPOSITORY / "docs" / "tuning.md").read_text()
    for s in space.SETTINGS:
        ends = f"1/{1 / s.low:.0f} to {s.high:g} times" if s.relative else f"{s.low:g} to {s.high:g}"
        assert f"| `{s.path}` | {ends} | {s.reason} |" in page


# ------------------------------------------------------------------------------------------------------------ objective


def test_many_validation_images_are_scored_directly_and_few_leave_the_labels_to_folds() -> None:
    source = tiny_source(90)

    def data(n_labeled: int, n_validation: int) -> ArrayData:
        def part(first: int, n: int) -> Split:
            return Split(source.images[first : first + n], source.labels[first : first + n])

        unlabeled = Split(source.images[70:], np.full(20, UNLABELED))
        parts = {"train_labeled": part(0, n_labeled), "train_unlabeled": unlabeled}
        return ArrayData(
            parts | {"validation": part(40, n_validation)},  # type: ignore[arg-type]
            source.images.shape[1:],
            source.class_names,
        )

    assert choose_objective(BASE, data(12, 12)).name == "accuracy on 12 validation images"
    folds = choose_objective(BASE, data(12, 6))
    assert folds.name == "accuracy on 12 labelled images in 4 folds"
    assert choose_objective(BASE, data(30, 6)).name == "accuracy on 30 labelled images in 5 folds"
    seen = []
    for fold in folds.sets:
        held_out, kept, unlabeled = (fold.load_inputs(n) for n in ("validation", "train_labeled", "train_unlabeled"))  # type: ignore[arg-type]
        assert (np.bincount(held_out.labels) == 1).all()
        assert fold.size("train_labeled") == len(kept) == 9
        assert fold.size("train_unlabeled") == len(unlabeled) == 23
        assert (unlabeled.labels == UNLABELED).all()
        assert (unlabeled.images[20:] == held_out.images).all()  # without their labels
        assert not {image.tobytes() for image in held_out.images} & {image.tobytes() for image in kept.images}
        seen += [image.tobytes() for image in held_out.images]
    assert len(set(seen)) == 12
    right = [np.eye(3, dtype=np.float32)[fold.load_inputs("validation").labels] for fold in folds.sets]
    assert folds.measure(right).value == 1
    assert folds.measure([*right[:-1], right[-1][:, ::-1]]).value == pytest.approx(10 / 12)  # pooled

    assert choose_objective(BASE, data(3, 2)).name == "accuracy on 2 validation images"
    with refused("one labelled image", "200 labelled validation images", kind=UsageError):
        choose_objective(BASE, data(3, 0))


def test_clusters_are_scored_one_to_one_by_majority_or_by_their_neighbours() -> None:
    source = tiny_source(120)
    rest = Split(source.images[60:], np.full(60, UNLABELED))
    known = Split(source.images[:60], source.labels[:60])

    def objective(n_categories: int, validation: Split, names: tuple[str, ...] = source.class_names) -> Any:
        config = tiny_config("unsupervised")
        config = with_values(config, {"model.n_classes": n_categories})
        splits = {"train_labeled": known, "train_unlabeled": rest, "validation": validation}
        return choose_objective(config, ArrayData(splits, source.images.shape[1:], names))  # type: ignore[arg-type]

    merged = np.eye(4, dtype=np.float32)[np.minimum(known.labels, 1)]  # the last two classes share a category
    assert objective(3, known).name == "one-to-one accuracy on 60 validation images"
    assert objective(3, known).measure([merged[:, :3]]).value == pytest.approx(2 / 3)
    split = np.eye(4, dtype=np.float32)[np.where(np.arange(60) % 2, known.labels, 3)]
    assert objective(4, known).name == "majority accuracy on 60 validation images"
    assert objective(4, known).measure([split]).value == pytest.approx((30 + 10) / 60)

    few = Split(known.images[:10], known.labels[:10])
    unnamed = objective(3, few)
    assert unnamed.name == "agreement of neighbours on 60 training images"
    assert unnamed.sets[0].load_inputs("train_unlabeled") is rest
    right = np.eye(3, dtype=np.float32)[source.labels[60:]]
    score = unnamed.measure([right])
    assert score.correct is None
    assert score.value > unnamed.measure([np.roll(right, 1, axis=0) * 0 + [1, 0, 0]]).value == 0
    with refused("10 training images", kind=UsageError):
        splits = {"train_labeled": few, "train_unlabeled": few, "validation": Split(few.images[:0], few.labels[:0])}
        choose_objective(tiny_config("unsupervised"), ArrayData(splits, source.images.shape[1:]))  # type: ignore[arg-type]


def test_mutual_information_is_1_for_equal_groups_that_agree_and_0_for_one_group_or_chance() -> None:
    groups = np.repeat(np.arange(4), 100)
    inside = groups[:, np.newaxis] * 100 + np.arange(10)
    y = np.eye(4, dtype=np.float32)[groups]
    assert mutual_information(y, inside) == pytest.approx(1)
    assert mutual_information(np.eye(4, dtype=np.float32)[groups // 2], inside) == pytest.approx(0.5)
    assert mutual_information(np.eye(4, dtype=np.float32)[groups * 0], inside) == 0
    assert mutual_information(y, np.random.default_rng(0).integers(400, size=(400, 10))) < 0.01


# --------------------------------------------------------------------------------------------------------------- result


def tuning_of(*correct: list[int], ends: Sequence[Any] = ()) -> Tuning:
    ends = ends or ["complete"] * len(correct)
    trials = [
        Trial(
            number=i,
            end=end,
            score=float(np.mean(bits)),
            values={d.path: d.base for d in dimensions(BASE)},
            epochs=2,
            seconds=1.0,
            correct=packed(np.array(bits, dtype=bool)),
        )
        for i, (bits, end) in enumerate(zip(correct, ends, strict=True))
    ]
    return Tuning("semi_supervised", "accuracy", len(correct[0]), 2, dimensions(BASE), trials)


def test_a_gain_of_one_image_is_noise_and_one_of_many_is_not() -> None:
    base = [0] * 40 + [1] * 60
    one = tuning_of(base, base, [1, *base[1:]])
    assert one.best.number == 2
    assert one.gain == pytest.approx(0.01)
    assert one.gain_error == pytest.approx(0.01, rel=0.01)
    assert "within noise" in one.verdict
    many = tuning_of(base, [1] * 20 + base[20:])
    assert "20.00 points above" in many.verdict
    assert "more than chance" in many.verdict
    assert many.standard_error(many.base) == pytest.approx((0.6 * 0.4 / 100) ** 0.5)
    content = many.to_json()
    assert content["gain_by_chance"] == pytest.approx(1.645 * content["gain_standard_error"], rel=1e-3)


def test_equal_scores_keep_the_base_and_a_trial_that_was_left_early_is_never_the_best() -> None:
    tuning = tuning_of([0, 1], [1, 0], [1, 1], ends=["complete", "complete", "pruned"])
    assert tuning.best is tuning.base
    assert tuning.verdict == "no trial was better than the base configuration"


def test_a_score_that_is_no_accuracy_has_no_standard_error() -> None:
    tuning = tuning_of([0, 1], [1, 1])
    trials = [trial.model_copy(update={"correct": None}) for trial in tuning.trials]
    tuning = replace(tuning, trials=trials)
    assert tuning.standard_error(tuning.best) is tuning.gain_error is tuning.chance_gain is None
    assert "no standard error" in tuning.verdict


def test_the_picture_has_a_panel_a_setting_and_draws_whatever_has_a_score() -> None:
    tuning = tuning_of([0, 1, 1], [1, 1, 1], [0, 0, 0], [0, 0, 1], ends=["complete", "complete", "diverged", "pruned"])
    lost = tuning.trials[2].model_copy(update={"score": None, "correct": None})
    drawn = draw_search(replace(tuning, trials=[*tuning.trials[:2], lost, tuning.trials[3]]))
    drawn.draw_without_rendering()
    above, *panels = drawn.axes
    assert [axes.get_xlabel() for axes in panels] == [d.name.replace("_", " ") for d in tuning.dimensions]
    assert [len(points.get_offsets()) for points in above.collections] == [1, 2, 1, 1]


# --------------------------------------------------------------------------------------------------------------- search


@needs_optuna
def test_the_first_trial_is_the_base_as_it_is_trained_and_the_result_is_never_worse(
    variant: Variant, data_dir: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(data_dir, data)
    (data / "test.npz").unlink()  # never read
    config = tiny_config(variant)
    tuning = search(data, tmp_path / "study", config, progress=stop_after(2))
    assert [trial.number for trial in tuning.trials] == [0, 1, 2]
    assert tuning.signum == signal.SIGINT
    assert tuning.base.values == {d.path: d.base for d in tuning.dimensions}
    assert tuning.base.score == train(config, DataDirectory(data), tmp_path / "model", device="cpu").validation_accuracy
    assert (tuning.best.score or 0) >= (tuning.base.score or 0)
    best = study.best_config(config, DataDirectory(data), tuning)
    again = train(best, DataDirectory(data), tmp_path / "best", device="cpu")
    assert again.validation_accuracy == tuning.best.score
    assert not list((tmp_path / "study").glob("*.pt"))


@needs_optuna
def test_a_search_goes_on_after_a_stop_and_after_a_kill(data_dir: Path, tmp_path: Path) -> None:
    first = search(data_dir, tmp_path, progress=stop_after(1))
    path = tmp_path / journal.FILE_NAME
    before = path.read_bytes()
    killed = optuna.load_study(  # a trial that was running, and half a line
        study_name="aae", storage=optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    )
    killed.ask()
    with path.open("ab") as file:
        file.write(b'{"op_code": 6, "wor')
    listener = stop_after(4)
    second = search(data_dir, tmp_path, progress=listener)
    assert "continuing after 2 trials" in listener.lines
    assert [trial.number for trial in second.trials] == [0, 1, 3, 4]
    assert list(second.trials[:2]) == list(first.trials)
    assert path.read_bytes().startswith(before)
    assert second.trials[1].values != second.trials[2].values


@needs_optuna
def test_the_time_is_kept(data_dir: Path, tmp_path: Path) -> None:
    start = time.monotonic()
    lines = Lines()
    tuning = search(data_dir, tmp_path, seconds=4, progress=lines)
    assert time.monotonic() - start < 8  # machines stall now and then
    assert len(tuning.trials) > 2
    assert any(line.startswith("a trial takes about") for line in lines.lines)
    assert sum(line.startswith("trial ") for line in lines.lines) in (len(tuning.trials), len(tuning.trials) + 1)
    again = search(data_dir, tmp_path, seconds=0, progress=lines)  # no time left, and yet a result
    assert again.trials == tuning.trials


@needs_optuna
def test_a_trial_without_time_for_its_next_epoch_is_cut_and_does_not_count(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = Lines()
    monkeypatch.setattr(study._Search, "seconds_a_trial", 0.001)
    left = iter([60.0] * 4 + [0.0] * 9)  # asked for once by the base, twice before and once for the next trial
    monkeypatch.setattr(study._Search, "seconds_left", property(lambda search: next(left)))
    tuning = search(data_dir, tmp_path, tiny_config("semi_supervised", n_epochs=3), progress=lines)
    assert [trial.number for trial in tuning.trials] == [0]
    assert "cut after epoch 1 of 3, time is up" in lines.lines[-1]


@needs_optuna
def test_a_base_that_does_not_fit_into_the_time_is_refused(data_dir: Path, tmp_path: Path) -> None:
    with refused("the base configuration needs another", "give more minutes", kind=UsageError):
        search(data_dir, tmp_path, tiny_config("semi_supervised", n_epochs=100_000), seconds=2)


@needs_optuna
def test_a_trial_below_the_median_is_left_early(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, lambda trial, epoch: 0.9 if trial < 5 else 0.1)
    lines = stop_after(5)
    tuning = search(data_dir, tmp_path, tiny_config("semi_supervised", n_epochs=8), progress=lines)
    assert [trial.end for trial in tuning.trials] == ["complete"] * 5 + ["pruned"]
    assert tuning.trials[-1].epochs == 4
    assert "left after epoch 4 of 8, below the median" in lines.lines[-1]


@needs_optuna
def test_a_trial_that_diverges_is_kept_as_such_and_a_base_that_does_is_refused(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def score(trial: int, epoch: int) -> float:
        if trial == diverging and epoch == 1:
            raise AaeError("training stopped in epoch 2: loss terms became not finite")
        return 0.5

    diverging = 1
    scripted(monkeypatch, score)
    lines = stop_after(1)
    tuning = search(data_dir, tmp_path / "later", progress=lines)
    assert [trial.end for trial in tuning.trials] == ["complete", "diverged"]
    assert "its loss was not finite" in lines.lines[-1]
    diverging = 0
    scripted(monkeypatch, score)
    with refused("not finite"):
        search(data_dir, tmp_path / "base")


@needs_optuna
def test_a_stop_before_the_base_is_trained_ends_the_search(data_dir: Path, tmp_path: Path) -> None:
    def act(line: str) -> None:
        if line.startswith("tuning"):
            signal.raise_signal(signal.SIGINT)

    with refused("stopped by SIGINT", kind=Stopped):
        search(data_dir, tmp_path, progress=Lines(act))
    assert len(search(data_dir, tmp_path, progress=stop_after(2)).trials) == 2  # trial 0 was the stopped one


@needs_optuna
def test_another_configuration_other_data_and_another_space_are_refused(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search(data_dir, tmp_path / "study", progress=stop_after(0))
    with refused("another base configuration", "--study", kind=UsageError):
        search(data_dir, tmp_path / "study", tiny_config("semi_supervised", seed=1))
    write_data_directory(tmp_path / "other", tiny_source(), None, None, None, seed=1)
    with refused("another data directory", kind=UsageError):
        search(tmp_path / "other", tmp_path / "study")
    monkeypatch.setattr(study, "SETTINGS", ())
    with refused("another search space", kind=UsageError):
        search(data_dir, tmp_path / "study")


@needs_optuna
@pytest.mark.parametrize(
    "content", [b"[]\n", b"{}\n", b"x\nx\n", b'{"op_code":0,"worker_id":"a"}\n', b"\x00" * 99 + b"\n" * 9]
)
def test_a_file_that_is_no_journal_is_refused(data_dir: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / journal.FILE_NAME).write_bytes(content)
    with refused("is not the journal of a search"):
        search(data_dir, tmp_path)


@needs_optuna
def test_a_record_that_was_changed_is_refused(data_dir: Path, tmp_path: Path) -> None:
    search(data_dir, tmp_path, progress=stop_after(0))
    path = tmp_path / journal.FILE_NAME
    whole = path.read_text()
    for old, new, part in (
        ('"end":"complete"', '"end":"won"', "'end' is 'won'"),
        ('"values":{"learning_rates.', '"values":{"rates.', "a trial has other settings"),
    ):
        path.write_text(whole.replace(old, new))
        with refused("is not the journal of a search", part):
            search(data_dir, tmp_path)


@needs_optuna
def test_a_configuration_without_settings_and_several_processes_are_refused(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(space, "SETTINGS", ())
        with refused("no setting that could be tuned", kind=UsageError):
            search(data_dir, tmp_path)
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "localhost"), ("MASTER_PORT", "1")):
        monkeypatch.setenv(name, value)
    with refused("without torchrun", kind=UsageError):
        search(data_dir, tmp_path)


# ---------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def base_yaml(tmp_path: Path) -> Path:
    path = tmp_path / "base.yaml"
    path.write_text(yaml.safe_dump({v: {"model": TINY_MODEL, "training": TINY_TRAINING} for v in VARIANTS}))
    return path


@needs_optuna
def test_the_command_writes_a_configuration_that_train_takes_trials_and_a_picture(
    variant: Variant, data_dir: Path, tmp_path: Path, base_yaml: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tune = ["tune", variant.replace("_", "-"), "--data", str(data_dir), "--config", str(base_yaml)]
    tune += ["--study", str(tmp_path / "study"), "--minutes", "0.04", "--device", "cpu", "--precision", "fp32"]
    assert run(tune) == 0
    printed = capsys.readouterr().out
    assert "base (trial 0)" in printed
    assert "standard error" in printed
    assert f"aae train {variant.replace('_', '-')}" in printed
    assert (tmp_path / "study" / "tuning.png").read_bytes().startswith(b"\x89PNG")
    tuned = tmp_path / "study" / "tuned.yaml"
    assert load_config(tuned, variant).model.n_classes == 3
    assert run(["train", *tune[1:4], "--config", str(tuned), "--output", str(tmp_path / "model")]) == 0

    capsys.readouterr()
    assert run([*tune, "--json", "--output", str(tmp_path / "other.yaml")]) == 0
    printed_json = json.loads(capsys.readouterr().out)
    assert printed_json == json.loads((tmp_path / "study" / "trials.json").read_text())
    assert printed_json["best"]["score"] >= printed_json["base"]["score"]
    assert printed_json["trials"][0]["number"] == 0
    assert load_config(tmp_path / "other.yaml", variant)


@needs_optuna
def test_ctrl_c_keeps_what_there_is_and_exits_with_130(
    data_dir: Path, tmp_path: Path, base_yaml: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopping(Lines):
        def __init__(self, *, stderr: bool = False, quiet: bool = False) -> None:
            super().__init__(stop_after(1).act)

    monkeypatch.setattr("aae_toolkit.cli.tune.ConsoleProgress", Stopping)
    tune = ["tune", "semi-supervised", "--data", str(data_dir), "--config", str(base_yaml), "--json"]
    assert run([*tune, "--study", str(tmp_path / "study"), "--device", "cpu"]) == 130
    printed = capsys.readouterr()
    assert json.loads(printed.out)["stopped"]
    assert printed.err == "aae: stopped by SIGINT after 2 trials; run the command again to continue\n"
    assert (tmp_path / "study" / "tuned.yaml").exists()


@pytest.mark.parametrize("minutes", ["nan", "inf", "0", "-1"])
def test_minutes_that_are_no_time_are_refused(data_dir: Path, minutes: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tune", "unsupervised", "--data", str(data_dir), "--minutes", minutes]) == 2
    message = capsys.readouterr().err
    assert "--minutes" in message
    assert len(message.splitlines()) == 1


def test_an_output_that_would_replace_another_file_is_refused(
    data_dir: Path, tmp_path: Path, base_yaml: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    for output, part in (("base.yaml", "is the base configuration itself"), ("notes.txt", "is no configuration")):
        tune = ["tune", "semi-supervised", "--data", str(data_dir), "--config", str(base_yaml)]
        assert run([*tune, "--output", str(tmp_path / output)]) == 2
        message = capsys.readouterr().err
        assert part in message
        assert len(message.splitlines()) == 1


def test_without_optuna_the_command_names_the_extra(
    data_dir: Path, tmp_path: Path, base_yaml: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    tune = ["tune", "semi-supervised", "--data", str(data_dir), "--config", str(base_yaml)]
    assert run([*tune, "--study", str(tmp_path / "study")]) == 1
    assert 'pip install "aae-toolkit[train,cpu,tune]"' in capsys.readouterr().err
